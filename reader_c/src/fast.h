/* The arithmetic `fast`, as docs/arithmetic.md defines it: which sum is made in which order.
 *
 * fast_body.h holds it once, over vectors of 16 floats. fast_scalar.c, fast_avx2.c, fast_avx512.c and fast_neon.c each
 * compile it for one instruction set, into a table of functions. Which table a call uses changes no bit. */
#ifndef EXPORT_AND_VERIFY_FAST_H
#define EXPORT_AND_VERIFY_FAST_H

#include "matrix.h"

/* Sizes of the pieces that the functions below work on. */
enum {
    RC_FAST_ROWS = 16,   /* of weights, that are prepared and multiplied together */
    RC_FAST_QUERIES = 8, /* that go over the keys together */
    RC_FAST_STEP = 4,    /* a group of int8 must be a multiple of it */
};

typedef struct {
    /* out[t * stride + r] = dot(x[t], rows[r]) for t < n, r < count. x is (n, cols), rows is (count, cols). */
    void (*products)(float *out, int64_t stride, const float *x, int64_t n, const float *rows, int64_t count,
                     int64_t cols);
    /* 16 rows of int8, (cols,) each, and their scales, (groups,) each, laid out for products_int8: packed is
     * (cols / 4, 16, 4) bytes, or (cols / 2, 16, 2) of 16 bits; scales is (groups, 16). */
    void (*pack_int8)(uint8_t *packed, float *scales, const int8_t *const *rows, const uint8_t *const *of_rows,
                      int64_t cols, int64_t groups);
    /* The same sums with int8 activations q (n, cols) and their scale (n, groups): integers within a group, then group
     * by group as runq.c adds them. correction (n, groups) is 128 times the sum of each group of q. */
    void (*products_int8)(float *out, int64_t stride, const int8_t *q, const float *scale, const int32_t *correction,
                          int64_t n, const uint8_t *packed, const float *scales, int64_t count, int64_t cols,
                          int64_t group_size);
    /* room (cols,) = one row as floats: int8 times its group's scale, or halves */
    void (*row_as_floats)(float *room, const rc_matrix *w, int64_t row);
    /* out (dim,) = x (dim,) / sqrt(mean(x^2) + eps) * weight (dim,) */
    void (*norm)(float *out, const float *x, const float *weight, int64_t dim, float eps);
    /* scores[r][position] of RC_FAST_QUERIES queries, (head_dim,) each: keys are blocks of 16 positions,
     * (blocks, head_dim, 16). Products are multiplied by scale, or divided by root where scale is 0. */
    void (*scores)(float *const *scores, const float *const *query, const float *keys, int64_t blocks,
                   int64_t head_dim, float root, float scale);
    /* x (n,) = e^(x - largest) */
    void (*exponentials)(float *x, int64_t n, float largest);
    /* x (n,) in place */
    void (*softmax)(float *x, int64_t n);
    /* to (size, 16) = 16 rows of (size,), `stride` apart */
    void (*transpose_rows)(float *to, const float *from, int64_t stride, int64_t size);
    /* out[r] (head_dim,) = sum of shares[r][position] * values[position] over positions from first[r] up to seen[r],
     * neither of which is below that of the query before; values are (positions, padded_head), `stride` apart */
    void (*mix)(float *const *out, const float *const *shares, const int64_t *first, const int64_t *seen,
                const float *values, int64_t stride, int64_t head_dim, int64_t padded_head);
    /* gate (n,) = activation(gate) * up (n,); activation is an enum rc_gate */
    void (*gated)(float *gate, const float *up, int64_t n, int activation);
    /* x (n,) = cap * tanh(x / cap) */
    void (*cap)(float *x, int64_t n, float cap);
    /* out (count,) = up to 16 rows (count, cols) with one token, without packing; group_size is a multiple of 64; room
     * is (16, cols) bytes, 64-byte aligned. NULL where packing is as good. */
    void (*one_int8)(float *out, const int8_t *q, const float *scale, const int32_t *correction, const int8_t *rows,
                     const uint8_t *scales, int64_t count, int64_t cols, int64_t group_size, void *room);
} rc_fast;

/* Each in the file of its name, where the build has it. */
extern const rc_fast rc_fast_scalar;
extern const rc_fast rc_fast_avx2;
extern const rc_fast rc_fast_avx512;
extern const rc_fast rc_fast_neon;

#endif
