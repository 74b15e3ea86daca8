/* Products with weight matrices by the arithmetic `fast`: each member of a team does its rows. */
#ifndef EXPORT_AND_VERIFY_FAST_PRODUCTS_H
#define EXPORT_AND_VERIFY_FAST_PRODUCTS_H

#include "session.h"

/* Rows `first` up to `last` of x (n, cols) @ w.T, to out (n, rows). */
void rc_fast_matmul(const rc_session *s, const rc_fast *f, int member, float *out, const float *x, int64_t n,
                    const rc_matrix *w, int64_t first, int64_t last);

/* sum (count / group_size,) = 128 times the sum of each group of int8 activations q (count,), modulo 2^32. */
void rc_fast_sum_groups(int32_t *sum, const int8_t *q, int64_t count, int64_t group_size);

/* The same rows from the session's int8 activations act, act_scale and act_sum, of n tokens. */
void rc_fast_matmul_q8(const rc_session *s, const rc_fast *f, int member, float *out, int64_t n, const rc_matrix *w,
                       int64_t first, int64_t last);

#endif
