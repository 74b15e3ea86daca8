#include "rope.h"

#include "model.h"

#include <math.h>

#define TWO_PI 6.283185307179586

/* Index of the pair that makes `turns` turns in the original length, as yarn counts them: not rounded. */
static double pair_of(const rc_config *c, double turns)
{
    const double length = c->scaling.original_max_positions;
    return c->rotary_dim * log(length / (turns * TWO_PI)) / (2.0 * log(c->rope_theta));
}

/* By which scaling multiplies the frequency of pair i. */
static double scaling_ratio(const rc_model *model, int64_t i)
{
    const rc_config *c = &model->config;
    const rc_rope_scaling *s = &c->scaling;
    double kept; /* part of the frequency that is not divided by the factor */
    if (s->type == RC_LINEAR) {
        kept = 0.0;
    } else if (s->type == RC_LLAMA3) {
        const double frequency = pow(c->rope_theta, -2.0 * (double)i / c->rotary_dim);
        const double turns = s->original_max_positions * frequency / TWO_PI;
        kept = (turns - s->low_freq_factor) / (s->high_freq_factor - s->low_freq_factor);
    } else if (s->type == RC_YARN) {
        double low = pair_of(c, s->beta_fast), high = pair_of(c, s->beta_slow);
        if (s->truncate) {
            low = floor(low);
            high = ceil(high);
        }
        low = fmax(low, 0.0);
        high = fmin(high, c->rotary_dim - 1);
        if (low == high)
            high += 0.001; /* as transformers keeps the ramp from a division by zero */
        kept = 1.0 - ((double)i - low) / (high - low);
    } else if (s->type == RC_LONGROPE) {
        float factor;
        rc_model_rope_factor(model, i, &factor);
        return 1.0 / (double)factor;
    } else {
        return 1.0; /* none; and dynamic, which changes nothing up to original_max_positions */
    }
    kept = fmin(fmax(kept, 0.0), 1.0);
    return kept + (1.0 - kept) / s->factor;
}

/* Of pair i without scaling. */
static float unscaled(double theta, int64_t i, int32_t size, float (*power)(float base, float exponent))
{
    return 1.0f / power((float)theta, (float)(2 * i) / (float)size);
}

/* The same number rounded as qwen3.c rounds it, which takes no reciprocal. */
static float of_negative_power(double theta, int64_t i, int32_t size, float (*power)(float base, float exponent))
{
    return power((float)theta, -(float)i / (float)(size / 2));
}

void rc_rope_frequencies(float *frequency, const rc_model *model, float (*power)(float base, float exponent))
{
    const rc_config *config = &model->config;
    for (int64_t i = 0; i < config->rotary_dim / 2; i++) {
        const float of_pair = config->format == RC_AJC1
                                  ? of_negative_power(config->rope_theta, i, config->rotary_dim, power)
                                  : unscaled(config->rope_theta, i, config->rotary_dim, power);
        frequency[i] = (float)((double)of_pair * scaling_ratio(model, i));
    }
}

void rc_local_frequencies(float *frequency, const rc_config *config, float (*power)(float base, float exponent))
{
    for (int64_t i = 0; i < config->rotary_dim / 2; i++)
        frequency[i] = unscaled(config->local_theta, i, config->rotary_dim, power);
}

void rc_rope_row(float *cosine, float *sine, int64_t position, const float *frequency, int64_t half, float factor)
{
    for (int64_t i = 0; i < half; i++) {
        const float angle = (float)position * frequency[i];
        cosine[i] = cosf(angle) * factor;
        sine[i] = sinf(angle) * factor;
    }
}

void rc_rotate(float *x, int64_t heads, int64_t head_size, int64_t rotated, const float *cosine, const float *sine)
{
    for (int64_t h = 0; h < heads; h++, x += head_size) {
        for (int64_t i = 0; i < rotated; i += 2) {
            const float c = cosine[i / 2], s = sine[i / 2];
            const float even = x[i], odd = x[i + 1];
            x[i] = even * c - odd * s;
            x[i + 1] = even * s + odd * c;
        }
    }
}

void rc_rotate_halves(float *x, int64_t heads, int64_t head_size, const float *cosine, const float *sine)
{
    const int64_t half = head_size / 2;
    for (int64_t h = 0; h < heads; h++, x += head_size) {
        for (int64_t i = 0; i < half; i++) {
            const float real = x[i], imaginary = x[i + half];
            x[i] = real * cosine[i] - imaginary * sine[i];
            x[i + half] = real * sine[i] + imaginary * cosine[i];
        }
    }
}
