/* Where the pre-tokens of a text end: the regular expressions of published models, written out. */
#ifndef EXPORT_AND_VERIFY_SCANNER_H
#define EXPORT_AND_VERIFY_SCANNER_H

#include "block.h"

/* The end of the pre-token that begins at `at`, 0 <= at < size, for a pre-tokenizer of enum rc_pretokenizer. */
int64_t rc_pretoken_end(int32_t pretokenizer, const uint8_t *text, int64_t size, int64_t at);

#endif
