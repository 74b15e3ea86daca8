/* turns FROM TO: sine and cosine of every float from bit pattern FROM up to TO, beside long double's. Prints how many
 * were looked at, how many are off by more than 0.5001 ulp, and the largest error in ulp. */
#include "fast_rope.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static long double off(float found, long double exact)
{
    const float size = fmaxf(fabsf(found), 0x1p-126f);
    return fabsl(found - exact) / ldexpl(1.0L, ilogbf(size) - 23);
}

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    const uint32_t from = (uint32_t)strtoul(argv[1], NULL, 10), to = (uint32_t)strtoul(argv[2], NULL, 10);
    unsigned long wrong = 0;
    long double largest = 0;
    for (uint32_t bits = from; bits < to; bits++) {
        float angle, cosine, sine;
        memcpy(&angle, &bits, sizeof angle);
        rc_cosine_sine_fast(&cosine, &sine, angle);
        const long double c = off(cosine, cosl(angle)), s = off(sine, sinl(angle));
        const long double more = c > s ? c : s;
        wrong += !(more <= 0.5001L);
        largest = more > largest ? more : largest;
    }
    printf("%lu %lu %.6Lf\n", (unsigned long)(to - from), wrong, largest);
    return 0;
}
