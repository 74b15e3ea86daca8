/* RoPE: the frequencies and the rotation, which both arithmetics share, and `mirror`'s cosines and sines. */
#ifndef EXPORT_AND_VERIFY_ROPE_H
#define EXPORT_AND_VERIFY_ROPE_H

#include "reader.h"

/* The angle by which each pair turns from one position to the next, frequency (rotary_dim / 2,): theta^(-2i /
 * rotary_dim) as run.c, or qwen3.c for its own files, computes it with `power`, which is powf in mirror, times the
 * ratio that scaling gives. That ratio is computed in double and rounded with the product. */
void rc_rope_frequencies(float *frequency, const rc_model *model, float (*power)(float base, float exponent));

/* The same of the second RoPE, with local_theta and no scaling. */
void rc_local_frequencies(float *frequency, const rc_config *config, float (*power)(float base, float exponent));

/* cosine and sine (half,) of position * frequency (half,), times `factor`: 1, but for yarn
 * and longrope */
void rc_rope_row(float *cosine, float *sine, int64_t position, const float *frequency, int64_t half, float factor);

/* Rotate the pairs (2i, 2i+1) of the first `rotated` elements of each head of x (heads, head_size) in place; cosine and
 * sine are (rotated / 2,). */
void rc_rotate(float *x, int64_t heads, int64_t head_size, int64_t rotated, const float *cosine, const float *sine);

/* Rotate the pairs (i, i + head_size / 2) of each head instead, as ajc1 has them. */
void rc_rotate_halves(float *x, int64_t heads, int64_t head_size, const float *cosine, const float *sine);

#endif
