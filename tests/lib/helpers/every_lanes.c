/* Every instruction set's loop over lanes beside the sums as they are defined, bit by bit. Exit status 1: they differ.
 * The number of instruction sets that this processor has is printed. */
#include "lanes.c"

#include <stdio.h>
#include <string.h>

enum { MOST = 67 };

/* volatile: the compiler may neither contract nor reorder what it computes */
static void by_definition(rc_lanes *sum, const float *const *row, const rc_lanes *x, int64_t count)
{
    for (int r = 0; r < RC_ROWS; r++)
        for (int lane = 0; lane < RC_LANES; lane++) {
            volatile float value = 0.0f;
            for (int64_t j = 0; j < count; j++) {
                volatile float product = row[r][j] * x[j].at[lane];
                value = value + product;
            }
            sum[r].at[lane] = value;
        }
}

static float drawn(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    const float size = (float)(1 << (*state >> 28));
    return ((float)(*state >> 8 & 0xFFFF) / 65536.0f - 0.5f) / size;
}

typedef void summing(rc_lanes *, const float *const *, const rc_lanes *, int64_t);

static int differs(summing *sum_products_by)
{
    static rc_lanes x[MOST];
    static float rows[RC_ROWS][MOST];
    uint32_t state = 1;
    for (int64_t count = 0; count <= MOST; count++) {
        const float *row[RC_ROWS];
        rc_lanes expected[RC_ROWS], found[RC_ROWS];
        for (int r = 0; r < RC_ROWS; r++) {
            row[r] = rows[r];
            for (int64_t j = 0; j < count; j++)
                rows[r][j] = drawn(&state);
        }
        for (int64_t j = 0; j < count; j++)
            for (int lane = 0; lane < RC_LANES; lane++)
                x[j].at[lane] = drawn(&state);
        by_definition(expected, row, x, count);
        sum_products_by(found, row, x, count);
        if (memcmp(expected, found, sizeof expected))
            return 1;
    }
    return 0;
}

int main(void)
{
    int sets = 1, wrong = differs(sum_products) + differs(rc_sum_products);
#if defined(__x86_64__) && !defined(RC_NO_CLONES)
    if (__builtin_cpu_supports("avx2")) {
        sets++;
        wrong += differs(sum_products_avx2);
    }
    if (__builtin_cpu_supports("avx512f")) {
        sets++;
        wrong += differs(sum_products_avx512);
    }
#endif
    printf("%d", sets);
    return wrong != 0;
}
