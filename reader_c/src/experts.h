/* A mixture of experts, in place of a layer's feed forward. */
#ifndef EXPORT_AND_VERIFY_EXPERTS_H
#define EXPORT_AND_VERIFY_EXPERTS_H

#include "batch.h"

/* The session's projected (n, dim) = the mixture of x (n, dim). Each expert's matrices are read once a batch. */
void rc_run_experts(const rc_batch *b, const float *x, int64_t layer);

#endif
