#include "score_ranks.h"

#include "bytes.h"
#include "merges.h"
#include "status.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    float score;
    int32_t token;
} scored;

static int by_score(const void *a, const void *b)
{
    const scored *p = a, *q = b;
    return (p->score < q->score) - (p->score > q->score);
}

/* The pieces that merge are to each other what the pieces of a tokenizer.bin are: its search for pairs finds theirs. */
typedef struct {
    rc_vocabulary pieces; /* numbered from 0 on, in the order of their bytes */
    int32_t *rank;       /* (b->count,) by token */
    scored *ordered;     /* (b->count,) */
    bool *is_byte;       /* (b->count,) */
} search;

static int read_scores(const rc_block *b, int64_t at, search *s, rc_status *status)
{
    for (int32_t token = 0; token < b->count; token++) {
        const float score = rc_load_f32(b->copy + at + 4 * (int64_t)token);
        if (!isfinite(score)) {
            rc_fail(status, RC_INVALID, "score", at + 4 * (int64_t)token, "a finite number", 0, 0);
            status->is_real = 1;
            status->found_real = score;
            return RC_INVALID;
        }
        s->ordered[token] = (scored){.score = score, .token = token};
    }
    qsort(s->ordered, (size_t)b->count, sizeof *s->ordered, by_score);
    for (int32_t i = 0, rank = 0; i < b->count; i++) {
        if (i && s->ordered[i].score < s->ordered[i - 1].score)
            rank = i;
        s->rank[s->ordered[i].token] = rank;
    }
    return RC_OK;
}

static void choose(const rc_block *b, search *s)
{
    rc_vocabulary *t = &s->pieces;
    for (int byte = 0; byte < 256; byte++)
        if (b->flags & RC_BYTE_PIECES && b->of_byte[byte] != RC_NO_TOKEN)
            s->is_byte[b->of_byte[byte]] = true;
    for (int32_t i = 0; i < b->sorted_count; i++) {
        const int32_t token = b->sorted[i];
        if (b->added[token] || s->is_byte[token])
            continue;
        t->pieces[t->count] =
            (rc_piece){.bytes = rc_bytes_of(b, token), .length = rc_length_of(b, token), .token = t->count};
        t->sorted[t->count] = t->pieces[t->count];
        /* any number, for which each of them counts */
        t->scores[t->count] = 0;
        s->ordered[t->count++].token = token;
    }
}

static int take_pairs(rc_block *b, const search *s, rc_status *status)
{
    const rc_vocabulary *t = &s->pieces;
    const int64_t count = t->count ? t->first_merge[t->count] : 0;
    b->pairs = malloc((size_t)(count + 1) * sizeof *b->pairs);
    if (!b->pairs)
        return rc_fail(status, RC_MEMORY, "merges", -1, "bytes", (count + 1) * (int64_t)sizeof *b->pairs, 0);
    for (int32_t left = 0; left < t->count; left++)
        for (int64_t i = t->first_merge[left]; i < t->first_merge[left + 1]; i++) {
            const int32_t merged = s->ordered[t->merges[i].merged].token;
            b->pairs[b->pair_count++] = (rc_pair){.left = s->ordered[left].token,
                                                  .right = s->ordered[t->merges[i].right].token,
                                                  .merged = merged,
                                                  .rank = s->rank[merged]};
        }
    return RC_OK;
}

int rc_rank_by_score(rc_block *b, int64_t at, rc_status *status)
{
    const size_t count = (size_t)b->count;
    search s = {
        .pieces = {.pieces = malloc(count * sizeof(rc_piece)),
                   .sorted = malloc(count * sizeof(rc_piece)),
                   .scores = malloc(count * sizeof(float))},
        .rank = malloc(count * sizeof *s.rank),
        .ordered = malloc(count * sizeof *s.ordered),
        .is_byte = calloc(count, sizeof *s.is_byte),
    };
    rc_vocabulary *t = &s.pieces;
    int code;
    if (!t->pieces || !t->sorted || !t->scores || !s.rank || !s.ordered || !s.is_byte) {
        code = rc_fail(status, RC_MEMORY, "scores", -1, "bytes", (int64_t)(count * 2 * sizeof(rc_piece)), 0);
    } else {
        code = read_scores(b, at, &s, status);
        if (!code)
            choose(b, &s);
        /* without pieces there is nothing to search */
        if (!code && t->count)
            code = rc_find_merges(t, status);
        if (!code)
            code = take_pairs(b, &s, status);
    }
    free(t->pieces);
    free(t->sorted);
    free(t->scores);
    free(t->first_merge);
    free(t->merges);
    free(s.rank);
    free(s.ordered);
    free(s.is_byte);
    return code;
}
