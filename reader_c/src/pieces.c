#include "pieces.h"

#include "bytes.h"
#include "status.h"

#include <math.h>
#include <stdlib.h>

/* run.c allocates twice the longest piece and three bytes more, in int */
enum { LONGEST = (INT32_MAX - 3) / 2 };
/* of an entry: its score and its length; and with the shortest piece */
enum { ENTRY_HEAD = 8, SMALLEST_ENTRY = 9, FIRST_ENTRY = 4 };

/* As run.c's strcmp orders them. */
static int by_bytes(const void *a, const void *b)
{
    const rc_piece *p = a, *q = b;
    const int32_t shorter = p->length < q->length ? p->length : q->length;
    const int order = memcmp(p->bytes, q->bytes, (size_t)shorter);
    return order ? order : (p->length > q->length) - (p->length < q->length);
}

int32_t rc_find_piece(const rc_vocabulary *t, const uint8_t *bytes, int32_t length)
{
    if (length == 1)
        return t->of_byte[*bytes];
    const rc_piece wanted = {.bytes = bytes, .length = length};
    const rc_piece *found = bsearch(&wanted, t->sorted, (size_t)t->count, sizeof *t->sorted, by_bytes);
    return found ? found->token : -1;
}

/* One entry at *at, which moves behind it. */
static int read_entry(rc_vocabulary *t, int32_t token, int64_t size, int32_t longest, int64_t *at, rc_status *status)
{
    const int64_t here = *at;
    if (size - here < SMALLEST_ENTRY)
        return rc_fail(status, RC_INVALID, "file size", here, "at least", here + SMALLEST_ENTRY, size);
    const float score = rc_load_f32(t->file + here);
    const int32_t length = rc_load_i32(t->file + here + 4);
    const uint8_t *bytes = t->file + here + ENTRY_HEAD;
    if (isnan(score))
        return rc_fail_text(status, "score", here, "a number", "nan");
    if (length < 1)
        return rc_fail(status, RC_INVALID, "piece length", here + 4, "at least", 1, length);
    if (length > longest)
        return rc_fail(status, RC_INVALID, "piece length", here + 4, "at most max_token_length =", longest, length);
    if (length > size - here - ENTRY_HEAD)
        return rc_fail(status, RC_INVALID, "file size", here + 4, "at least", here + ENTRY_HEAD + length, size);
    const uint8_t *zero = memchr(bytes, 0, (size_t)length);
    if (zero)
        return rc_fail_text(status, "piece", here + ENTRY_HEAD + (zero - bytes), "no byte 0, which ends a text in C",
                            "one");
    t->scores[token] = score;
    t->pieces[token] = (rc_piece){.bytes = bytes, .length = length, .token = token};
    if (length == 1)
        t->of_byte[*bytes] = token;
    *at = here + ENTRY_HEAD + length;
    return RC_OK;
}

static int read_entries(rc_vocabulary *t, int64_t size, rc_status *status)
{
    const int32_t longest = rc_load_i32(t->file);
    if (longest < 1)
        return rc_fail(status, RC_INVALID, "max_token_length", 0, "at least", 1, longest);
    if (longest > LONGEST)
        return rc_fail(status, RC_INVALID, "max_token_length", 0, "at most", LONGEST, longest);
    int64_t at = FIRST_ENTRY;
    for (int32_t token = 0; token < t->count; token++)
        RC_TRY(read_entry(t, token, size, longest, &at, status));
    if (at != size)
        return rc_fail(status, RC_INVALID, "file size", at, "what this vocabulary takes,", at, size);
    return RC_OK;
}

/* run.c finds one of two equal pieces: which, depends on how its library sorts. */
static int sort_pieces(rc_vocabulary *t, rc_status *status)
{
    memcpy(t->sorted, t->pieces, (size_t)t->count * sizeof *t->sorted);
    qsort(t->sorted, (size_t)t->count, sizeof *t->sorted, by_bytes);
    for (int32_t i = 1; i < t->count; i++) {
        const rc_piece *p = &t->sorted[i - 1], *q = &t->sorted[i];
        if (by_bytes(p, q))
            continue;
        const rc_piece *first = p->token < q->token ? p : q, *second = p->token < q->token ? q : p;
        return rc_fail(status, RC_INVALID, "token with this piece", second->bytes - t->file, "only", first->token,
                       second->token);
    }
    return RC_OK;
}

static int check_sizes(int64_t size, int64_t vocab_size, rc_status *status)
{
    if (vocab_size < RC_FIRST_BYTE)
        return rc_fail(status, RC_ARGUMENT, "vocab_size", -1, "at least", RC_FIRST_BYTE, vocab_size);
    if (vocab_size > INT32_MAX - 1)
        return rc_fail(status, RC_ARGUMENT, "vocab_size", -1, "at most", INT32_MAX - 1, vocab_size);
    const int64_t least = FIRST_ENTRY + vocab_size * SMALLEST_ENTRY;
    if (size < least)
        return rc_fail(status, RC_INVALID, "file size", -1, "at least", least, size);
    return RC_OK;
}

int rc_read_pieces(rc_vocabulary *t, const uint8_t *file, int64_t size, int64_t vocab_size, rc_status *status)
{
    RC_TRY(check_sizes(size, vocab_size, status));
    /* the file has room for an entry a token, so these are in proportion to it */
    t->count = (int32_t)vocab_size;
    t->file = malloc((size_t)size);
    t->pieces = malloc((size_t)vocab_size * sizeof *t->pieces);
    t->sorted = malloc((size_t)vocab_size * sizeof *t->sorted);
    t->scores = malloc((size_t)vocab_size * sizeof *t->scores);
    if (!t->file || !t->pieces || !t->sorted || !t->scores)
        return rc_fail(status, RC_MEMORY, "tokenizer", -1, "bytes",
                       size + vocab_size * (int64_t)(2 * sizeof *t->pieces + sizeof *t->scores), 0);
    memcpy(t->file, file, (size_t)size);
    for (int b = 0; b < 256; b++)
        t->of_byte[b] = -1;
    RC_TRY(read_entries(t, size, status));
    return sort_pieces(t, status);
}

void rc_free_pieces(rc_vocabulary *t)
{
    free(t->file);
    free(t->pieces);
    free(t->sorted);
    free(t->scores);
    free(t->first_merge);
    free(t->merges);
}
