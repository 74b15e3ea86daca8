/* The C reader's interface to drawing a token from logits. */
#ifndef EXPORT_AND_VERIFY_SAMPLE_H
#define EXPORT_AND_VERIFY_SAMPLE_H

#include "reader.h"

/* --- cffi begins here --- */
typedef struct {
    float temperature; /* 0 for the most probable token */
    float top_p;       /* 0 or 1 for all tokens */
} rc_sampling;

typedef struct {
    float probability;
    int32_t token;
} rc_candidate;

/* The next token, from finite logits (n,). state: run.c's random generator, at first its seed, never 0; a temperature
 * of 0 leaves it as it is. probability (n,) and room (n,) are scratch. */
int rc_sample(const float *logits, int64_t n, const rc_sampling *options, uint64_t *state, float *probability,
              rc_candidate *room, int32_t *token, rc_status *status);
/* --- cffi ends here --- */

#endif
