/* Four registers for each vector. */
#ifndef EXPORT_AND_VERIFY_VECTORS_NEON_H
#define EXPORT_AND_VERIFY_VECTORS_NEON_H

#include <arm_neon.h>
#include <stdint.h>

typedef struct {
    float32x4_t at[4];
} V;
typedef struct {
    int32x4_t at[4];
} I;

#define TARGET
#define INLINE_TARGET static inline __attribute__((always_inline))
#define OWN_TREE /* which v_trees is made of */
#define EACH for (int i = 0; i < 4; i++)

enum {
    TILE_ROWS = 2,
    TILE_TOKENS = 3,
    ONE_ROWS = 4,
    INT8_TOKENS = 4,
    SCORE_BLOCKS = 1,
    INT8_STEP = 2,
};

INLINE_TARGET V v_set(float value)
{
    V v;
    EACH v.at[i] = vdupq_n_f32(value);
    return v;
}

INLINE_TARGET V v_zero(void)
{
    return v_set(0.0f);
}

INLINE_TARGET V v_load(const float *from)
{
    V v;
    EACH v.at[i] = vld1q_f32(from + 4 * i);
    return v;
}

INLINE_TARGET void v_store(float *to, V v)
{
    EACH vst1q_f32(to + 4 * i, v.at[i]);
}

INLINE_TARGET V v_fma(V a, V b, V c)
{
    EACH c.at[i] = vfmaq_f32(c.at[i], a.at[i], b.at[i]);
    return c;
}

INLINE_TARGET V v_mul(V a, V b)
{
    EACH a.at[i] = vmulq_f32(a.at[i], b.at[i]);
    return a;
}

INLINE_TARGET V v_add(V a, V b)
{
    EACH a.at[i] = vaddq_f32(a.at[i], b.at[i]);
    return a;
}

INLINE_TARGET float v_tree(V v)
{
    const float32x4_t four = vaddq_f32(vaddq_f32(v.at[0], v.at[2]), vaddq_f32(v.at[1], v.at[3]));
    const float32x2_t two = vadd_f32(vget_low_f32(four), vget_high_f32(four));
    return vget_lane_f32(two, 0) + vget_lane_f32(two, 1);
}

INLINE_TARGET void v_trees(float *to, const V *v)
{
    EACH to[i] = v_tree(v[i]);
}

INLINE_TARGET V v_from_integers(I sum)
{
    V v;
    EACH v.at[i] = vcvtq_f32_s32(sum.at[i]);
    return v;
}

INLINE_TARGET I i_less(int32_t value)
{
    I sum;
    (void)value; /* nothing was added to the weights */
    EACH sum.at[i] = vdupq_n_s32(0);
    return sum;
}

/* packed: 16 rows' first inputs, then their second, of 16 bits */
INLINE_TARGET I i_step(I sum, const uint8_t *packed, const int8_t *q)
{
    const int16_t *rows = (const int16_t *)(const void *)packed;
    for (int k = 0; k < INT8_STEP; k++, rows += 16)
        EACH sum.at[i] = vmlal_n_s16(sum.at[i], vld1_s16(rows + 4 * i), q[k]);
    return sum;
}

static void pack_rows(uint8_t *packed, const int8_t *const *rows, int64_t cols)
{
    int16_t *to = (int16_t *)(void *)packed;
    for (int64_t j = 0; j < cols; j++)
        for (int l = 0; l < 16; l++)
            *to++ = rows[l][j];
}

#endif
