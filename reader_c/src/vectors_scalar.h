/* Vectors of 16 floats and of 16 integers in plain C: what every other path must agree with. */
#ifndef EXPORT_AND_VERIFY_VECTORS_SCALAR_H
#define EXPORT_AND_VERIFY_VECTORS_SCALAR_H

#include <math.h>
#include <stdint.h>
#include <string.h>

typedef struct {
    float at[16];
} V;
typedef struct {
    uint32_t at[16]; /* two's complement, so that sums may pass through what an int32_t cannot hold */
} I;

#define TARGET
#define OWN_TREE /* which v_trees is made of */
#define EACH for (int l = 0; l < 16; l++)

enum {
    TILE_ROWS = 2,
    TILE_TOKENS = 2,
    ONE_ROWS = 2,
    INT8_TOKENS = 2,
    SCORE_BLOCKS = 1,
    INT8_STEP = 4,
};

static inline V v_zero(void)
{
    return (V){{0.0f}};
}

static inline V v_load(const float *from)
{
    V v;
    memcpy(&v, from, sizeof v);
    return v;
}

static inline void v_store(float *to, V v)
{
    memcpy(to, &v, sizeof v);
}

static inline V v_set(float value)
{
    V v;
    EACH v.at[l] = value;
    return v;
}

static inline V v_fma(V a, V b, V c)
{
    EACH c.at[l] = fmaf(a.at[l], b.at[l], c.at[l]);
    return c;
}

static inline V v_mul(V a, V b)
{
    EACH a.at[l] *= b.at[l];
    return a;
}

static inline V v_add(V a, V b)
{
    EACH a.at[l] += b.at[l];
    return a;
}

static inline float v_tree(V v)
{
    for (int width = 8; width > 0; width /= 2)
        for (int l = 0; l < width; l++)
            v.at[l] += v.at[l + width];
    return v.at[0];
}

static inline void v_trees(float *to, const V *v)
{
    for (int i = 0; i < 4; i++)
        to[i] = v_tree(v[i]);
}

static inline V v_from_integers(I sum)
{
    V v;
    EACH v.at[l] = (float)(int32_t)sum.at[l];
    return v;
}

static inline I i_less(int32_t value)
{
    I sum;
    EACH sum.at[l] = 0u - (uint32_t)value;
    return sum;
}

/* packed: (16 rows, 4 inputs), each more by 128 than the file's */
static inline I i_step(I sum, const uint8_t *packed, const int8_t *q)
{
    EACH for (int k = 0; k < INT8_STEP; k++) sum.at[l] += (uint32_t)((int32_t)packed[l * INT8_STEP + k] * q[k]);
    return sum;
}

static void pack_rows(uint8_t *packed, const int8_t *const *rows, int64_t cols)
{
    for (int64_t j = 0; j < cols; j += INT8_STEP)
        EACH for (int k = 0; k < INT8_STEP; k++) *packed++ = (uint8_t)(rows[l][j + k] + 128);
}

#endif
