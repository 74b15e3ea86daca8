/* RoPE's functions for `fast`, this reader's own: in double precision, so that the float is correctly rounded unless
 * the exact value lies within a ten-millionth of an ulp of the middle between two floats. */
#ifndef EXPORT_AND_VERIFY_FAST_ROPE_H
#define EXPORT_AND_VERIFY_FAST_ROPE_H

#include <stdint.h>

/* base^exponent, for rc_rope_frequencies */
float rc_pow_fast(float base, float exponent);

/* ln x of a normal, positive x, for the query scale */
double rc_log_fast(double x);

/* Cosine and sine of an angle. */
void rc_cosine_sine_fast(float *cosine, float *sine, float angle);

/* cosine and sine (half,) of position * frequency (half,), times `factor`: 1, but for yarn
 * and longrope */
void rc_rope_row_fast(float *cosine, float *sine, int64_t position, const float *frequency, int64_t half, float factor);

#endif
