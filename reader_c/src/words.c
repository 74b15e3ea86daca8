/* Most pre-tokens are pieces that merging would give: those are looked up. What was merged once in this call is
 * remembered by the place of its tokens. Neither changes a token. */
#include "words.h"

#include "piece_table.h"
#include "status.h"
#include "unicode.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_REMEMBERED = 1 << 14, LEAST_TEXT = 256, LONGEST_REMEMBERED = 64 };

/* The tokens of a pre-token stand from `at` on in the writer. */
struct rc_remembered {
    uint64_t hash;
    int64_t at;
    int32_t count; /* 0: empty */
    int32_t size;  /* bytes */
};

/* Start tokens of kind 2 that some merge could join, at the end of the writer's tokens. */
typedef struct {
    int64_t n;
    const uint8_t *text;
    bool is_plain; /* their pieces, one after the other, are the bytes from `text` on */
} run;

int rc_writer_open(rc_writer *w, const rc_block *b, int32_t *tokens, int64_t size, rc_status *status)
{
    *w = (rc_writer){.b = b, .tokens = tokens};
    if (size < LEAST_TEXT)
        return RC_OK;
    uint64_t places = LEAST_TEXT / 8;
    while (places < MOST_REMEMBERED && places < (uint64_t)size / 8)
        places *= 2;
    w->memory = calloc((size_t)places, sizeof *w->memory);
    if (!w->memory)
        return rc_fail(status, RC_MEMORY, "text", -1, "bytes", (int64_t)(places * sizeof *w->memory), 0);
    w->mask = places - 1;
    return RC_OK;
}

void rc_writer_close(rc_writer *w)
{
    free(w->memory);
    free(w->room.memory);
}

static bool is_text_of(const rc_writer *w, const struct rc_remembered *r, const uint8_t *bytes)
{
    for (int64_t i = r->at; i < r->at + r->count; i++) {
        const int32_t token = w->tokens[i], length = rc_length_of(w->b, token);
        if (memcmp(rc_bytes_of(w->b, token), bytes, (size_t)length))
            return false;
        bytes += length;
    }
    return true;
}

/* The tokens of bytes that are whole or remembered, written; false where they must be merged. */
static bool recall(rc_writer *w, const uint8_t *bytes, int64_t size, uint64_t hash)
{
    const int32_t token = rc_token_of(w->b, bytes, size, hash);
    if (token != RC_NO_TOKEN && w->b->whole[token]) {
        w->tokens[w->count++] = token;
        return true;
    }
    if (!w->memory || size > LONGEST_REMEMBERED)
        return false;
    const struct rc_remembered *r = &w->memory[hash & w->mask];
    if (!r->count || r->hash != hash || r->size != size || !is_text_of(w, r, bytes))
        return false;
    memcpy(w->tokens + w->count, w->tokens + r->at, (size_t)r->count * sizeof *w->tokens);
    w->count += r->count;
    return true;
}

/* Merge the n start tokens at the end, which are of bytes (size,); bytes: NULL where they are not their pieces. */
static int merge(rc_writer *w, int64_t n, const uint8_t *bytes, int64_t size, uint64_t hash, rc_status *status)
{
    const int64_t at = w->count;
    int64_t left = n;
    if (n > 1)
        RC_TRY(rc_merge_run(w->b, &w->room, w->tokens + at, n, &left, status));
    w->count += left;
    if (bytes && w->memory && size <= LONGEST_REMEMBERED)
        w->memory[hash & w->mask] =
            (rc_remembered){.hash = hash, .at = at, .count = (int32_t)left, .size = (int32_t)size};
    return RC_OK;
}

int rc_write_bytes(rc_writer *w, const uint8_t *bytes, int64_t size, rc_status *status)
{
    const uint64_t hash = rc_hash(bytes, size);
    if (recall(w, bytes, size, hash))
        return RC_OK;
    int32_t *start = w->tokens + w->count;
    int64_t n = 0;
    bool is_plain = true;
    for (int64_t i = 0; i < size; i++) {
        const int32_t token = w->b->of_byte[bytes[i]];
        if (token != RC_NO_TOKEN)
            start[n++] = token;
        else
            is_plain = false;
    }
    return merge(w, n, is_plain ? bytes : NULL, size, hash, status);
}

static bool may_join(const rc_block *b, int32_t left, int32_t right)
{
    /* unk may be an id without a piece, which no merge has */
    if (!rc_length_of(b, left) || !rc_length_of(b, right))
        return false;
    const int bit = rc_bytes_of(b, left)[rc_length_of(b, left) - 1] * 256 + *rc_bytes_of(b, right);
    return b->joins[bit >> 3] >> (bit & 7) & 1;
}

static int finish(rc_writer *w, run *r, const uint8_t *end, rc_status *status)
{
    const int64_t n = r->n, size = end - r->text;
    const uint8_t *text = r->is_plain ? r->text : NULL;
    *r = (run){.text = end, .is_plain = true};
    if (n < 2 || !text)
        return merge(w, n, NULL, 0, 0, status);
    const uint64_t hash = rc_hash(text, size);
    return recall(w, text, size, hash) ? RC_OK : merge(w, n, text, size, hash, status);
}

/* One more start token, of the character at `at`. */
static int append(rc_writer *w, run *r, int32_t token, const uint8_t *at, bool is_plain, rc_status *status)
{
    if (r->n && !may_join(w->b, w->tokens[w->count + r->n - 1], token))
        RC_TRY(finish(w, r, at, status));
    w->tokens[w->count + r->n++] = token;
    r->is_plain &= is_plain;
    return RC_OK;
}

/* The byte pieces of a character, where there are some for all of its bytes. */
static bool has_bytes(const rc_block *b, const uint8_t *at, int32_t width)
{
    bool found = b->flags & RC_BYTE_PIECES;
    for (int32_t i = 0; i < width; i++)
        found = found && b->of_byte[at[i]] != RC_NO_TOKEN;
    return found;
}

static int32_t token_of_character(const rc_block *b, const uint8_t *at, int32_t width)
{
    const int32_t token = rc_token_of(b, at, width, rc_hash(at, width));
    return token == RC_NO_TOKEN || rc_is_special(b, token) ? RC_NO_TOKEN : token;
}

int rc_write_characters(rc_writer *w, const uint8_t *text, int64_t size, rc_status *status)
{
    const rc_block *b = w->b;
    run r = {.text = text, .is_plain = true};
    /* unknown characters beside each other become one unk, which comes when the next known one does */
    bool is_unknown = false;
    int32_t width;
    for (int64_t at = 0; at < size; at += width) {
        rc_character(text, size, at, &width);
        const int32_t token = token_of_character(b, text + at, width);
        if (token != RC_NO_TOKEN) {
            if (is_unknown)
                RC_TRY(append(w, &r, b->unk, text + at, false, status));
            is_unknown = false;
            RC_TRY(append(w, &r, token, text + at, true, status));
            continue;
        }
        r.is_plain = false;
        if (has_bytes(b, text + at, width))
            for (int32_t i = 0; i < width; i++)
                RC_TRY(append(w, &r, b->of_byte[text[at + i]], text + at, false, status));
        else
            is_unknown = b->unk != RC_NO_TOKEN;
    }
    if (is_unknown)
        RC_TRY(append(w, &r, b->unk, text + size, false, status));
    return finish(w, &r, text + size, status);
}

/* The start tokens of a piece; false where it has others than its bytes or characters. */
static bool start_of(const rc_block *b, int32_t token, int32_t *tokens, int64_t *n)
{
    const uint8_t *bytes = rc_bytes_of(b, token);
    const int64_t size = rc_length_of(b, token);
    int32_t width = 1;
    *n = 0;
    for (int64_t at = 0; at < size; at += width) {
        if (b->kind == 2)
            rc_character(bytes, size, at, &width);
        const int32_t start = b->kind == 2 ? token_of_character(b, bytes + at, width) : b->of_byte[bytes[at]];
        if (start == RC_NO_TOKEN)
            return false;
        tokens[(*n)++] = start;
    }
    return *n > 0;
}

int rc_find_whole(rc_block *b, rc_status *status)
{
    int32_t longest = 1;
    for (int32_t token = 0; token < b->count; token++)
        longest = rc_length_of(b, token) > longest ? rc_length_of(b, token) : longest;
    int32_t *tokens = malloc((size_t)longest * sizeof *tokens);
    if (!tokens)
        return rc_fail(status, RC_MEMORY, "tokenizer", -1, "bytes", longest * (int64_t)sizeof *tokens, 0);
    rc_merge_room room = {0};
    int code = RC_OK;
    for (int32_t token = 0; !code && token < b->count; token++) {
        int64_t n, left = 0;
        if (b->kind == 1 && b->flags & RC_TAKES_WHOLE)
            b->whole[token] = !b->added[token];
        else if (start_of(b, token, tokens, &n)) {
            code = rc_merge_run(b, &room, tokens, n, &left, status);
            b->whole[token] = !code && left == 1 && tokens[0] == token;
        }
    }
    free(tokens);
    free(room.memory);
    return code;
}
