#include "unicode_tables.h"

#include <stdbool.h>
#include <stddef.h>

enum { SHIFT = 7, MASK = (1 << SHIFT) - 1, LAST = 0x10ffff };
/* Hangul syllables, which are computed: 19 leading, 21 vowels, 27 trailing and none */
enum { SYLLABLE = 0xac00, LEADING = 0x1100, VOWEL = 0x1161, TRAILING = 0x11a7 };
enum { LEADINGS = 19, VOWELS = 21, TRAILINGS = 28, SYLLABLES = LEADINGS * VOWELS * TRAILINGS };

static bool continues(uint8_t byte)
{
    return (byte & 0xc0) == 0x80;
}

int32_t rc_character(const uint8_t *text, int64_t size, int64_t at, int32_t *width)
{
    const uint8_t *b = text + at;
    const int64_t left = size - at;
    *width = 1;
    if (b[0] < 0x80)
        return b[0];
    if (b[0] >= 0xc2 && b[0] < 0xe0 && left > 1 && continues(b[1])) {
        *width = 2;
        return (b[0] & 0x1f) << 6 | (b[1] & 0x3f);
    }
    if ((b[0] & 0xf0) == 0xe0 && left > 2 && continues(b[1]) && continues(b[2])) {
        const int32_t code = (b[0] & 0x0f) << 12 | (b[1] & 0x3f) << 6 | (b[2] & 0x3f);
        if (code >= 0x800 && (code < 0xd800 || code > 0xdfff)) {
            *width = 3;
            return code;
        }
    }
    if ((b[0] & 0xf8) == 0xf0 && left > 3 && continues(b[1]) && continues(b[2]) && continues(b[3])) {
        const int32_t code = (b[0] & 0x07) << 18 | (b[1] & 0x3f) << 12 | (b[2] & 0x3f) << 6 | (b[3] & 0x3f);
        if (code >= 0x10000 && code <= LAST) {
            *width = 4;
            return code;
        }
    }
    return RC_NO_CHARACTER + b[0];
}

int32_t rc_put_character(int32_t code, uint8_t *bytes)
{
    if (code < 0x80 || code >= RC_NO_CHARACTER) {
        bytes[0] = (uint8_t)code;
        return 1;
    }
    const int32_t width = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    for (int32_t i = width - 1; i > 0; i--, code >>= 6)
        bytes[i] = (uint8_t)(0x80 | (code & 0x3f));
    bytes[0] = (uint8_t)((0xf00 >> width) | code);
    return width;
}

int rc_class_of(int32_t code)
{
    if (code <= MASK)
        return rc_classes[code];
    return code > LAST ? 0 : rc_classes[rc_class_blocks[code >> SHIFT] << SHIFT | (code & MASK)];
}

int64_t rc_character_before(const uint8_t *text, int64_t at)
{
    for (int64_t from = at > 4 ? at - 4 : 0; from < at; from++) {
        int32_t width;
        rc_character(text, at, from, &width);
        if (from + width == at && (width > 1 || from == at - 1))
            return from;
    }
    return at - 1;
}

int rc_combining_class(int32_t code)
{
    int32_t low = 0, high = (int32_t)(sizeof rc_combinings / sizeof *rc_combinings);
    while (low < high) {
        const int32_t middle = (low + high) / 2;
        if (rc_combinings[middle].last < code)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == (int32_t)(sizeof rc_combinings / sizeof *rc_combinings) || rc_combinings[low].first > code)
        return 0;
    return rc_combinings[low].value;
}

int rc_decompose(int32_t code, int32_t *first, int32_t *second)
{
    const int32_t index = code - SYLLABLE;
    if (index >= 0 && index < SYLLABLES) {
        const int32_t trailing = index % TRAILINGS, open = index / TRAILINGS;
        *first = trailing ? code - trailing : LEADING + open / VOWELS;
        *second = trailing ? TRAILING + trailing : VOWEL + open % VOWELS;
        return 1;
    }
    int32_t low = 0, high = (int32_t)(sizeof rc_decompositions / sizeof *rc_decompositions);
    while (low < high) {
        const int32_t middle = (low + high) / 2;
        if (rc_decompositions[middle].code == code) {
            *first = rc_decompositions[middle].first;
            *second = rc_decompositions[middle].second;
            return 1;
        }
        if (rc_decompositions[middle].code < code)
            low = middle + 1;
        else
            high = middle;
    }
    return 0;
}

int32_t rc_compose(int32_t first, int32_t second)
{
    const int32_t leading = first - LEADING, vowel = second - VOWEL;
    if (leading >= 0 && leading < LEADINGS && vowel >= 0 && vowel < VOWELS)
        return SYLLABLE + (leading * VOWELS + vowel) * TRAILINGS;
    const int32_t open = first - SYLLABLE, trailing = second - TRAILING;
    if (open >= 0 && open < SYLLABLES && open % TRAILINGS == 0 && trailing > 0 && trailing < TRAILINGS)
        return first + trailing;
    int32_t low = 0, high = (int32_t)(sizeof rc_compositions / sizeof *rc_compositions);
    while (low < high) {
        const int32_t middle = (low + high) / 2;
        const rc_composition *c = &rc_compositions[middle];
        if (c->first == first && c->second == second)
            return c->code;
        if (c->first < first || (c->first == first && c->second < second))
            low = middle + 1;
        else
            high = middle;
    }
    return -1;
}
