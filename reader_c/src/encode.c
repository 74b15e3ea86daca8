/* Text to tokens. run.c looks through the whole text for its best merge, again and again: the largest score, of equal
 * ones the leftmost. Here a heap has the merges in that order. Where no merge can join two tokens, what is left of them
 * and what is right of them are merged apart, which changes no result. */
#include "encode.h"

#include "merges.h"
#include "status.h"

#include <stdlib.h>

enum { MOST_TEXT = INT32_MAX - 3 }; /* tokens: one a byte, the dummy prefix, BOS and EOS */
enum { WIDEST_CHARACTER = 4, DEAD = -1 };

/* A merge that was possible at this place when it was put into the heap. */
typedef struct {
    float score;
    int32_t at;
    int32_t merged;
} candidate;

/* Some tokens side by side, as a list that gets shorter. */
typedef struct {
    const rc_vocabulary *t;
    int32_t *tokens; /* (n,) DEAD where a token has become part of the one before it */
    int32_t n;
    int32_t *before, *after; /* (n,) the places beside each; -1 and n at the ends */
    candidate *heap;         /* (2 * n,): each merge takes one out and puts at most two in */
    int64_t waiting;         /* in the heap */
} segment;

static bool is_better(const candidate *a, const candidate *b)
{
    return a->score > b->score || (a->score == b->score && a->at < b->at);
}

static void push(segment *s, candidate added)
{
    int64_t at = s->waiting++;
    while (at > 0 && is_better(&added, &s->heap[(at - 1) / 2])) {
        s->heap[at] = s->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    s->heap[at] = added;
}

static candidate pop(segment *s)
{
    const candidate best = s->heap[0], last = s->heap[--s->waiting];
    int64_t at = 0;
    for (int64_t child = 1; child < s->waiting; child = 2 * at + 1) {
        if (child + 1 < s->waiting && is_better(&s->heap[child + 1], &s->heap[child]))
            child++;
        if (!is_better(&s->heap[child], &last))
            break;
        s->heap[at] = s->heap[child];
        at = child;
    }
    s->heap[at] = last;
    return best;
}

static void consider(segment *s, int32_t at)
{
    const rc_merge *found = rc_merge_of(s->t, s->tokens[at], s->tokens[s->after[at]]);
    if (found)
        push(s, (candidate){.score = found->score, .at = at, .merged = found->merged});
}

/* Neither of its two tokens has become part of another one: then they still have the lengths that make its piece. */
static bool is_possible(const segment *s, const candidate *c)
{
    const int32_t left = s->tokens[c->at], next = s->after[c->at];
    if (left == DEAD || next == s->n)
        return false;
    return s->t->pieces[left].length + s->t->pieces[s->tokens[next]].length == s->t->pieces[c->merged].length;
}

static void merge(segment *s)
{
    for (int32_t i = 0; i < s->n; i++) {
        s->before[i] = i - 1;
        s->after[i] = i + 1;
    }
    s->waiting = 0;
    for (int32_t i = 0; i + 1 < s->n; i++)
        consider(s, i);
    while (s->waiting) {
        const candidate best = pop(s);
        if (!is_possible(s, &best))
            continue;
        const int32_t gone = s->after[best.at], next = s->after[gone];
        s->tokens[best.at] = best.merged;
        s->tokens[gone] = DEAD;
        s->after[best.at] = next;
        if (next < s->n) {
            s->before[next] = best.at;
            consider(s, best.at);
        }
        if (s->before[best.at] >= 0)
            consider(s, s->before[best.at]);
    }
}

/* The end of the segment that begins at `from`. */
static int32_t end_of(const rc_vocabulary *t, const int32_t *tokens, int32_t from, int32_t n)
{
    while (from + 1 < n && rc_may_join(t, tokens[from], tokens[from + 1]))
        from++;
    return from + 1;
}

/* Merge all of tokens (n,), in place; *count is how many are left. */
static int merge_all(const rc_vocabulary *t, int32_t *tokens, int32_t n, int64_t *count, rc_status *status)
{
    int32_t longest = 1;
    for (int32_t from = 0, end; from < n; from = end) {
        end = end_of(t, tokens, from, n);
        longest = end - from > longest ? end - from : longest;
    }
    const size_t room = (size_t)longest;
    segment s = {
        .t = t,
        .before = malloc(2 * room * sizeof *s.before),
        .heap = malloc(2 * room * sizeof *s.heap),
    };
    int code = RC_OK;
    *count = 0;
    if (!s.before || !s.heap)
        code = rc_fail(status, RC_MEMORY, "text", -1, "bytes",
                       2 * (int64_t)longest * (int64_t)(sizeof *s.before + sizeof *s.heap), 0);
    else
        s.after = s.before + room;
    for (int32_t from = 0, end; !code && from < n; from = end) {
        end = end_of(t, tokens, from, n);
        s.tokens = tokens + from;
        s.n = end - from;
        if (s.n > 1)
            merge(&s);
        for (int32_t i = from; i < end; i++)
            if (tokens[i] != DEAD)
                tokens[(*count)++] = tokens[i];
    }
    free(s.before);
    free(s.heap);
    return code;
}

/* A byte and up to three more that continue a UTF-8 character, whether or not they make one together. */
static int32_t width_at(const uint8_t *text, int64_t size, int64_t at)
{
    int32_t width = 1;
    while (width < WIDEST_CHARACTER && at + width < size && (text[at + width] & 0xc0) == 0x80)
        width++;
    return width;
}

/* The tokens of single characters, of bytes where a character has none. */
static int start_tokens(const rc_vocabulary *t, const uint8_t *text, int64_t size, int32_t *tokens, int32_t *n,
                        rc_status *status)
{
    if (size && t->of_byte[0x20] < 0)
        return rc_fail_text(status, "vocabulary", -1, "a piece of one space, which begins every text", "none");
    if (size)
        tokens[(*n)++] = t->of_byte[0x20];
    for (int64_t at = 0, width; at < size; at += width) {
        width = width_at(text, size, at);
        const int32_t token = rc_find_piece(t, text + at, (int32_t)width);
        if (token >= 0) {
            tokens[(*n)++] = token;
            continue;
        }
        for (int64_t i = at; i < at + width; i++) {
            if (text[i] + RC_FIRST_BYTE >= t->count)
                return rc_fail(status, RC_ARGUMENT, "byte of the text", i, "tokens up to that of byte",
                               t->count - RC_FIRST_BYTE - 1, text[i]);
            tokens[(*n)++] = text[i] + RC_FIRST_BYTE;
        }
    }
    return RC_OK;
}

int rc_vocabulary_encode(const rc_vocabulary *t, const uint8_t *text, int64_t size, int bos, int eos,
                         int32_t *tokens, int64_t *count, rc_status *status)
{
    if (size < 0 || size > MOST_TEXT)
        return rc_fail(status, RC_ARGUMENT, "bytes of the text", -1, "at most", MOST_TEXT, size);
    for (int64_t i = 0; i < size; i++)
        if (!text[i])
            return rc_fail(status, RC_ARGUMENT, "byte of the text", i, "at least", 1, 0);
    int32_t n = 0;
    if (bos)
        tokens[n++] = RC_BOS;
    RC_TRY(start_tokens(t, text, size, tokens, &n, status));
    RC_TRY(merge_all(t, tokens, n, count, status));
    if (eos)
        tokens[(*count)++] = RC_EOS;
    return RC_OK;
}
