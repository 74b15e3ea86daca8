/* `mirror`'s products of activations with weight matrices.
 *
 * `mirror` is llama2.c's run.c and runq.c to the bit: every sum in index order, one rounding after each
 * multiplication and each addition, the C library's own expf, powf, cosf and sinf. It differs from runq.c where that
 * has no defined answer (quantize.h).
 * What v3 alone has (half precision, biases, other gates, scaled RoPE, the switches) is computed the same way in both
 * arithmetics, but for sums and functions: exact widening, one rounding an operation.
 * mirror gives the same bits on every instruction set, as far as the C library's functions do; which bits a NaN has
 * is left open. The other arithmetic, `fast`, is in fast.h. */
#ifndef EXPORT_AND_VERIFY_MIRROR_PRODUCTS_H
#define EXPORT_AND_VERIFY_MIRROR_PRODUCTS_H

#include "matrix.h"

/* out (n, rows) = x (n, cols) @ w.T with float activations. `row_room` is (RC_ROWS, cols); `lane_room` is (cols,
 * n rounded up to RC_LANES), 64-byte aligned. */
void rc_matmul(float *out, const float *x, int64_t n, const rc_matrix *w, float *row_room, float *lane_room);

/* out (n, rows) from int8 activations q (n, cols), scale (n, cols / group_size), as runq.c sums them. `row_room` is
 * (RC_ROWS, cols); `lane_room` is (cols + cols / group_size, n rounded up to RC_LANES), 64-byte aligned. */
void rc_matmul_q8(float *out, const int8_t *q, const float *scale, int64_t n, const rc_matrix *w, float *row_room,
                  float *lane_room);

#endif
