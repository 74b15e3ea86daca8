/* The arithmetic of a forward pass, on plain arrays.
 *
 * `mirror` is llama2.c's run.c and runq.c to the bit: every sum in index order, one rounding after each
 * multiplication and each addition, the C library's own expf, powf, cosf and sinf. It parts from runq.c where
 * that has no defined answer: int8 activations of a group of zeros, of one whose scale is subnormal, and of
 * one with a NaN or infinity in it.
 * What only v3 can ask for (half precision, biases, other gates, scaled RoPE) is computed the same way in both:
 * exact widening, one rounding an operation.
 * It gives the same bits on every instruction set, as far as the C library's functions do; which bits a NaN has
 * is left open. The other arithmetic, `fast`, is in fast.h.
 */
#ifndef EXPORT_AND_VERIFY_KERNELS_H
#define EXPORT_AND_VERIFY_KERNELS_H

#include "model.h"

enum {
    RC_LANES = 16, /* tokens that mirror takes side by side */
    RC_ROWS = 6,   /* of weights that it takes at once: two AVX2 accumulators each, of 16 registers */
};

/* One weight matrix, out_features by in_features. */
typedef struct {
    int storage;           /* enum rc_storage */
    int64_t rows, cols;    /* out_features, in_features */
    int64_t group_size;    /* of Q8_0 */
    const uint8_t *values; /* float, half or int8, (rows, cols) */
    const uint8_t *scales; /* float at any address, (rows, cols / group_size) */
} rc_matrix;

/* storage is RC_ABSENT where the model has no such tensor */
rc_matrix rc_matrix_of(const rc_model *model, int kind, int64_t layer);

/* One row as float: the row itself where it is fp32, else `room`, (cols,), with the widened halves or q * scale. */
const float *rc_matrix_row(const rc_matrix *w, int64_t row, float *room);

/* out (n, rows) = x (n, cols) @ w.T with float activations. `row_room` is (RC_ROWS, cols); `lane_room` is (cols,
 * n rounded up to RC_LANES), 64-byte aligned. */
void rc_matmul(float *out, const float *x, int64_t n, const rc_matrix *w, float *row_room, float *lane_room);

/* runq.c's activations: int8 and one scale a group, half away from zero. A group of zeros, or one whose
 * scale underflows to zero, is zero; under a subnormal scale, too coarse for 127 steps, int8 stops at 127; a
 * group with a NaN or infinity in it has a NaN for its scale. */
void rc_quantize_activations(int8_t *q, float *scale, const float *x, int64_t count, int64_t group_size);

/* out (n, rows) from int8 activations q (n, cols), scale (n, cols / group_size), as runq.c sums them. `lane_room`
 * is (cols + cols / group_size, n rounded up to RC_LANES). */
void rc_matmul_q8(float *out, const int8_t *q, const float *scale, int64_t n, const rc_matrix *w, float *row_room,
                  float *lane_room);

void rc_rmsnorm(float *out, const float *x, const float *weight, int64_t dim, float eps);
void rc_softmax(float *x, int64_t n);
/* gate = activation(gate) * up; enum rc_gate */
void rc_gated(float *gate, const float *up, int64_t n, int activation);

/* The angle by which each pair turns from one position to the next, (head_dim / 2,): theta^(-2i / head_dim) as run.c
 * computes it, times what scaling makes of it. That ratio is computed in double and rounded with the product. */
void rc_rope_frequencies(float *frequency, const rc_config *config);
/* cosine and sine of position * frequency, times `factor`, which yarn alone has other than 1: (half,) each */
void rc_rope_row(float *cosine, float *sine, int64_t position, const float *frequency, int64_t half, float factor);
/* the same for fast, by functions of this reader's own; base^exponent */
void rc_rope_frequencies_fast(float *frequency, const rc_config *config);
void rc_rope_row_fast(float *cosine, float *sine, int64_t position, const float *frequency, int64_t half, float factor);
float rc_pow_fast(float base, float exponent);
void rc_turn_fast(float *cosine, float *sine, float angle);
/* rotate the pairs (2i, 2i+1) of each head in place */
void rc_rotate(float *x, int64_t heads, int64_t head_size, const float *cosine, const float *sine);

#endif
