#include "block_decode.h"

#include "status.h"

#include <string.h>

enum { SPACE_WIDTH = 3, BYTE_PIECE = 6 };

static int digit(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The byte that a piece such as <0x0A> stands for, or -1. */
static int byte_of(const rc_block *b, int32_t token)
{
    const uint8_t *piece = rc_bytes_of(b, token);
    if (!(b->flags & RC_BYTE_PIECES) || rc_length_of(b, token) != BYTE_PIECE || memcmp(piece, "<0x", 3) ||
        piece[5] != '>' || digit(piece[3]) < 0 || digit(piece[4]) < 0)
        return -1;
    return digit(piece[3]) * 16 + digit(piece[4]);
}

/* Text that is written, or only counted. */
typedef struct {
    uint8_t *bytes; /* NULL: counted */
    int64_t size;
    bool strips_space;  /* the next byte is the text's first, and left out where it is a space */
    bool strips_spaces; /* and so is every space that follows that one */
} output;

static void put(output *o, uint8_t byte)
{
    const bool is_left_out = o->strips_space && byte == ' ';
    o->strips_space = is_left_out && o->strips_spaces;
    if (is_left_out)
        return;
    if (o->bytes)
        o->bytes[o->size] = byte;
    o->size++;
}

/* The characters of a piece, U+2581 as a space. */
static void put_characters(output *o, const uint8_t *piece, int32_t length)
{
    for (int32_t i = 0; i < length; i++) {
        if (length - i >= SPACE_WIDTH && !memcmp(piece + i, "\xe2\x96\x81", SPACE_WIDTH)) {
            put(o, ' ');
            i += SPACE_WIDTH - 1;
        } else {
            put(o, piece[i]);
        }
    }
}

static void put_token(const rc_block *b, int32_t token, output *o)
{
    const int byte = b->kind == 2 ? byte_of(b, token) : -1;
    if (byte >= 0)
        put(o, (uint8_t)byte);
    else if (b->kind == 2)
        put_characters(o, rc_bytes_of(b, token), rc_length_of(b, token));
    else
        for (int32_t i = 0; i < rc_length_of(b, token); i++)
            put(o, rc_bytes_of(b, token)[i]);
}

int rc_block_decode(const rc_block *b, int32_t previous, const int32_t *tokens, int64_t n, int special, uint8_t *text,
                    int64_t *size, rc_status *status)
{
    /* the prefix that encoding has put before the text, or all the spaces that it would have removed there */
    const bool begins = previous == RC_NO_TOKEN || (previous == b->bos && !special);
    const bool strips_spaces = b->flags & RC_SINGLE_SPACES;
    const bool strips_space = b->kind == 2 && (strips_spaces || b->flags & RC_PREFIX) && begins;
    output o = {.bytes = text, .strips_space = strips_space, .strips_spaces = strips_spaces};
    for (int64_t i = 0; i < n; i++) {
        if (tokens[i] < 0)
            return rc_fail(status, RC_ARGUMENT, "token", i, "at least", 0, tokens[i]);
        if (tokens[i] >= b->vocab_size)
            return rc_fail(status, RC_ARGUMENT, "token", i, "at most", b->vocab_size - 1, tokens[i]);
        if (tokens[i] < b->count && (special || !rc_is_special(b, tokens[i])))
            put_token(b, tokens[i], &o);
    }
    *size = o.size;
    return RC_OK;
}
