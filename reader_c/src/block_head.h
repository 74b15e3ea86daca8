/* The first 64 bytes of a tokenizer block, and where its parts stand. */
#ifndef EXPORT_AND_VERIFY_BLOCK_HEAD_H
#define EXPORT_AND_VERIFY_BLOCK_HEAD_H

#include "block.h"

/* Bytes from the block's beginning. */
typedef struct {
    int64_t ends;
    int64_t pieces;
    int64_t scores; /* where the block is scored, else that of merges */
    int64_t merges;
    int64_t added;
    int64_t eos_ids;
    int64_t chat_template;
    int64_t end; /* of the template: zeros follow up to the block's size */
    int64_t piece_bytes;
    int64_t merge_count;
    bool is_scored;
} rc_block_places;

/* Check the head of a block (size,) and what follows from it; fills in the numbers of `b`. */
int rc_read_block_head(rc_block *b, const uint8_t *bytes, int64_t size, int64_t vocab_size, rc_block_places *places,
                       rc_status *status);

#endif
