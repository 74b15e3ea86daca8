#include "decode.h"

#include "status.h"

#include <string.h>

static int digit(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static bool is_space(uint8_t c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* The byte that a piece such as <0x0A> stands for, or -1. run.c asks sscanf for "<0x%02hhX>", which tells it of the
 * number and not of the bracket behind it: so there may be white space and a sign before the number, one digit is
 * enough, and anything may follow. */
static int raw_byte(const uint8_t *piece, int32_t length)
{
    int32_t at = 3, width = 2;
    if (length < at || memcmp(piece, "<0x", 3))
        return -1;
    while (at < length && is_space(piece[at]))
        at++;
    const bool negative = at < length && piece[at] == '-';
    if (negative || (at < length && piece[at] == '+')) {
        at++;
        width--;
    }
    int value = -1;
    for (; width > 0 && at < length && digit(piece[at]) >= 0; width--, at++)
        value = (value < 0 ? 0 : value * 16) + digit(piece[at]);
    return negative && value > 0 ? 256 - value : value;
}

/* run.c's safe_printf drops a piece of one byte that is neither printable nor white space. */
static bool is_shown(uint8_t c)
{
    return (c >= 0x20 && c < 0x7f) || is_space(c);
}

/* What a token adds to a text; `raw` has room for a byte that the piece only stands for. */
static const uint8_t *text_of(const rc_vocabulary *t, int32_t previous, int32_t token, uint8_t *raw, int32_t *length)
{
    const uint8_t *piece = t->pieces[token].bytes;
    *length = t->pieces[token].length;
    if (token == RC_BOS) {
        *length = 0;
        return piece;
    }
    if (previous == RC_BOS && *piece == ' ') {
        piece++;
        --*length;
    }
    const int byte = raw_byte(piece, *length);
    if (byte < 0)
        return piece;
    *raw = (uint8_t)byte;
    *length = 1;
    return raw;
}

int rc_vocabulary_decode(const rc_vocabulary *t, int32_t previous, const int32_t *tokens, int64_t n, int shown,
                         uint8_t *text, int64_t *size, rc_status *status)
{
    for (int64_t i = 0; i < n; i++) {
        if (tokens[i] < 0)
            return rc_fail(status, RC_ARGUMENT, "token", i, "at least", 0, tokens[i]);
        if (tokens[i] >= t->count)
            return rc_fail(status, RC_ARGUMENT, "token", i, "at most", t->count - 1, tokens[i]);
        uint8_t raw;
        int32_t length;
        const uint8_t *piece = text_of(t, previous, tokens[i], &raw, &length);
        previous = tokens[i];
        if (shown && length == 1 && !is_shown(*piece))
            continue;
        if (text)
            memcpy(text + *size, piece, (size_t)length);
        *size += length;
    }
    return RC_OK;
}
