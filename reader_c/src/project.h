/* Products of a batch's inputs with weight matrices, by either arithmetic and with either kind of activations. */
#ifndef EXPORT_AND_VERIFY_PROJECT_H
#define EXPORT_AND_VERIFY_PROJECT_H

#include "batch.h"

typedef struct {
    int kind;       /* enum rc_kind of the weights */
    int bias;       /* enum rc_kind; RC_KINDS where there can be none */
    int point;      /* enum rc_point at which the product is recorded */
    int int8_point; /* and the int8 activations that go into it */
    float *out;     /* (n, out_features) */
} rc_projection;

/* x (n, in_features) through `count` projections of one layer. int8 activations are made once for all matrices of one
 * group size. */
void rc_project(const rc_batch *b, const float *x, int64_t layer, int count, const rc_projection *projections);

/* One expert of a layer, and the session's pairs that are its own. */
typedef struct {
    int64_t layer, expert;
    int64_t first, count; /* of the pairs */
} rc_expert_part;

/* x (count, in_features) through `count` projections of the expert; out is (count, out_features) each. Points are
 * recorded slot by slot. */
void rc_project_expert(const rc_batch *b, const float *x, const rc_expert_part *part, int count,
                       const rc_projection *projections);

#endif
