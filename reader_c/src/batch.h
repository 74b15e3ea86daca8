/* One batch of tokens on its way through the model, as one member of a team sees it. */
#ifndef EXPORT_AND_VERIFY_BATCH_H
#define EXPORT_AND_VERIFY_BATCH_H

#include "session.h"
#include "team.h"
#include "trace.h"

/* Tokens that stand at `position` and after. */
typedef struct {
    rc_session *s;
    const rc_options *o;
    const rc_fast *fast; /* NULL in mirror */
    rc_trace trace;
    int64_t n, position;
    float *x; /* (n, dim) the residual stream */
    /* Members go through it together, each with a rc_batch of its own over the same arrays. */
    rc_team *team;
    int member, members;
} rc_batch;

/* Wait until all members have done their part of a step. */
static inline void rc_finish_step(const rc_batch *b)
{
    rc_team_barrier(b->team, b->members);
}

/* This member's tokens: from *first up to *last. */
static inline void rc_own_tokens(const rc_batch *b, int64_t *first, int64_t *last)
{
    rc_share(b->member, b->members, b->n, 1, first, last);
}

/* This member's scratch for one row as floats: (widest,). */
static inline float *rc_own_row(const rc_batch *b)
{
    return b->s->row_room + b->member * b->s->widest;
}

#endif
