/* A text is split at the added tokens that are found in it as it is; what is left is normalized, split at those that
 * are found after that, and at last into pre-tokens. The order of these steps is that of Hugging Face's library. */
#include "block_encode.h"

#include "matcher.h"
#include "piece_table.h"
#include "scanner.h"
#include "status.h"
#include "unicode.h"
#include "words.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_TEXT = 1 << 28, SPACE_WIDTH = 3 };
static const uint8_t space_piece[SPACE_WIDTH] = {0xe2, 0x96, 0x81};

typedef struct {
    const rc_block *b;
    int special;
    rc_writer writer;
    rc_text normalized, prefixed;
    rc_matches raw, later;
    rc_status *status;
} encoder;

typedef int (*part_function)(encoder *e, const uint8_t *text, int64_t size);

int64_t rc_block_room(const rc_block *b, int64_t size)
{
    /* NFC makes at most three bytes of one; kind 2 has three for a space, which a prefix is, too */
    const int64_t composed = b->flags & RC_NFC ? 3 * size : size;
    const int64_t prefixes = b->flags & RC_PREFIX ? size : 0;
    return (b->kind == 2 ? SPACE_WIDTH : 1) * (composed + prefixes) + 2;
}

/* Whether a text ends with SentencePiece's sign for a space, which it removes there as it removes spaces. */
static bool ends_with_sign(const uint8_t *text, int64_t size)
{
    return size >= SPACE_WIDTH && !memcmp(text + size - SPACE_WIDTH, space_piece, SPACE_WIDTH);
}

/* SentencePiece's remove_extra_whitespaces: of neighbouring spaces one stays, and at the ends none. */
static void remove_spaces(rc_text *out)
{
    uint8_t *text = out->bytes;
    int64_t size = 0;
    for (int64_t i = 0; i < out->size; i++)
        if (text[i] != ' ' || (size && text[size - 1] != ' '))
            text[size++] = text[i];
    while (size && (text[size - 1] == ' ' || ends_with_sign(text, size)))
        size -= text[size - 1] == ' ' ? 1 : SPACE_WIDTH;
    out->size = size;
}

/* Put U+2581 in place of each space, and before them all. */
static int mark_spaces(const rc_block *b, rc_text *out, rc_status *status)
{
    int64_t spaces = b->flags & RC_PREFIX ? 1 : 0, size = out->size;
    for (int64_t i = 0; i < size; i++)
        spaces += out->bytes[i] == ' ';
    RC_TRY(rc_text_reserve(out, SPACE_WIDTH * spaces, status));
    uint8_t *bytes = out->bytes;
    int64_t to = size + (SPACE_WIDTH - 1) * spaces + (b->flags & RC_PREFIX ? 1 : 0);
    out->size = to;
    for (int64_t i = size; i-- > 0;) {
        if (bytes[i] != ' ') {
            bytes[--to] = bytes[i];
            continue;
        }
        to -= SPACE_WIDTH;
        memcpy(bytes + to, space_piece, SPACE_WIDTH);
    }
    if (b->flags & RC_PREFIX)
        memcpy(bytes, space_piece, SPACE_WIDTH);
    return RC_OK;
}

int rc_normalize(const rc_block *b, const uint8_t *text, int64_t size, rc_text *out, rc_status *status)
{
    out->size = 0;
    if (b->flags & RC_NFC && rc_is_unstable(text, size)) {
        RC_TRY(rc_append_nfc(text, size, out, status));
    } else {
        RC_TRY(rc_text_reserve(out, size, status));
        memcpy(out->bytes, text, (size_t)size);
        out->size = size;
    }
    if (b->flags & RC_SINGLE_SPACES)
        remove_spaces(out);
    return b->kind == 2 && out->size ? mark_spaces(b, out, status) : RC_OK;
}

/* Pre-tokens of a text without added tokens and, where they are split off, without digits. */
static int write_pretokens(encoder *e, const uint8_t *text, int64_t size)
{
    for (int64_t at = 0, end; at < size; at = end) {
        end = rc_pretoken_end(e->b->pretokenizer, text, size, at);
        RC_TRY(rc_write_bytes(&e->writer, text + at, end - at, e->status));
    }
    return RC_OK;
}

static int write_between_digits(encoder *e, const uint8_t *text, int64_t size)
{
    int64_t from = 0;
    int32_t width;
    for (int64_t at = 0; at < size; at += width) {
        if (!(rc_class_of(rc_character(text, size, at, &width)) & RC_DIGIT))
            continue;
        RC_TRY(write_pretokens(e, text + from, at - from));
        RC_TRY(write_pretokens(e, text + at, width));
        from = at + width;
    }
    return write_pretokens(e, text + from, size - from);
}

/* A normalized text without added tokens. */
static int write_text(encoder *e, const uint8_t *text, int64_t size)
{
    const rc_block *b = e->b;
    if (b->kind == 2) {
        const int32_t token = b->flags & RC_TAKES_WHOLE ? rc_token_of(b, text, size, rc_hash(text, size)) : RC_NO_TOKEN;
        if (token == RC_NO_TOKEN || b->added[token])
            return rc_write_characters(&e->writer, text, size, e->status);
        e->writer.tokens[e->writer.count++] = token;
        return RC_OK;
    }
    if (b->flags & RC_PREFIX && text[0] != ' ') {
        e->prefixed.size = 0;
        RC_TRY(rc_text_reserve(&e->prefixed, size + 1, e->status));
        e->prefixed.bytes[0] = ' ';
        memcpy(e->prefixed.bytes + 1, text, (size_t)size);
        text = e->prefixed.bytes;
        size++;
    }
    return b->flags & RC_SPLITS_DIGITS ? write_between_digits(e, text, size) : write_pretokens(e, text, size);
}

static bool has_word_around(const uint8_t *text, int64_t size, int64_t begin, int64_t end)
{
    int32_t width;
    if (begin && rc_class_of(rc_character(text, begin, rc_character_before(text, begin), &width)) & RC_WORD)
        return true;
    return end < size && rc_class_of(rc_character(text, size, end, &width)) & RC_WORD;
}

static int64_t without_space_before(const uint8_t *text, int64_t at, int64_t least)
{
    int32_t width;
    while (at > least) {
        const int64_t before = rc_character_before(text, at);
        if (!(rc_class_of(rc_character(text, at, before, &width)) & RC_SPACE))
            break;
        at = before;
    }
    return at > least ? at : least;
}

static int64_t behind_space(const uint8_t *text, int64_t size, int64_t at)
{
    int32_t width;
    while (at < size && rc_class_of(rc_character(text, size, at, &width)) & RC_SPACE)
        at += width;
    return at;
}

/* Split a text at the added tokens that `matcher` finds; `write` gets what stands between them. */
static int split(encoder *e, const rc_matcher *matcher, rc_matches *found, part_function write, const uint8_t *text,
                 int64_t size)
{
    if (!matcher)
        return write(e, text, size);
    RC_TRY(rc_matcher_find(matcher, text, size, found, e->status));
    int64_t from = 0, free_from = 0; /* behind what was written; behind the last match */
    for (int64_t i = found->count; i-- > 0;) {
        const rc_match *match = &found->items[i];
        if (match->at < free_from)
            continue;
        int64_t begin = match->at, end = begin + match->length;
        free_from = end;
        const uint8_t flags = e->b->added[match->token];
        if ((flags & RC_SPECIAL && !e->special) ||
            (flags & RC_SINGLE_WORD && has_word_around(text, size, begin, end)))
            continue;
        if (flags & RC_STRIPS_LEFT)
            begin = begin > from ? without_space_before(text, begin, from) : from;
        if (flags & RC_STRIPS_RIGHT)
            /* where `from` is further, white space up to there belongs to the match before this one */
            end = behind_space(text, size, end > from ? end : from);
        if (from < begin)
            RC_TRY(write(e, text + from, begin - from));
        e->writer.tokens[e->writer.count++] = match->token;
        from = end;
    }
    return from < size ? write(e, text + from, size - from) : RC_OK;
}

static int normalize_and_split(encoder *e, const uint8_t *text, int64_t size)
{
    const rc_block *b = e->b;
    if (b->kind == 2 || (b->flags & RC_NFC && rc_is_unstable(text, size))) {
        RC_TRY(rc_normalize(b, text, size, &e->normalized, e->status));
        text = e->normalized.bytes;
        size = e->normalized.size;
    }
    /* nothing is left of spaces alone, where they are removed */
    if (!size)
        return RC_OK;
    return split(e, b->normalized, &e->later, write_text, text, size);
}

static int check(const rc_block *b, int64_t size, int bos, int eos, rc_status *status)
{
    if (size < 0 || size > MOST_TEXT)
        return rc_fail(status, RC_ARGUMENT, "bytes of the text", -1, "at most", MOST_TEXT, size);
    if (bos && b->bos == RC_NO_TOKEN)
        return rc_fail(status, RC_ARGUMENT, "bos", -1, "a tokenizer that has one, which is at least", 0, b->bos);
    if (eos && b->eos == RC_NO_TOKEN)
        return rc_fail(status, RC_ARGUMENT, "eos", -1, "a tokenizer that has one, which is at least", 0, b->eos);
    return RC_OK;
}

int rc_block_encode(const rc_block *b, const uint8_t *text, int64_t size, int bos, int eos, int special,
                    int32_t *tokens, int64_t *count, rc_status *status)
{
    RC_TRY(check(b, size, bos, eos, status));
    encoder e = {.b = b, .special = special, .status = status};
    int code = rc_writer_open(&e.writer, b, tokens, size, status);
    if (!code && bos)
        tokens[e.writer.count++] = b->bos;
    if (!code && size)
        code = split(&e, b->raw, &e.raw, normalize_and_split, text, size);
    if (!code && eos)
        tokens[e.writer.count++] = b->eos;
    *count = code ? 0 : e.writer.count;
    rc_writer_close(&e.writer);
    free(e.normalized.bytes);
    free(e.prefixed.bytes);
    free(e.raw.items);
    free(e.later.items);
    return code;
}
