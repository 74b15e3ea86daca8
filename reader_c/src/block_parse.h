/* Reads a tokenizer block and checks every rule of it. */
#ifndef EXPORT_AND_VERIFY_BLOCK_PARSE_H
#define EXPORT_AND_VERIFY_BLOCK_PARSE_H

#include "block.h"

/* Copy and check a block (size,) for a model of vocab_size tokens. */
int rc_block_open(const uint8_t *bytes, int64_t size, int64_t vocab_size, rc_block **block, rc_status *status);
void rc_block_close(rc_block *b);

#endif
