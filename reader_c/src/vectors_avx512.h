/* One register for each vector; VNNI adds up four products of int8 in each 32-bit lane. */
#ifndef EXPORT_AND_VERIFY_VECTORS_AVX512_H
#define EXPORT_AND_VERIFY_VECTORS_AVX512_H

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

typedef __m512 V;
typedef __m512i I;

#define TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,fma")))
#define INLINE_TARGET static inline TARGET __attribute__((always_inline))

enum {
    TILE_ROWS = 4,
    TILE_TOKENS = 6,
    ONE_ROWS = 8,
    INT8_TOKENS = 8,
    SCORE_BLOCKS = 2,
    INT8_STEP = 4,
};

INLINE_TARGET V v_zero(void)
{
    return _mm512_setzero_ps();
}

INLINE_TARGET V v_load(const float *from)
{
    return _mm512_loadu_ps(from);
}

INLINE_TARGET void v_store(float *to, V v)
{
    _mm512_storeu_ps(to, v);
}

INLINE_TARGET V v_set(float value)
{
    return _mm512_set1_ps(value);
}

INLINE_TARGET V v_fma(V a, V b, V c)
{
    return _mm512_fmadd_ps(a, b, c);
}

INLINE_TARGET V v_mul(V a, V b)
{
    return _mm512_mul_ps(a, b);
}

INLINE_TARGET V v_add(V a, V b)
{
    return _mm512_add_ps(a, b);
}

/* lanes l + (l + 8), 8 of them */
INLINE_TARGET __m256 v_halved(V v)
{
    return _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
}

/* four trees side by side: in each step the lanes of two vectors share one addition */
INLINE_TARGET void v_trees(float *to, const V *v)
{
    const __m256 a = v_halved(v[0]), b = v_halved(v[1]), c = v_halved(v[2]), d = v_halved(v[3]);
    const __m256 ab = _mm256_add_ps(_mm256_permute2f128_ps(a, b, 0x20), _mm256_permute2f128_ps(a, b, 0x31));
    const __m256 cd = _mm256_add_ps(_mm256_permute2f128_ps(c, d, 0x20), _mm256_permute2f128_ps(c, d, 0x31));
    const __m256 two = _mm256_add_ps(_mm256_shuffle_ps(ab, cd, 0x44), _mm256_shuffle_ps(ab, cd, 0xee));
    const __m256 one = _mm256_add_ps(_mm256_shuffle_ps(two, two, 0x88), _mm256_shuffle_ps(two, two, 0xdd));
    const __m128 ac = _mm256_castps256_ps128(one), bd = _mm256_extractf128_ps(one, 1);
    _mm_storeu_ps(to, _mm_unpacklo_ps(ac, bd));
}

INLINE_TARGET V v_from_integers(I sum)
{
    return _mm512_cvtepi32_ps(sum);
}

INLINE_TARGET I i_less(int32_t value)
{
    return _mm512_set1_epi32(-value);
}

/* packed: (16 rows, 4 inputs), each more by 128 than the file's */
INLINE_TARGET I i_step(I sum, const uint8_t *packed, const int8_t *q)
{
    int32_t four;
    memcpy(&four, q, sizeof four);
    return _mm512_dpbusd_epi32(sum, _mm512_loadu_si512((const void *)packed), _mm512_set1_epi32(four));
}

/* Lane i of vector j goes to lane j of vector i. */
INLINE_TARGET void transpose(__m512i r[16])
{
    __m512i t[16];
    for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    }
    for (int i = 0; i < 16; i += 4) {
        r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
        r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
        r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
        r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
    }
    /* r[4 a + b], quarter c: vectors 4 a to 4 a + 3 of lane 4 c + b */
    for (int b = 0; b < 4; b++) {
        const __m512i low01 = _mm512_shuffle_i32x4(r[b], r[4 + b], 0x88);
        const __m512i high01 = _mm512_shuffle_i32x4(r[b], r[4 + b], 0xdd);
        const __m512i low23 = _mm512_shuffle_i32x4(r[8 + b], r[12 + b], 0x88);
        const __m512i high23 = _mm512_shuffle_i32x4(r[8 + b], r[12 + b], 0xdd);
        t[b] = _mm512_shuffle_i32x4(low01, low23, 0x88);
        t[4 + b] = _mm512_shuffle_i32x4(high01, high23, 0x88);
        t[8 + b] = _mm512_shuffle_i32x4(low01, low23, 0xdd);
        t[12 + b] = _mm512_shuffle_i32x4(high01, high23, 0xdd);
    }
    for (int i = 0; i < 16; i++)
        r[i] = t[i];
}

/* 16 rows of 64 inputs at once, each 32-bit lane four inputs of a row */
TARGET static void pack_rows(uint8_t *packed, const int8_t *const *rows, int64_t cols)
{
    const __m512i sign = _mm512_set1_epi8((char)0x80);
    int64_t j = 0;
    for (; j + 64 <= cols; j += 64, packed += 16 * 64) {
        __m512i r[16];
        for (int i = 0; i < 16; i++) {
            r[i] = _mm512_xor_si512(_mm512_loadu_si512((const void *)(rows[i] + j)), sign);
            /* of the 16 rows after these: no processor foresees this order, and asking costs nothing at the end */
            _mm_prefetch((const char *)((uintptr_t)(rows[i] + j) + (uintptr_t)(16 * cols)), _MM_HINT_T0);
        }
        transpose(r);
        for (int i = 0; i < 16; i++)
            _mm512_storeu_si512((void *)(packed + i * 64), r[i]);
    }
    for (; j < cols; j += INT8_STEP)
        for (int l = 0; l < 16; l++)
            for (int k = 0; k < INT8_STEP; k++)
                *packed++ = (uint8_t)(rows[l][j + k] + 128);
}

#define OWN_TRANSPOSE_ROWS

/* Of the last rest of elements the lanes beyond are zeros that are not stored. */
TARGET static void transpose_rows(float *to, const float *from, int64_t stride, int64_t size)
{
    for (int64_t j = 0; j < size; j += 16) {
        const int64_t count = size - j < 16 ? size - j : 16;
        __m512i r[16];
        for (int i = 0; i < 16; i++)
            r[i] = _mm512_maskz_loadu_epi32((__mmask16)(0xffffu >> (16 - count)), from + i * stride + j);
        transpose(r);
        for (int64_t i = 0; i < count; i++)
            _mm512_storeu_si512((void *)(to + (j + i) * 16), r[i]);
    }
}

/* A sum of integers is the same in any order: the 16 lanes of row r go to lane r, with additions shared by rows. */
INLINE_TARGET __m512i row_sums(const __m512i *of_row)
{
    __m512i four[4];
    for (int i = 0; i < 4; i++) {
        const __m512i *r = of_row + 4 * i;
        const __m512i ab = _mm512_add_epi32(_mm512_unpacklo_epi32(r[0], r[1]), _mm512_unpackhi_epi32(r[0], r[1]));
        const __m512i cd = _mm512_add_epi32(_mm512_unpacklo_epi32(r[2], r[3]), _mm512_unpackhi_epi32(r[2], r[3]));
        four[i] = _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
    }
    const __m512i low = _mm512_add_epi32(_mm512_shuffle_i32x4(four[0], four[1], 0x88),
                                         _mm512_shuffle_i32x4(four[0], four[1], 0xdd));
    const __m512i high = _mm512_add_epi32(_mm512_shuffle_i32x4(four[2], four[3], 0x88),
                                          _mm512_shuffle_i32x4(four[2], four[3], 0xdd));
    return _mm512_add_epi32(_mm512_shuffle_i32x4(low, high, 0x88), _mm512_shuffle_i32x4(low, high, 0xdd));
}

#define OWN_ONE_INT8
enum { AHEAD = 8192 }; /* bytes; into the second cache, because the first one has few misses under way */

/* One token: repacking rows would cost more than it saves. Rows are read from end to end, as the processor foresees
 * it, and what each group comes to is kept in `room` until all 16 rows have theirs. group_size is a multiple of 64. */
TARGET static void one_int8(float *out, const int8_t *q, const float *scale, const int32_t *correction,
                            const int8_t *rows, const uint8_t *scales, int64_t count, int64_t cols,
                            int64_t group_size, void *room)
{
    const int64_t groups = cols / group_size;
    const __m512i sign = _mm512_set1_epi8((char)0x80);
    __m512i *kept = room; /* (groups, 16) */
    /* a quarter faster so: the scales are wanted all at once when the rows are done, and memory answers late */
    for (int64_t j = 0; j < 16 * groups * (int64_t)sizeof(float); j += 64)
        _mm_prefetch((const char *)((uintptr_t)scales + (uintptr_t)j), _MM_HINT_T0);
    int32_t at[16];
    for (int r = 0; r < 16; r++) {
        at[r] = (int32_t)((r < count ? r : 0) * groups);
        for (int64_t g = 0; g < groups; g++) {
            __m512i sum = _mm512_setzero_si512();
            for (int64_t j = g * group_size; r < count && j < (g + 1) * group_size; j += 64) {
                const __m512i w = _mm512_loadu_si512((const void *)(rows + r * cols + j));
                _mm_prefetch((const char *)((uintptr_t)(rows + r * cols + j) + AHEAD), _MM_HINT_T1);
                sum = _mm512_dpbusd_epi32(sum, _mm512_xor_si512(w, sign), _mm512_loadu_si512((const void *)(q + j)));
            }
            _mm512_store_si512((void *)(kept + 16 * g + r), sum);
        }
    }
    const __m512i places = _mm512_loadu_si512((const void *)at);
    __m512 value = _mm512_setzero_ps();
    for (int64_t g = 0; g < groups; g++) {
        const __m512i whole = _mm512_sub_epi32(row_sums(kept + 16 * g), _mm512_set1_epi32(correction[g]));
        const __m512 of_rows = _mm512_i32gather_ps(places, scales + g * (int64_t)sizeof(float), sizeof(float));
        value = _mm512_add_ps(value, _mm512_mul_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(whole), of_rows),
                                                   _mm512_set1_ps(scale[g])));
    }
    _mm512_mask_storeu_ps(out, (__mmask16)(0xffffu >> (16 - count)), value);
}

#endif
