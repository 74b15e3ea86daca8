/* Tokens to text by a tokenizer.bin. */
#ifndef EXPORT_AND_VERIFY_DECODE_H
#define EXPORT_AND_VERIFY_DECODE_H

#include "pieces.h"

/* rc_tokenizer_decode for a tokenizer.bin. */
int rc_vocabulary_decode(const rc_vocabulary *t, int32_t previous, const int32_t *tokens, int64_t n, int shown,
                         uint8_t *text, int64_t *size, rc_status *status);

#endif
