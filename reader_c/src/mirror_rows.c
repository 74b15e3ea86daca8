#include "mirror_rows.h"

#include "reader.h"

#include <math.h>

void rc_rmsnorm(float *out, const float *x, const float *weight, int64_t dim, float eps)
{
    float scale = 0.0f;
    for (int64_t j = 0; j < dim; j++)
        scale += x[j] * x[j];
    scale /= (float)dim;
    scale += eps;
    scale = 1.0f / sqrtf(scale);
    for (int64_t j = 0; j < dim; j++)
        out[j] = weight[j] * (scale * x[j]);
}

/* x (n,) in place, after `largest` or the largest element is subtracted. */
static void softmax_above(float *x, int64_t n, float largest)
{
    for (int64_t i = 0; i < n; i++)
        if (x[i] > largest)
            largest = x[i];
    float sum = 0.0f;
    for (int64_t i = 0; i < n; i++) {
        x[i] = expf(x[i] - largest);
        sum += x[i];
    }
    /* where 0 was subtracted and all powers vanished, qwen3.c divides 0 by 0 */
    const float divisor = sum == 0.0f ? NAN : sum;
    for (int64_t i = 0; i < n; i++)
        x[i] /= divisor;
}

void rc_softmax(float *x, int64_t n)
{
    softmax_above(x, n, x[0]);
}

void rc_softmax_from_zero(float *x, int64_t n)
{
    softmax_above(x, n, 0.0f);
}

void rc_cap(float *x, int64_t n, float cap)
{
    for (int64_t i = 0; i < n; i++)
        x[i] = cap * tanhf(x[i] / cap);
}

/* 1 / (1 + e^-x): for the tanh form of GELU too, since (1 + tanh y) / 2 is the sigmoid of 2y without its
 * cancellation where y is very negative. erfc is likewise 1 + erf without it. */
static float sigmoid(float x)
{
    return 1.0f / (1.0f + expf(-x));
}

static float activate(float x, int activation)
{
    if (activation == RC_GELU)
        return 0.5f * x * erfcf(-x * 0x1.6a09e6p-1f); /* sqrt(1/2) */
    if (activation == RC_GELU_TANH)
        return x * sigmoid(0x1.988454p+0f * (x + 0x1.6e4e26p-5f * x * x * x)); /* 2 sqrt(2/pi), 0.044715 */
    return x * sigmoid(x);
}

void rc_gated(float *gate, const float *up, int64_t n, int activation)
{
    for (int64_t i = 0; i < n; i++)
        gate[i] = activate(gate[i], activation) * up[i];
}

void rc_gated_by_product(float *gate, const float *up, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        gate[i] *= up[i] * sigmoid(gate[i]);
}
