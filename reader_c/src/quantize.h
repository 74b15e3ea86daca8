/* int8 activations, the same in both arithmetics. */
#ifndef EXPORT_AND_VERIFY_QUANTIZE_H
#define EXPORT_AND_VERIFY_QUANTIZE_H

#include <stdint.h>

/* x (count,) as runq.c quantizes it: int8 q (count,) and one scale (count / group_size,) a group, half away from zero.
 * A group of zeros, or one whose scale underflows to zero, is zero; under a subnormal scale, too coarse for 127 steps,
 * int8 stops at 127; a group with a NaN or infinity in it has a NaN for its scale. runq.c has no defined answer for
 * these groups. */
void rc_quantize_activations(int8_t *q, float *scale, const float *x, int64_t count, int64_t group_size);

#endif
