/* Queries and keys on their way from their projections to attention: norm, rotation, scale. */
#ifndef EXPORT_AND_VERIFY_HEADS_H
#define EXPORT_AND_VERIFY_HEADS_H

#include "batch.h"

/* The session's cosine and sine of the batch's positions, of each RoPE, which all layers share. */
void rc_prepare_rope(const rc_batch *b);

/* The session's queries q (n, q_dim) and keys (n, kv_dim), in place, as this layer has them. */
void rc_condition_heads(const rc_batch *b, int64_t layer, float *keys);

#endif
