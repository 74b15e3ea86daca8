/* `mirror`'s norm, softmax and gate, each over one array. */
#ifndef EXPORT_AND_VERIFY_MIRROR_ROWS_H
#define EXPORT_AND_VERIFY_MIRROR_ROWS_H

#include <stdint.h>

/* out (dim,) = x (dim,) / sqrt(mean(x^2) + eps) * weight (dim,) */
void rc_rmsnorm(float *out, const float *x, const float *weight, int64_t dim, float eps);

/* x (n,) in place */
void rc_softmax(float *x, int64_t n);

/* The same as qwen3.c computes it: what is subtracted before e^x is never below 0. */
void rc_softmax_from_zero(float *x, int64_t n);

/* x (n,) = cap * tanh(x / cap) */
void rc_cap(float *x, int64_t n, float cap);

/* gate (n,) = activation(gate) * up (n,); activation is an enum rc_gate */
void rc_gated(float *gate, const float *up, int64_t n, int activation);

/* gate (n,) = silu(gate) * up (n,) as qwen3.c computes it: gate times the product of up and the sigmoid */
void rc_gated_by_product(float *gate, const float *up, int64_t n);

#endif
