/* Text to tokens by a tokenizer.bin. */
#ifndef EXPORT_AND_VERIFY_ENCODE_H
#define EXPORT_AND_VERIFY_ENCODE_H

#include "pieces.h"

/* rc_tokenizer_encode for a tokenizer.bin. */
int rc_vocabulary_encode(const rc_vocabulary *t, const uint8_t *text, int64_t size, int bos, int eos,
                         int32_t *tokens, int64_t *count, rc_status *status);

#endif
