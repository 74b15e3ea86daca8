/* A merge exists where a piece is two others, one after the other. A piece's prefixes that are pieces form a chain from
 * the longest to the shortest, and so do its suffixes; both chains together are never longer than the pieces, so that
 * no vocabulary takes more than time and memory in proportion to its bytes, but for sorting. */
#include "merges.h"

#include "status.h"

#include <stdlib.h>
#include <string.h>

/* run.c starts each search from this score, which a merge must exceed */
#define SCORE_FLOOR (-1e10f)

/* Room for what is known of tokens while merges are sought. */
typedef struct {
    rc_piece *backwards; /* (count,) by bytes from the last one on */
    int32_t *prefix;     /* (count,) the longest proper prefix that is a piece, as a token; -1 for none */
    int32_t *suffix;     /* (count,) likewise */
    int32_t *chain;      /* (count,) */
} affixes;

static int by_bytes_backwards(const void *a, const void *b)
{
    const rc_piece *p = a, *q = b;
    const int32_t shorter = p->length < q->length ? p->length : q->length;
    for (int32_t i = 1; i <= shorter; i++) {
        const int order = p->bytes[p->length - i] - q->bytes[q->length - i];
        if (order)
            return order;
    }
    return (p->length > q->length) - (p->length < q->length);
}

static bool is_prefix(const rc_piece *part, const rc_piece *whole)
{
    return part->length < whole->length && !memcmp(part->bytes, whole->bytes, (size_t)part->length);
}

static bool is_suffix(const rc_piece *part, const rc_piece *whole)
{
    return part->length < whole->length &&
           !memcmp(part->bytes, whole->bytes + (whole->length - part->length), (size_t)part->length);
}

/* In this order all pieces that begin (or end) with a piece follow it without a gap: those that are still open form a
 * stack, which longest[] itself links. */
static void link_longest(const rc_vocabulary *t, const rc_piece *ordered,
                         bool (*is_part)(const rc_piece *, const rc_piece *), int32_t *longest)
{
    int32_t top = -1;
    for (int32_t i = 0; i < t->count; i++) {
        while (top >= 0 && !is_part(&t->pieces[top], &ordered[i]))
            top = longest[top];
        longest[ordered[i].token] = top;
        top = ordered[i].token;
    }
}

static void add_merge(rc_vocabulary *t, int32_t left, int32_t right, int32_t merged)
{
    const rc_piece *a = &t->pieces[left], *b = &t->pieces[right];
    const int32_t bit = a->bytes[a->length - 1] * 256 + b->bytes[0];
    t->joins[bit >> 3] |= (uint8_t)(1 << (bit & 7));
    /* counted in the first run, filled from the end in the second one */
    if (t->merges)
        t->merges[--t->first_merge[left]] =
            (rc_merge){.right = right, .merged = merged, .score = t->scores[merged]};
    else
        t->first_merge[left]++;
}

/* Every way in which the piece of this token is two pieces. */
static void split(rc_vocabulary *t, const affixes *known, int32_t token)
{
    if (!(t->scores[token] > SCORE_FLOOR))
        return;
    const int32_t length = t->pieces[token].length;
    int32_t depth = 0;
    for (int32_t s = known->suffix[token]; s >= 0; s = known->suffix[s])
        known->chain[depth++] = s;
    int32_t prefix = known->prefix[token];
    while (prefix >= 0 && depth > 0) {
        const int32_t suffix = known->chain[depth - 1];
        const int32_t rest = length - t->pieces[prefix].length, found = t->pieces[suffix].length;
        if (found == rest)
            add_merge(t, prefix, suffix, token);
        if (found >= rest)
            prefix = known->prefix[prefix];
        if (found <= rest)
            depth--;
    }
}

static int by_right(const void *a, const void *b)
{
    const rc_merge *p = a, *q = b;
    return (p->right > q->right) - (p->right < q->right);
}

static int fill_in(rc_vocabulary *t, const affixes *known, rc_status *status)
{
    for (int32_t token = 0; token < t->count; token++)
        split(t, known, token);
    for (int32_t token = 0; token < t->count; token++)
        t->first_merge[token + 1] += t->first_merge[token];
    /* each now has the end of its merges, and count + 1 the end of all */
    const int64_t all = t->first_merge[t->count];
    t->merges = malloc(((size_t)all + !all) * sizeof *t->merges);
    if (!t->merges)
        return rc_fail(status, RC_MEMORY, "merges", -1, "bytes", all * (int64_t)sizeof *t->merges, 0);
    for (int32_t token = 0; token < t->count; token++)
        split(t, known, token);
    for (int32_t token = 0; token < t->count; token++) {
        const int64_t first = t->first_merge[token], end = t->first_merge[token + 1];
        qsort(t->merges + first, (size_t)(end - first), sizeof *t->merges, by_right);
    }
    return RC_OK;
}

int rc_find_merges(rc_vocabulary *t, rc_status *status)
{
    const size_t count = (size_t)t->count;
    affixes known = {
        .backwards = malloc(count * sizeof *known.backwards),
        .prefix = malloc(count * sizeof *known.prefix),
        .suffix = malloc(count * sizeof *known.suffix),
        .chain = malloc(count * sizeof *known.chain),
    };
    t->first_merge = calloc(count + 1, sizeof *t->first_merge);
    int code;
    if (!known.backwards || !known.prefix || !known.suffix || !known.chain || !t->first_merge) {
        const size_t each = sizeof *known.backwards + 3 * sizeof *known.prefix + sizeof *t->first_merge;
        code = rc_fail(status, RC_MEMORY, "merges", -1, "bytes", (int64_t)(count * each), 0);
    } else {
        memcpy(known.backwards, t->pieces, count * sizeof *known.backwards);
        qsort(known.backwards, count, sizeof *known.backwards, by_bytes_backwards);
        link_longest(t, t->sorted, is_prefix, known.prefix);
        link_longest(t, known.backwards, is_suffix, known.suffix);
        code = fill_in(t, &known, status);
    }
    free(known.backwards);
    free(known.prefix);
    free(known.suffix);
    free(known.chain);
    return code;
}

const rc_merge *rc_merge_of(const rc_vocabulary *t, int32_t left, int32_t right)
{
    int64_t low = t->first_merge[left], high = t->first_merge[left + 1];
    while (low < high) {
        const int64_t middle = low + (high - low) / 2;
        if (t->merges[middle].right < right)
            low = middle + 1;
        else
            high = middle;
    }
    return low < t->first_merge[left + 1] && t->merges[low].right == right ? &t->merges[low] : NULL;
}
