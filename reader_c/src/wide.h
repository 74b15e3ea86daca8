/* Vectors: how wide the hot loops are compiled, and the lanes that they work on. */
#ifndef EXPORT_AND_VERIFY_WIDE_H
#define EXPORT_AND_VERIFY_WIDE_H

#include "kernels.h"

/* Compile a hot loop for a wider instruction set as well and choose when the library is loaded. The bits do not
 * depend on the choice. By feature, because a name such as haswell stands for one maker's processors alone. Only
 * static functions, because clang wants the attribute on every declaration; only glibc, because other C libraries
 * resolve no such functions; and not under sanitizers, which would instrument the resolvers that run before they are
 * set up. */
#if defined(__x86_64__) && defined(__ELF__) && defined(__GLIBC__) && !defined(RC_NO_CLONES)
#define WIDE(feature) __attribute__((target_clones("default", feature)))
#define RC_CLONES
#else
#define WIDE(feature)
#endif

/* Not wider than the registers, because gcc keeps wider ones in memory. The default clone alone pays that. */
enum {
#if defined(RC_CLONES) || defined(__AVX__)
    VECTOR = 8,
#else
    VECTOR = 4,
#endif
    VECTORS = RC_LANES / VECTOR,
};

typedef float vector __attribute__((vector_size(VECTOR * sizeof(float))));

/* One number of each of RC_LANES tokens. */
typedef struct {
    vector part[VECTORS];
} lanes;

/* x (n, cols), whose rows lie `stride` and whose elements `step` floats apart, as blocks of 16 rows: (cols,) lanes each,
 * zero where there is no row. `room` is (cols, n rounded up to RC_LANES), 64-byte aligned. */
const lanes *rc_to_lanes(float *room, const float *x, int64_t n, int64_t stride, int64_t cols, int64_t step);

/* sum += products of RC_ROWS rows with one block, columns start to stop in their order. */
static inline void add_products(lanes *sum, const float *const *row, const lanes *x, int64_t start, int64_t stop)
{
    for (int64_t j = start; j < stop; j++)
        for (int r = 0; r < RC_ROWS; r++)
            for (int v = 0; v < VECTORS; v++)
                sum[r].part[v] += row[r][j] * x[j].part[v];
}

#endif
