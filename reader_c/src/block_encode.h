/* Text to tokens by a tokenizer block. */
#ifndef EXPORT_AND_VERIFY_BLOCK_ENCODE_H
#define EXPORT_AND_VERIFY_BLOCK_ENCODE_H

#include "block.h"
#include "normalize.h"

/* How many tokens a text of `size` bytes can become, bos and eos included. */
int64_t rc_block_room(const rc_block *b, int64_t size);

/* Write a text as the merges see it: composed, and for kind 2 with U+2581 for spaces and for the prefix. */
int rc_normalize(const rc_block *b, const uint8_t *text, int64_t size, rc_text *out, rc_status *status);

/* rc_tokenizer_encode for a block. special: find special tokens in the text. */
int rc_block_encode(const rc_block *b, const uint8_t *text, int64_t size, int bos, int eos, int special,
                    int32_t *tokens, int64_t *count, rc_status *status);

#endif
