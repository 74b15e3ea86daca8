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
    const rc_tensor *tensor = &model->tensors[kind];
    return (rc_matrix){.storage = tensor->storage,
                       .rows = tensor->rows,
                       .cols = tensor->cols,
                       .group_size = model->config.group_size,
                       .values = rc_values(model, kind, layer),
                       .scales = tensor->storage == RC_Q8 ? rc_scales(model, kind, layer) : NULL};
}

const float *rc_matrix_row(const rc_matrix *w, int64_t row, float *room)
{
    if (w->storage == RC_FP32)
        return (const float *)(const void *)w->values + row * w->cols;
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

void rc_rmsnorm(float *out, const float *x, const float *weight, int64_t dim)
{
    float scale = 0.0f;
    for (int64_t j = 0; j < dim; j++)
        scale += x[j] * x[j];
    scale /= (float)dim;
    scale += 1e-5f;
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

void rc_swiglu(float *gate, const float *up, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        float value = gate[i];
        value *= 1.0f / (1.0f + expf(-value));
        value *= up[i];
        gate[i] = value;
    }
}

void rc_rope_row(float *cosine, float *sine, int64_t position, int64_t head_size)
{
    for (int64_t i = 0; i < head_size; i += 2) {
        const float frequency = 1.0f / powf(10000.0f, (float)i / (float)head_size);
        const float angle = (float)position * frequency;
        cosine[i / 2] = cosf(angle);
        sine[i / 2] = sinf(angle);
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
