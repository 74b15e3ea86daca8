/* Pre-tokens to tokens: looked up whole, remembered, or merged. */
#ifndef EXPORT_AND_VERIFY_WORDS_H
#define EXPORT_AND_VERIFY_WORDS_H

#include "block.h"
#include "merge_run.h"

typedef struct rc_remembered rc_remembered;

/* Tokens that are being written, and what is known of pre-tokens that were seen before. */
typedef struct {
    const rc_block *b;
    int32_t *tokens; /* room enough for all that may come */
    int64_t count;
    rc_merge_room room;
    rc_remembered *memory; /* (mask + 1,) NULL for none */
    uint64_t mask;
} rc_writer;

/* size: of the text, which decides how much is remembered. */
int rc_writer_open(rc_writer *w, const rc_block *b, int32_t *tokens, int64_t size, rc_status *status);
void rc_writer_close(rc_writer *w);

/* Kind 1: the tokens of a pre-token. */
int rc_write_bytes(rc_writer *w, const uint8_t *bytes, int64_t size, rc_status *status);

/* Kind 2: the tokens of a text between added tokens. */
int rc_write_characters(rc_writer *w, const uint8_t *text, int64_t size, rc_status *status);

/* Fill in b->whole: by merging each piece's own bytes. Everything else of the block must be there. */
int rc_find_whole(rc_block *b, rc_status *status);

#endif
