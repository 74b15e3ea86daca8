#include "quantize.h"

#include "clones.h"

#include <math.h>
#include <string.h>

/* To the nearest integer, halves away from zero, for numbers of a few hundred: roundf without a call of it. The rest
 * after cutting is exact. */
static inline int32_t half_away(float x)
{
    const int32_t cut = (int32_t)x;
    const float rest = x - (float)cut;
    return cut + (rest >= 0.5f) - (rest <= -0.5f);
}

/* Of x (count,); a NaN or infinity where there is one. Without their sign, floats are in the order of their bits as
 * integers. */
RC_CLONES("avx2") static float largest_magnitude(const float *x, int64_t count)
{
    uint32_t largest = 0;
    for (int64_t j = 0; j < count; j++) {
        uint32_t bits;
        memcpy(&bits, x + j, sizeof bits);
        bits &= 0x7fffffffu;
        largest = bits > largest ? bits : largest;
    }
    float value;
    memcpy(&value, &largest, sizeof value);
    return value;
}

RC_CLONES("avx2") static void divide_and_round(int8_t *q, const float *x, int64_t count, float s)
{
    for (int64_t j = 0; j < count; j++) {
        /* a subnormal scale is so coarse that the quotient may pass 127, if not 191 */
        const int32_t rounded = half_away(x[j] / s);
        q[j] = (int8_t)(rounded > 127 ? 127 : rounded < -127 ? -127 : rounded);
    }
}

void rc_quantize_activations(int8_t *q, float *scale, const float *x, int64_t count, int64_t group_size)
{
    for (int64_t g = 0; g < count / group_size; g++, x += group_size, q += group_size) {
        const float largest = largest_magnitude(x, group_size);
        const float s = isfinite(largest) ? largest / 127.0f : NAN;
        scale[g] = s;
        /* false for a zero and for a NaN */
        if (s > 0.0f)
            divide_and_round(q, x, group_size, s);
        else
            memset(q, 0, (size_t)group_size);
    }
}
