/* NFC: a text with its characters composed. */
#ifndef EXPORT_AND_VERIFY_NORMALIZE_H
#define EXPORT_AND_VERIFY_NORMALIZE_H

#include "reader.h"

#include <stdbool.h>

/* A text that is being written. */
typedef struct {
    uint8_t *bytes; /* (room,) */
    int64_t size;
    int64_t room;
} rc_text;

/* Make room for `more` bytes behind the text. */
int rc_text_reserve(rc_text *text, int64_t more, rc_status *status);

/* Whether NFC may change a text (size,). */
bool rc_is_unstable(const uint8_t *text, int64_t size);

/* Append the NFC of a text (size,) to another one. A byte that is no part of UTF-8 stays as it is. */
int rc_append_nfc(const uint8_t *text, int64_t size, rc_text *out, rc_status *status);

#endif
