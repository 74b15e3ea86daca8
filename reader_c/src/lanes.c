#include "lanes.h"

const rc_lanes *rc_to_lanes(float *room, const float *x, int64_t n, int64_t stride, int64_t cols, int64_t step)
{
    float *to = room;
    for (int64_t start = 0; start < n; start += RC_LANES)
        for (int64_t j = 0; j < cols; j++)
            for (int64_t t = start; t < start + RC_LANES; t++)
                *to++ = t < n ? x[t * stride + j * step] : 0.0f;
    return (const rc_lanes *)(const void *)room;
}

/* The body of rc_sum_products for one type of vector. It uses vectors of the registers' own size, because gcc keeps
 * larger ones in memory, and the sums of plain loops too. */
#define SUM_PRODUCTS(vector)                                                      \
    {                                                                             \
        enum {                                                                    \
            PARTS = sizeof(rc_lanes) / sizeof(vector),                            \
        };                                                                        \
        vector kept[RC_ROWS][PARTS] = {{{0.0f}}};                                 \
        for (int64_t j = 0; j < count; j++) {                                     \
            const vector *at = (const vector *)(const void *)&x[j];               \
            for (int r = 0; r < RC_ROWS; r++)                                     \
                for (int part = 0; part < PARTS; part++)                          \
                    kept[r][part] += row[r][j] * at[part];                        \
        }                                                                         \
        for (int r = 0; r < RC_ROWS; r++)                                         \
            for (int part = 0; part < PARTS; part++)                              \
                ((vector *)(void *)&sum[r])[part] = kept[r][part];                \
    }

typedef float four __attribute__((vector_size(16)));

static void sum_products(rc_lanes *sum, const float *const *row, const rc_lanes *x, int64_t count)
SUM_PRODUCTS(four)

#if defined(__x86_64__) && !defined(RC_NO_CLONES)

typedef float eight __attribute__((vector_size(32)));

__attribute__((target("avx2"))) static void sum_products_avx2(rc_lanes *sum, const float *const *row,
                                                              const rc_lanes *x, int64_t count)
SUM_PRODUCTS(eight)

typedef float sixteen __attribute__((vector_size(64)));

__attribute__((target("avx512f"))) static void sum_products_avx512(rc_lanes *sum, const float *const *row,
                                                                   const rc_lanes *x, int64_t count)
SUM_PRODUCTS(sixteen)

void rc_sum_products(rc_lanes *sum, const float *const *row, const rc_lanes *x, int64_t count)
{
    if (__builtin_cpu_supports("avx512f"))
        sum_products_avx512(sum, row, x, count);
    else if (__builtin_cpu_supports("avx2"))
        sum_products_avx2(sum, row, x, count);
    else
        sum_products(sum, row, x, count);
}

#else

void rc_sum_products(rc_lanes *sum, const float *const *row, const rc_lanes *x, int64_t count)
{
    sum_products(sum, row, x, count);
}

#endif
