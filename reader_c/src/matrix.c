#include "matrix.h"

#include "bytes.h"
#include "clones.h"

static rc_matrix matrix_at(const rc_model *model, const rc_tensor *tensor)
{
    return (rc_matrix){.storage = tensor->storage,
                       .rows = tensor->rows,
                       .cols = tensor->cols,
                       .group_size = tensor->group_size,
                       .values = model->bytes + tensor->offset,
                       .scales = tensor->storage == RC_Q8 ? model->bytes + tensor->scale_offset : NULL};
}

rc_matrix rc_matrix_of(const rc_model *model, int kind, int64_t layer)
{
    rc_tensor tensor;
    if (!rc_model_tensor(model, kind, layer, &tensor))
        return (rc_matrix){.storage = RC_ABSENT};
    return matrix_at(model, &tensor);
}

rc_matrix rc_expert_matrix_of(const rc_model *model, int kind, int64_t layer, int64_t expert)
{
    rc_tensor tensor;
    if (!rc_model_expert_tensor(model, kind, layer, expert, &tensor))
        return (rc_matrix){.storage = RC_ABSENT};
    return matrix_at(model, &tensor);
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

RC_CLONES("avx2") static void widen_row(float *room, const uint8_t *halves, int storage, int64_t cols)
{
    for (int64_t j = 0; j < cols; j++) {
        uint16_t half;
        memcpy(&half, halves + j * (int64_t)sizeof half, sizeof half);
        room[j] = storage == RC_BF16 ? widen_bf16(half) : widen_fp16(half);
    }
}

RC_CLONES("avx2") static void dequantize_row(float *room, const int8_t *q, const uint8_t *scales, int64_t group_size,
                                             int64_t cols)
{
    for (int64_t start = 0; start < cols; start += group_size, scales += sizeof(float)) {
        const float scale = rc_load_f32(scales);
        for (int64_t j = start; j < start + group_size; j++)
            room[j] = (float)q[j] * scale;
    }
}

const float *rc_matrix_row(const rc_matrix *w, int64_t row, float *room)
{
    const int64_t at = row * w->cols;
    if (w->storage == RC_FP32)
        return (const float *)(const void *)w->values + at;
    if (w->storage == RC_Q8)
        dequantize_row(room, (const int8_t *)w->values + at, w->scales + at / w->group_size * (int64_t)sizeof(float),
                       w->group_size, w->cols);
    else
        widen_row(room, w->values + at * (int64_t)sizeof(uint16_t), w->storage, w->cols);
    return room;
}
