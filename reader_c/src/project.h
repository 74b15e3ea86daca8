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

#endif
