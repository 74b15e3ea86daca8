/* The arithmetic `fast`, as docs/arithmetic.md defines it: which sum is made in which order.
 *
 * It is written once, in fast_body.h, over vectors of 16 floats, and compiled for each instruction set that has a file
 * here; which of them runs is chosen when a session is opened, and changes no bit. */
#ifndef EXPORT_AND_VERIFY_FAST_H
#define EXPORT_AND_VERIFY_FAST_H

#include "kernels.h"

/* Sizes of the pieces that the functions below work on. */
enum {
    RC_FAST_ROWS = 16,  /* of weights, that are prepared and multiplied together */
    RC_FAST_LOOKS = 8,  /* queries that go over the keys together */
    RC_FAST_STEP = 4,   /* what a group of int8 must be a multiple of */
};

typedef struct {
    /* out[t * stride + r] = dot(x[t], rows[r]) for t < n, r < count. x is (n, cols), rows are `cols` apart. */
    void (*products)(float *out, int64_t stride, const float *x, int64_t n, const float *rows, int64_t count,
                     int64_t cols);
    /* 16 rows of int8 (cols apart) and their scales, laid out for products_int8: packed is (cols / 4, 16, 4). */
    void (*pack_int8)(uint8_t *packed, float *scales, const int8_t *const *rows, const uint8_t *const *of_rows,
                      int64_t cols, int64_t groups);
    /* The same sums with int8 activations: integers within a group, then group by group as runq.c adds them. correction
     * is 128 times the sum of each group of q. */
    void (*products_int8)(float *out, int64_t stride, const int8_t *q, const float *scale, const int32_t *correction,
                          int64_t n, const uint8_t *packed, const float *scales, int64_t count, int64_t cols,
                          int64_t group_size);
    /* one row as floats: int8 times its group's scale, or halves */
    void (*widen)(float *room, const rc_matrix *w, int64_t row);
    void (*norm)(float *out, const float *x, const float *weight, int64_t dim, float eps);
    /* scores[r * padded + position] for positions < seen[r]: keys are blocks of 16 positions, (head_dim, 16) each */
    void (*scores)(float *const *scores, const float *const *query, const float *keys, int64_t blocks,
                   int64_t head_dim, float root);
    /* x = e^(x - largest) */
    void (*powers)(float *x, int64_t n, float largest);
    void (*softmax)(float *x, int64_t n);
    /* to (size, 16) = 16 rows, `stride` apart */
    void (*side_by_side)(float *to, const float *from, int64_t stride, int64_t size);
    /* out[r] = sum of shares[r][position] * values[position]; values are (positions, padded_head), `stride` apart */
    void (*mix)(float *const *out, const float *const *shares, const int64_t *seen, const float *values,
                int64_t stride, int64_t head_dim, int64_t padded_head);
    void (*gated)(float *gate, const float *up, int64_t n, int activation);
    /* up to 16 rows with one token, without packing; group_size a multiple of 64; room (16, cols) bytes, 64-byte
     * aligned. NULL where packing is as good. */
    void (*one_int8)(float *out, const int8_t *q, const float *scale, const int32_t *correction, const int8_t *rows,
                     const uint8_t *scales, int64_t count, int64_t cols, int64_t group_size, void *room);
} rc_fast;

/* NULL where this machine, or this build, has no such path. */
const rc_fast *rc_fast_path(int path);



#endif
