/* The steps of a forward pass, each for one batch of tokens. What happens inside is recorded where the trace asks: else
 * that costs one test of a pointer an operation. */
#ifndef EXPORT_AND_VERIFY_LAYER_H
#define EXPORT_AND_VERIFY_LAYER_H

#include "batch.h"

/* x = the embeddings of tokens (n,) */
void rc_embed(const rc_batch *b, const int32_t *tokens);

/* x through one layer, whose cache gets the batch's keys and values. */
void rc_run_layer(const rc_batch *b, int64_t layer);

/* logits (n, vocab_size) of x */
void rc_classify(const rc_batch *b, float *logits);

#endif
