/* Recording what a forward pass computes, into buffers of the caller's. */
#ifndef EXPORT_AND_VERIFY_TRACE_H
#define EXPORT_AND_VERIFY_TRACE_H

#include "model.h"

/* One call's buffers, and where in them the batch at hand stands. */
typedef struct {
    const rc_model *model;
    void *const *at; /* [RC_POINTS], or NULL: nothing is recorded */
    int64_t token;   /* of the call, with which the batch begins */
    int64_t seen;    /* positions that the call's last token attends to */
} rc_trace;

/* Record n tokens' values of a point: from (n, rc_trace_width), float or int8. */
void rc_record(const rc_trace *trace, int point, int64_t layer, const void *from, int64_t n);

/* A token of the batch, and which of its experts: they are counted from 0, in the order of their numbers. */
typedef struct {
    int32_t token, slot;
} rc_pair_of_token;

/* Record a point that has a part for each of a token's experts: from (count, width of a part), one of each pair. */
void rc_record_slots(const rc_trace *trace, int point, int64_t layer, const rc_pair_of_token *pairs, const void *from,
                     int64_t count);

/* Record one head's scores or shares, from (count,), of one token of the batch: they are of the positions from `first`
 * on. Zeros before and after them. */
void rc_record_attention(const rc_trace *trace, int point, int64_t token, int64_t head, const float *from,
                         int64_t first, int64_t count);

#endif
