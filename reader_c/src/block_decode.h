/* Tokens to text by a tokenizer block. */
#ifndef EXPORT_AND_VERIFY_BLOCK_DECODE_H
#define EXPORT_AND_VERIFY_BLOCK_DECODE_H

#include "block.h"

/* rc_tokenizer_decode for a block, but for tokens that it does not have: those are without text. special: keep special
 * tokens. */
int rc_block_decode(const rc_block *b, int32_t previous, const int32_t *tokens, int64_t n, int special, uint8_t *text,
                    int64_t *size, rc_status *status);

#endif
