/* 16 floats side by side, and the loop over them in which `mirror` spends nearly all of its time. */
#ifndef EXPORT_AND_VERIFY_LANES_H
#define EXPORT_AND_VERIFY_LANES_H

#include <stdint.h>

enum {
    RC_LANES = 16, /* tokens, positions or elements of a head that both arithmetics take side by side */
    RC_ROWS = 6,   /* that mirror takes at once: two AVX2 accumulators each, of 16 registers */
};

/* One number of each of RC_LANES tokens, positions or elements of a head; 64-byte aligned. */
typedef struct {
    _Alignas(RC_LANES * sizeof(float)) float at[RC_LANES];
} rc_lanes;

/* x (n, cols), whose rows lie `stride` and whose elements `step` floats apart, as blocks of 16 rows: (cols,) lanes
 * each, zero where there is no row. `room` is (cols, n rounded up to RC_LANES), 64-byte aligned. */
const rc_lanes *rc_to_lanes(float *room, const float *x, int64_t n, int64_t stride, int64_t cols, int64_t step);

/* sum[r] = 0 + row[r][0] * x[0] + ... + row[r][count - 1] * x[count - 1] for RC_ROWS rows, in this order and with one
 * rounding after each multiplication and each addition. sum is (RC_ROWS,), row[r] and x are (count,). */
void rc_sum_products(rc_lanes *sum, const float *const *row, const rc_lanes *x, int64_t count);

#endif
