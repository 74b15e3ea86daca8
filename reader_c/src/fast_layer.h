/* What the members of a team do of a layer, by the arithmetic `fast`. */
#ifndef EXPORT_AND_VERIFY_FAST_LAYER_H
#define EXPORT_AND_VERIFY_FAST_LAYER_H

#include "session.h"
#include "team.h"
#include "trace.h"

/* Rows `first` up to `last` of x (n, cols) @ w.T, to out (n, rows). */
void rc_fast_matmul(const rc_session *s, const rc_fast *f, int member, float *out, const float *x, int64_t n,
                    const rc_matrix *w, int64_t first, int64_t last);

/* 128 times the sum of each group of int8 activations, modulo 2^32. */
void rc_fast_sum_groups(int32_t *sum, const int8_t *q, int64_t count, int64_t group_size);

/* The same with the session's int8 activations. */
void rc_fast_matmul_q8(const rc_session *s, const rc_fast *f, int member, float *out, int64_t n, const rc_matrix *w,
                       int64_t first, int64_t last);

/* A layer's keys and values of positions 0 up to `positions`, laid out for attention: this member's part of them. */
void rc_fast_gather(const rc_session *s, const rc_fast *f, int member, int members, int64_t layer, int64_t positions);

/* h (n, q_dim) = what the queries q find in what was gathered: this member's part of them. */
void rc_fast_attend(const rc_session *s, const rc_fast *f, const rc_trace *trace, int member, int members,
                    int64_t layer, int64_t position, int64_t n);

#endif
