/* Recording what passes through a forward pass, into buffers of the caller's. */
#ifndef EXPORT_AND_VERIFY_TRACE_H
#define EXPORT_AND_VERIFY_TRACE_H

#include "model.h"

/* One call's buffers, and where in them the batch at hand stands. */
typedef struct {
    const rc_model *model;
    void *const *at; /* [RC_POINTS], or NULL: nothing is recorded */
    int64_t token;   /* of the call, with which the batch begins */
    int64_t seen;    /* positions that the call's last token looks back on */
} rc_trace;

/* n tokens' values of a point, as rc_trace_width has them */
void rc_record(const rc_trace *trace, int point, int64_t layer, const void *from, int64_t n);
/* what one head of one token of the batch found at its `count` positions: scores or shares */
void rc_record_looks(const rc_trace *trace, int point, int64_t token, int64_t head, const float *from, int64_t count);

#endif
