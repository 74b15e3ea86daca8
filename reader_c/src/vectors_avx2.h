/* Two registers for each vector. Integers are 16 bits wide from the start: AVX2 has no sum of int8 products that
 * cannot saturate. */
#ifndef EXPORT_AND_VERIFY_VECTORS_AVX2_H
#define EXPORT_AND_VERIFY_VECTORS_AVX2_H

#include <immintrin.h>
#include <stdint.h>

typedef struct {
    __m256 low, high;
} V;
typedef struct {
    __m256i low, high;
} I;

#define TARGET __attribute__((target("avx2,fma")))
#define INLINE_TARGET static inline TARGET __attribute__((always_inline))

enum {
    TILE_ROWS = 2,
    TILE_TOKENS = 3,
    ONE_ROWS = 4,
    INT8_TOKENS = 4,
    SCORE_BLOCKS = 1,
    INT8_STEP = 2,
};

INLINE_TARGET V v_zero(void)
{
    return (V){_mm256_setzero_ps(), _mm256_setzero_ps()};
}

INLINE_TARGET V v_load(const float *from)
{
    return (V){_mm256_loadu_ps(from), _mm256_loadu_ps(from + 8)};
}

INLINE_TARGET void v_store(float *to, V v)
{
    _mm256_storeu_ps(to, v.low);
    _mm256_storeu_ps(to + 8, v.high);
}

INLINE_TARGET V v_set(float value)
{
    return (V){_mm256_set1_ps(value), _mm256_set1_ps(value)};
}

INLINE_TARGET V v_fma(V a, V b, V c)
{
    return (V){_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high)};
}

INLINE_TARGET V v_mul(V a, V b)
{
    return (V){_mm256_mul_ps(a.low, b.low), _mm256_mul_ps(a.high, b.high)};
}

INLINE_TARGET V v_add(V a, V b)
{
    return (V){_mm256_add_ps(a.low, b.low), _mm256_add_ps(a.high, b.high)};
}

/* four trees side by side: in each step the lanes of two vectors share one addition */
INLINE_TARGET void v_trees(float *to, const V *v)
{
    const __m256 a = _mm256_add_ps(v[0].low, v[0].high), b = _mm256_add_ps(v[1].low, v[1].high);
    const __m256 c = _mm256_add_ps(v[2].low, v[2].high), d = _mm256_add_ps(v[3].low, v[3].high);
    const __m256 ab = _mm256_add_ps(_mm256_permute2f128_ps(a, b, 0x20), _mm256_permute2f128_ps(a, b, 0x31));
    const __m256 cd = _mm256_add_ps(_mm256_permute2f128_ps(c, d, 0x20), _mm256_permute2f128_ps(c, d, 0x31));
    const __m256 two = _mm256_add_ps(_mm256_shuffle_ps(ab, cd, 0x44), _mm256_shuffle_ps(ab, cd, 0xee));
    const __m256 one = _mm256_add_ps(_mm256_shuffle_ps(two, two, 0x88), _mm256_shuffle_ps(two, two, 0xdd));
    _mm_storeu_ps(to, _mm_unpacklo_ps(_mm256_castps256_ps128(one), _mm256_extractf128_ps(one, 1)));
}

INLINE_TARGET V v_from_integers(I sum)
{
    return (V){_mm256_cvtepi32_ps(sum.low), _mm256_cvtepi32_ps(sum.high)};
}

INLINE_TARGET I i_less(int32_t value)
{
    (void)value; /* nothing was added to the weights */
    return (I){_mm256_setzero_si256(), _mm256_setzero_si256()};
}

/* packed: (16 rows, 2 inputs) of 16 bits */
INLINE_TARGET I i_step(I sum, const uint8_t *packed, const int8_t *q)
{
    const __m256i two = _mm256_set1_epi32((int32_t)((uint32_t)(uint16_t)q[0] | (uint32_t)(uint16_t)q[1] << 16));
    const __m256i *rows = (const __m256i *)(const void *)packed;
    return (I){_mm256_add_epi32(sum.low, _mm256_madd_epi16(_mm256_loadu_si256(rows), two)),
               _mm256_add_epi32(sum.high, _mm256_madd_epi16(_mm256_loadu_si256(rows + 1), two))};
}

TARGET static void pack_rows(uint8_t *packed, const int8_t *const *rows, int64_t cols)
{
    int16_t *to = (int16_t *)(void *)packed;
    for (int64_t j = 0; j < cols; j += INT8_STEP)
        for (int l = 0; l < 16; l++)
            for (int k = 0; k < INT8_STEP; k++)
                *to++ = rows[l][j + k];
}

#endif
