/* The norms of a model, by either arithmetic. */
#ifndef EXPORT_AND_VERIFY_NORM_H
#define EXPORT_AND_VERIFY_NORM_H

#include "batch.h"

/* out = norm of x, which are (n, vectors, width): every vector of this member's tokens by itself, with weights
 * (width,) of a kind (enum rc_kind). out may be x. */
void rc_norm(const rc_batch *b, float *out, const float *x, int64_t vectors, int kind, int64_t layer);

#endif
