#include "fast_rope.h"

#include <math.h>
#include <string.h>

#define LN2_HIGH 0x1.62e42fefa39efp-1
#define LN2_LOW 0x1.abc9e3b39803fp-56
#define HALF_PI_HIGH 0x1.921fb54442d18p+0
#define HALF_PI_LOW 0x1.1a62633145c07p-54

/* 2^n for n from -1022 to 1023 */
static double power_of_two(int64_t n)
{
    const uint64_t bits = (uint64_t)(n + 1023) << 52;
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* 2 atanh((m - 1) / (m + 1)) of its mantissa, whose series ends where 0.172^24 does. */
double rc_log_fast(double x)
{
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    int64_t exponent = (int64_t)(bits >> 52) - 1023;
    double mantissa = x * power_of_two(-exponent); /* 1 to 2 */
    if (mantissa > 0x1.6a09e667f3bcdp+0) {
        mantissa *= 0.5;
        exponent++;
    }
    const double s = (mantissa - 1.0) / (mantissa + 1.0), square = s * s;
    double sum = 0.0;
    for (int k = 23; k >= 1; k -= 2)
        sum = fma(sum, square, 1.0 / k);
    return fma((double)exponent, LN2_HIGH, fma((double)exponent, LN2_LOW, 2.0 * s * sum));
}

/* e^y for |y| < 700: Taylor's polynomial of the rest of y after whole ln 2. */
static double exponential(double y)
{
    const double n = nearbyint(y * 0x1.71547652b82fep+0);
    const double r = fma(-n, LN2_LOW, fma(-n, LN2_HIGH, y));
    double sum = 1.0;
    for (int k = 14; k >= 1; k--)
        sum = fma(sum, r / k, 1.0);
    return sum * power_of_two((int64_t)n);
}

float rc_pow_fast(float base, float exponent)
{
    return (float)exponential((double)exponent * rc_log_fast(base));
}

void rc_cosine_sine_fast(float *cosine, float *sine, float angle)
{
    const double k = nearbyint(angle * 0x1.45f306dc9c883p-1);
    const double r = fma(-k, HALF_PI_LOW, fma(-k, HALF_PI_HIGH, angle)), square = r * r;
    double s = 1.0, c = 1.0;
    for (int n = 16; n >= 2; n -= 2) {
        s = fma(s, -square / (n * (n + 1)), 1.0);
        c = fma(c, -square / (n * (n - 1)), 1.0);
    }
    s *= r;
    switch ((int64_t)k & 3) {
    case 0: *cosine = (float)c, *sine = (float)s; break;
    case 1: *cosine = (float)-s, *sine = (float)c; break;
    case 2: *cosine = (float)-c, *sine = (float)-s; break;
    default: *cosine = (float)s, *sine = (float)-c; break;
    }
}

void rc_rope_row_fast(float *cosine, float *sine, int64_t position, const float *frequency, int64_t half, float factor)
{
    for (int64_t i = 0; i < half; i++) {
        rc_cosine_sine_fast(&cosine[i], &sine[i], (float)position * frequency[i]);
        cosine[i] *= factor;
        sine[i] *= factor;
    }
}
