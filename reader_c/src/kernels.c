#include "kernels.h"

#include <math.h>

/* Compile the hot loops for wider vectors as well and choose when the library is loaded. The bits do not
 * depend on the choice. Only static functions, because clang wants the attribute on every declaration; only
 * glibc, because other C libraries resolve no such functions; and not under sanitizers, which would instrument
 * the resolvers that run before they are set up. */
#if defined(__x86_64__) && defined(__ELF__) && defined(__GLIBC__) && !defined(RC_NO_CLONES)
#define WIDE __attribute__((target_clones("default", "arch=haswell", "arch=skylake-avx512")))
#else
#define WIDE
#endif

typedef float lanes __attribute__((vector_size(RC_LANES * sizeof(float))));

rc_matrix rc_matrix_of(const rc_model *model, int kind, int64_t layer)
{
    rc_tensor tensor;
    if (!rc_model_tensor(model, kind, layer, &tensor))
        return (rc_matrix){.storage = RC_ABSENT};
    return (rc_matrix){.storage = tensor.storage,
                       .rows = tensor.rows,
                       .cols = tensor.cols,
                       .group_size = tensor.group_size,
                       .values = model->bytes + tensor.offset,
                       .scales = tensor.storage == RC_Q8 ? model->bytes + tensor.scale_offset : NULL};
}

/* ---- rows ---- */

static float from_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static float widen_bf16(uint16_t half)
{
    return from_bits((uint32_t)half << 16);
}

/* Exact, and without a subnormal float on the way, which some processes flush to zero. */
static float widen_fp16(uint16_t half)
{
    const uint32_t sign = (uint32_t)(half & 0x8000) << 16, rest = (uint32_t)(half & 0x7fff) << 13;
    const float subnormal = (float)(half & 0x03ff) * 0x1p-24f;
    uint32_t bits;
    memcpy(&bits, &subnormal, sizeof bits);
    if (rest >= 0x0f800000) /* infinity or NaN */
        bits = rest | 0x7f800000;
    else if (rest >= 0x00800000)
        bits = rest + (112u << 23); /* the exponents' biases are 127 and 15 */
    return from_bits(sign | bits);
}

static const float *widen_row(const rc_matrix *w, int64_t row, float *room)
{
    const uint8_t *at = w->values + row * w->cols * (int64_t)sizeof(uint16_t);
    for (int64_t j = 0; j < w->cols; j++) {
        uint16_t half;
        memcpy(&half, at + j * (int64_t)sizeof half, sizeof half);
        room[j] = w->storage == RC_BF16 ? widen_bf16(half) : widen_fp16(half);
    }
    return room;
}

const float *rc_matrix_row(const rc_matrix *w, int64_t row, float *room)
{
    if (w->storage == RC_FP32)
        return (const float *)(const void *)w->values + row * w->cols;
    if (w->storage != RC_Q8)
        return widen_row(w, row, room);
    const int8_t *q = (const int8_t *)w->values + row * w->cols;
    const uint8_t *scales = w->scales + row * (w->cols / w->group_size) * (int64_t)sizeof(float);
    for (int64_t start = 0; start < w->cols; start += w->group_size, scales += sizeof(float)) {
        const float scale = rc_load_f32(scales);
        for (int64_t j = start; j < start + w->group_size; j++)
            room[j] = (float)q[j] * scale;
    }
    return room;
}

/* ---- dot products and matrix products ---- */

float rc_dot_mirror(const float *a, const float *b, int64_t n)
{
    float sum = 0.0f;
    for (int64_t j = 0; j < n; j++)
        sum += a[j] * b[j];
    return sum;
}

WIDE static float dot_fast(const float *a, const float *b, int64_t n)
{
    float lane[RC_LANES] = {0.0f};
    int64_t j = 0;
    for (; j + RC_LANES <= n; j += RC_LANES)
        for (int l = 0; l < RC_LANES; l++)
            lane[l] = fmaf(a[j + l], b[j + l], lane[l]);
    for (int l = 0; j < n; j++, l++)
        lane[l] = fmaf(a[j], b[j], lane[l]);
    for (int width = RC_LANES / 2; width > 0; width /= 2)
        for (int l = 0; l < width; l++)
            lane[l] += lane[l + width];
    return lane[0];
}

float rc_dot_fast(const float *a, const float *b, int64_t n)
{
    return dot_fast(a, b, n);
}

/* Up to 16 tokens side by side, each summed in index order: the lanes are tokens, so the order of a sum
 * is run.c's while the work is the vector unit's. x is (cols, RC_LANES), zero where there is no token. */
WIDE static void mirror_block(float *out, int64_t out_stride, int64_t tokens, const lanes *x, const rc_matrix *w,
                              float *row_room)
{
    for (int64_t i = 0; i < w->rows; i++) {
        const float *row = rc_matrix_row(w, i, row_room);
        lanes sum = {0.0f};
        for (int64_t j = 0; j < w->cols; j++)
            sum += row[j] * x[j];
        for (int64_t t = 0; t < tokens; t++)
            out[t * out_stride + i] = sum[t];
    }
}

static void transpose_block(float *lane_room, const float *x, int64_t tokens, int64_t cols)
{
    memset(lane_room, 0, (size_t)cols * RC_LANES * sizeof(float));
    for (int64_t t = 0; t < tokens; t++)
        for (int64_t j = 0; j < cols; j++)
            lane_room[j * RC_LANES + t] = x[t * cols + j];
}

void rc_matmul(float *out, const float *x, int64_t n, const rc_matrix *w, int arithmetic, float *row_room,
               float *lane_room)
{
    if (arithmetic == RC_MIRROR && n > 2) {
        for (int64_t start = 0; start < n; start += RC_LANES) {
            const int64_t tokens = n - start < RC_LANES ? n - start : RC_LANES;
            transpose_block(lane_room, x + start * w->cols, tokens, w->cols);
            mirror_block(out + start * w->rows, w->rows, tokens, (const lanes *)(const void *)lane_room, w,
                         row_room);
        }
        return;
    }
    for (int64_t i = 0; i < w->rows; i++) {
        const float *row = rc_matrix_row(w, i, row_room);
        for (int64_t t = 0; t < n; t++)
            out[t * w->rows + i] = arithmetic == RC_MIRROR ? rc_dot_mirror(row, x + t * w->cols, w->cols)
                                                           : dot_fast(row, x + t * w->cols, w->cols);
    }
}

void rc_quantize_activations(int8_t *q, float *scale, const float *x, int64_t count, int64_t group_size)
{
    for (int64_t g = 0; g < count / group_size; g++, x += group_size, q += group_size) {
        float largest = 0.0f;
        bool finite = true;
        for (int64_t j = 0; j < group_size; j++) {
            const float magnitude = fabsf(x[j]);
            finite = finite && isfinite(magnitude);
            largest = magnitude > largest ? magnitude : largest;
        }
        const float s = finite ? largest / 127.0f : NAN;
        scale[g] = s;
        for (int64_t j = 0; j < group_size; j++) {
            /* false for a zero and for a NaN */
            if (!(s > 0.0f)) {
                q[j] = 0;
                continue;
            }
            /* a subnormal scale is so coarse that the quotient may pass 127 */
            const float rounded = roundf(x[j] / s);
            q[j] = (int8_t)(rounded > 127.0f ? 127.0f : rounded < -127.0f ? -127.0f : rounded);
        }
    }
}

/* Integer products: exact, so any order gives runq.c's number. */
static inline int32_t dot_int8(const int8_t *a, const int8_t *b, int64_t n)
{
    int32_t sum = 0;
    for (int64_t j = 0; j < n; j++)
        sum += (int32_t)a[j] * (int32_t)b[j];
    return sum;
}

WIDE static void matmul_q8(float *out, const int8_t *q, const float *scale, int64_t n, const rc_matrix *w)
{
    const int64_t group = w->group_size, groups = w->cols / group;
    for (int64_t i = 0; i < w->rows; i++) {
        const int8_t *row = (const int8_t *)w->values + i * w->cols;
        const uint8_t *row_scales = w->scales + i * groups * (int64_t)sizeof(float);
        for (int64_t t = 0; t < n; t++) {
            float value = 0.0f;
            for (int64_t g = 0; g < groups; g++) {
                const int32_t sum = dot_int8(q + t * w->cols + g * group, row + g * group, group);
                const float weight_scale = rc_load_f32(row_scales + g * (int64_t)sizeof(float));
                value += (float)sum * weight_scale * scale[t * groups + g];
            }
            out[t * w->rows + i] = value;
        }
    }
}

void rc_matmul_q8(float *out, const int8_t *q, const float *scale, int64_t n, const rc_matrix *w)
{
    matmul_q8(out, q, scale, n, w);
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

void rc_rope_frequencies(float *frequency, const rc_config *config)
{
    const float theta = (float)config->rope_theta, size = (float)config->head_dim;
    for (int64_t i = 0; i < config->head_dim / 2; i++) {
        const float unscaled = 1.0f / powf(theta, (float)(2 * i) / size);
        frequency[i] = (float)((double)unscaled * scaling_ratio(config, i));
    }
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
