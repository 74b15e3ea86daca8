#include "wide.h"

#include <math.h>

/* To the nearest integer, halves away from zero, for numbers of a few hundred: roundf without a call of it. What is
 * left after cutting is exact. */
static inline int32_t half_away(float x)
{
    const int32_t cut = (int32_t)x;
    const float rest = x - (float)cut;
    return cut + (rest >= 0.5f) - (rest <= -0.5f);
}

/* The largest magnitude; a NaN or infinity where there is one. Without their sign, floats are in the order of their
 * bits as integers. */
WIDE("avx2") static float largest_of(const float *x, int64_t count)
{
    uint32_t largest = 0;
    for (int64_t j = 0; j < count; j++) {
        uint32_t bits;
        memcpy(&bits, x + j, sizeof bits);
        bits &= 0x7fffffffu;
        largest = bits > largest ? bits : largest;
    }
    float value;
    memcpy(&value, &largest, sizeof value);
    return value;
}

WIDE("avx2") static void divide(int8_t *q, const float *x, int64_t count, float s)
{
    for (int64_t j = 0; j < count; j++) {
        /* a subnormal scale is so coarse that the quotient may pass 127, if not 191 */
        const int32_t rounded = half_away(x[j] / s);
        q[j] = (int8_t)(rounded > 127 ? 127 : rounded < -127 ? -127 : rounded);
    }
}

void rc_quantize_activations(int8_t *q, float *scale, const float *x, int64_t count, int64_t group_size)
{
    for (int64_t g = 0; g < count / group_size; g++, x += group_size, q += group_size) {
        const float largest = largest_of(x, group_size);
        const float s = isfinite(largest) ? largest / 127.0f : NAN;
        scale[g] = s;
        /* false for a zero and for a NaN */
        if (s > 0.0f)
            divide(q, x, group_size, s);
        else
            memset(q, 0, (size_t)group_size);
    }
}

/* ---- the rest of a layer, as run.c has it ---- */

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

void rc_softmax(float *x, int64_t n)
{
    float largest = x[0];
    for (int64_t i = 1; i < n; i++)
        if (x[i] > largest)
            largest = x[i];
    float sum = 0.0f;
    for (int64_t i = 0; i < n; i++) {
        x[i] = expf(x[i] - largest);
        sum += x[i];
    }
    for (int64_t i = 0; i < n; i++)
        x[i] /= sum;
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

/* ---- RoPE ---- */

#define TWO_PI 6.283185307179586

/* Index of the pair that makes `turns` turns in the original length, as yarn counts them: not rounded. */
static double pair_of(const rc_config *c, double turns)
{
    const double length = c->scaling.original_max_positions;
    return c->head_dim * log(length / (turns * TWO_PI)) / (2.0 * log(c->rope_theta));
}

/* What scaling makes of the frequency of pair i. */
static double scaling_ratio(const rc_config *c, int64_t i)
{
    const rc_rope_scaling *s = &c->scaling;
    double kept; /* share of the frequency that is not divided by the factor */
    if (s->type == RC_LINEAR) {
        kept = 0.0;
    } else if (s->type == RC_LLAMA3) {
        const double frequency = pow(c->rope_theta, -2.0 * (double)i / c->head_dim);
        const double turns = s->original_max_positions * frequency / TWO_PI;
        kept = (turns - s->low_freq_factor) / (s->high_freq_factor - s->low_freq_factor);
    } else if (s->type == RC_YARN) {
        double low = pair_of(c, s->beta_fast), high = pair_of(c, s->beta_slow);
        if (s->truncate) {
            low = floor(low);
            high = ceil(high);
        }
        low = fmax(low, 0.0);
        high = fmin(high, c->head_dim - 1);
        if (low == high)
            high += 0.001; /* as transformers keeps the ramp from a division by zero */
        kept = 1.0 - ((double)i - low) / (high - low);
    } else {
        return 1.0; /* none; and dynamic, which changes nothing up to original_max_positions */
    }
    kept = fmin(fmax(kept, 0.0), 1.0);
    return kept + (1.0 - kept) / s->factor;
}

static void frequencies(float *frequency, const rc_config *config, float (*power)(float, float))
{
    const float theta = (float)config->rope_theta, size = (float)config->head_dim;
    for (int64_t i = 0; i < config->head_dim / 2; i++) {
        const float unscaled = 1.0f / power(theta, (float)(2 * i) / size);
        frequency[i] = (float)((double)unscaled * scaling_ratio(config, i));
    }
}

void rc_rope_frequencies(float *frequency, const rc_config *config)
{
    frequencies(frequency, config, powf);
}

void rc_rope_frequencies_fast(float *frequency, const rc_config *config)
{
    frequencies(frequency, config, rc_pow_fast);
}

void rc_rope_row(float *cosine, float *sine, int64_t position, const float *frequency, int64_t half, float factor)
{
    for (int64_t i = 0; i < half; i++) {
        const float angle = (float)position * frequency[i];
        cosine[i] = cosf(angle) * factor;
        sine[i] = sinf(angle) * factor;
    }
}

void rc_rotate(float *x, int64_t heads, int64_t head_size, const float *cosine, const float *sine)
{
    for (int64_t h = 0; h < heads; h++, x += head_size) {
        for (int64_t i = 0; i < head_size; i += 2) {
            const float c = cosine[i / 2], s = sine[i / 2];
            const float even = x[i], odd = x[i + 1];
            x[i] = even * c - odd * s;
            x[i + 1] = even * s + odd * c;
        }
    }
}
