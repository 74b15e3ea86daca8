/* Characters of a text in UTF-8, and what Hugging Face's tokenizers library knows of each. */
#ifndef EXPORT_AND_VERIFY_UNICODE_H
#define EXPORT_AND_VERIFY_UNICODE_H

#include "reader.h"

/* Classes of a code point, as bits. The library has several engines, whose classes differ in some code points. */
enum {
    RC_LETTER = 1,    /* \p{L} of regular expressions */
    RC_NUMBER = 2,    /* \p{N} */
    RC_SPACE = 4,     /* \s */
    RC_DIGIT = 8,     /* what the pre-tokenizer Digits splits off */
    RC_WORD = 16,     /* \w of added tokens */
    RC_UNSTABLE = 32, /* NFC may change a text that has it */
};

enum { RC_NO_CHARACTER = 0x110000 }; /* plus a byte that is no part of UTF-8 */

typedef struct {
    int32_t first, last; /* code points, last included */
    int32_t value;       /* canonical combining class */
} rc_combining;

typedef struct {
    int32_t code;
    int32_t first, second; /* second: 0 for none */
} rc_decomposition;

typedef struct {
    int32_t first, second;
    int32_t code;
} rc_composition;

/* The code point at `at`, 0 <= at < size, and its bytes. A byte that is no part of UTF-8 is a character of its own,
 * RC_NO_CHARACTER plus the byte, of no class. */
int32_t rc_character(const uint8_t *text, int64_t size, int64_t at, int32_t *width);

/* Write a character's UTF-8, or the byte that it is; returns how many bytes, at most 4. */
int32_t rc_put_character(int32_t code, uint8_t *bytes);

/* The classes of a code point. */
int rc_class_of(int32_t code);

/* Where the character before `at` begins, 0 < at. */
int64_t rc_character_before(const uint8_t *text, int64_t at);

int rc_combining_class(int32_t code);

/* The first step of a canonical decomposition: 0 where there is none; second is 0 where it is one code point. */
int rc_decompose(int32_t code, int32_t *first, int32_t *second);

/* What two code points compose to; -1 for nothing. */
int32_t rc_compose(int32_t first, int32_t second);

#endif
