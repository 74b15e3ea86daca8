/* The next token, drawn as run.c draws it. */
#include "sample.h"

#include "mirror_rows.h"
#include "status.h"

#include <math.h>
#include <stdlib.h>

/* xorshift64*, in [0, 1) by steps of 2^-24. The state is never 0. */
static float next_random(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    const uint32_t number = (uint32_t)((*state * 0x2545f4914f6cdd1du) >> 32);
    return (float)(number >> 8) / 16777216.0f;
}

static int32_t most_probable(const float *x, int64_t n)
{
    int64_t best = 0;
    for (int64_t i = 1; i < n; i++)
        if (x[i] > x[best])
            best = i;
    return (int32_t)best;
}

static int32_t draw(const float *probability, int64_t n, float coin)
{
    float sum = 0.0f;
    for (int64_t i = 0; i < n; i++) {
        sum += probability[i];
        if (coin < sum)
            return (int32_t)i;
    }
    return (int32_t)(n - 1);
}

/* run.c's qsort compares probabilities alone. glibc's is a merge sort, which keeps equal ones in the order of tokens;
 * said here, that holds for every library. */
static int by_probability(const void *a, const void *b)
{
    const rc_candidate *p = a, *q = b;
    if (p->probability != q->probability)
        return p->probability > q->probability ? -1 : 1;
    return (p->token > q->token) - (p->token < q->token);
}

static int32_t draw_top(const float *probability, int64_t n, float top_p, float coin, rc_candidate *room)
{
    const float cutoff = (1.0f - top_p) / (float)(n - 1);
    int64_t kept = 0;
    for (int64_t i = 0; i < n; i++)
        if (probability[i] >= cutoff)
            room[kept++] = (rc_candidate){.probability = probability[i], .token = (int32_t)i};
    /* run.c reads before its array here: nearly equal probabilities and a tiny top_p, or a vocabulary of one */
    if (!kept)
        return most_probable(probability, n);
    qsort(room, (size_t)kept, sizeof *room, by_probability);

    float sum = 0.0f;
    int64_t last = kept - 1;
    for (int64_t i = 0; i < kept; i++) {
        sum += room[i].probability;
        if (sum > top_p) {
            last = i;
            break;
        }
    }
    const float goal = coin * sum;
    float passed = 0.0f;
    for (int64_t i = 0; i <= last; i++) {
        passed += room[i].probability;
        if (goal < passed)
            return room[i].token;
    }
    return room[last].token;
}

static int check_options(int64_t n, const rc_sampling *options, const uint64_t *state, rc_status *status)
{
    if (n < 1)
        return rc_fail(status, RC_ARGUMENT, "number of logits", -1, "at least", 1, n);
    if (n > INT32_MAX)
        return rc_fail(status, RC_ARGUMENT, "number of logits", -1, "at most", INT32_MAX, n);
    if (!(options->temperature >= 0.0f && isfinite(options->temperature)))
        return rc_fail_argument(status, "temperature", -1, "a finite number, 0 or more", options->temperature);
    if (!(options->top_p >= 0.0f && options->top_p <= 1.0f))
        return rc_fail_argument(status, "top_p", -1, "a number from 0 to 1", options->top_p);
    if (!*state)
        return rc_fail(status, RC_ARGUMENT, "seed", -1, "at least", 1, 0);
    return RC_OK;
}

int rc_sample(const float *logits, int64_t n, const rc_sampling *options, uint64_t *state, float *probability,
              rc_candidate *room, int32_t *token, rc_status *status)
{
    *status = (rc_status){.code = RC_OK, .offset = -1};
    RC_TRY(check_options(n, options, state, status));
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(logits[i]))
            return rc_fail_argument(status, "logit", i, "a finite number", logits[i]);
    if (options->temperature == 0.0f) {
        *token = most_probable(logits, n);
        return RC_OK;
    }
    for (int64_t i = 0; i < n; i++) {
        probability[i] = logits[i] / options->temperature;
        if (!isfinite(probability[i]))
            return rc_fail_argument(status, "temperature", -1, "one by which no logit becomes infinite",
                                    options->temperature);
    }
    rc_softmax(probability, n);
    const float coin = next_random(state);
    if (options->top_p <= 0.0f || options->top_p >= 1.0f)
        *token = draw(probability, n, coin);
    else
        *token = draw_top(probability, n, options->top_p, coin, room);
    return RC_OK;
}
