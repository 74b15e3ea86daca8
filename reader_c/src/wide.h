/* How wide the hot loops are compiled, and the lanes that they work on. */
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
#else
#define WIDE(feature)
#endif

/* One number of each of RC_LANES tokens, positions or elements of a head; 64-byte aligned. */
typedef struct {
    _Alignas(RC_LANES * sizeof(float)) float at[RC_LANES];
} lanes;

/* x (n, cols), whose rows lie `stride` and whose elements `step` floats apart, as blocks of 16 rows: (cols,) lanes
 * each, zero where there is no row. `room` is (cols, n rounded up to RC_LANES), 64-byte aligned. */
const lanes *rc_to_lanes(float *room, const float *x, int64_t n, int64_t stride, int64_t cols, int64_t step);

/* sum[r] = 0 + row[r][0] * x[0] + ... + row[r][count - 1] * x[count - 1] for RC_ROWS rows, in this order and with one
 * rounding after each multiplication and each addition. */
void rc_sum_products(lanes *sum, const float *const *row, const lanes *x, int64_t count);

#endif
