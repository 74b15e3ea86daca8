#include "fast_attention.h"

#include "lanes.h"
#include "team.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

/* Where a head is a number of whole vectors, attention can read values from the cache itself. */
static bool reads_cache(const rc_config *p)
{
    return p->head_dim % RC_LANES == 0;
}

void rc_fast_gather(const rc_session *s, const rc_fast *f, int member, int members, const rc_past *past)
{
    const rc_config *p = &s->model->config;
    const int64_t size = p->head_dim, kv_dim = size * p->n_kv_heads;
    int64_t first, last;
    rc_share(member, members, past->count, RC_LANES, &first, &last);
    for (int64_t head = 0; head < p->n_kv_heads; head++) {
        float *to = s->all_keys + head * size * s->padded + first * size;
        int64_t start = first;
        for (; start + RC_LANES <= last; start += RC_LANES, to += RC_LANES * size)
            f->transpose_rows(to, past->keys + start * kv_dim + head * size, kv_dim, size);
        for (int64_t j = 0; j < size && start < last; j++)
            for (int64_t at = start; at < start + RC_LANES; at++)
                *to++ = at < last ? past->keys[at * kv_dim + head * size + j] : 0.0f;
        for (int64_t at = first; at < last && !reads_cache(p); at++) {
            float *value = s->all_values + (head * s->longest + at) * s->padded_head;
            memcpy(value, past->values + at * kv_dim + head * size, (size_t)size * sizeof *value);
            memset(value + size, 0, (size_t)(s->padded_head - size) * sizeof *value);
        }
    }
}

/* RC_FAST_QUERIES queries of one kv head; after the last one the same again, so that the loops have one length. */
typedef struct {
    int64_t count; /* of queries that differ */
    int64_t token[RC_FAST_QUERIES], head[RC_FAST_QUERIES];
    int64_t first[RC_FAST_QUERIES];       /* positions from the past's origin on: the first that a query sees, */
    int64_t seen[RC_FAST_QUERIES];        /* and the one behind the last */
    const float *query[RC_FAST_QUERIES];  /* (head_dim,) */
    float *score[RC_FAST_QUERIES];        /* (padded,) by position: scores, and after the softmax shares */
    const float *shares[RC_FAST_QUERIES]; /* the same */
    float *out[RC_FAST_QUERIES];          /* (head_dim,) */
} piece;

/* The queries from number `start` on of a kv head. room is (RC_FAST_QUERIES, padded). */
static piece piece_at(const rc_session *s, const rc_past *past, int64_t n, int64_t kv_head, int64_t start, float *room)
{
    const rc_config *p = &s->model->config;
    const int64_t size = p->head_dim, q_dim = size * p->n_heads, sharing = p->n_heads / p->n_kv_heads;
    const int64_t rest = n * sharing - start;
    piece a = {.count = rest < RC_FAST_QUERIES ? rest : RC_FAST_QUERIES};
    for (int64_t r = 0; r < RC_FAST_QUERIES; r++) {
        const int64_t own = r < a.count ? r : a.count - 1;
        a.token[r] = (start + own) / sharing;
        a.head[r] = kv_head * sharing + (start + own) % sharing;
        a.seen[r] = past->count - n + a.token[r] + 1;
        a.first[r] = rc_before_window(past, a.seen[r]);
        a.query[r] = s->q + a.token[r] * q_dim + a.head[r] * size;
        a.out[r] = s->h + a.token[r] * q_dim + a.head[r] * size;
        a.shares[r] = a.score[r] = room + own * s->padded;
    }
    return a;
}

/* Scores of what a query sees become shares. */
static void share(const rc_session *s, const rc_fast *f, const rc_trace *trace, const piece *a, int64_t r,
                  int64_t origin)
{
    const float cap = (float)s->model->config.score_cap;
    const int64_t first = origin + a->first[r], count = a->seen[r] - a->first[r];
    float *score = a->score[r] + a->first[r];
    if (cap > 0.0f) {
        rc_record_attention(trace, RC_AT_SCORES_RAW, a->token[r], a->head[r], score, first, count);
        f->cap(score, count, cap);
    }
    rc_record_attention(trace, RC_AT_SCORES, a->token[r], a->head[r], score, first, count);
    f->softmax(score, count);
    rc_record_attention(trace, RC_AT_SHARES, a->token[r], a->head[r], score, first, count);
}

/* All keys that one of the queries sees, by blocks. */
static void score(const rc_session *s, const rc_fast *f, const piece *a, int64_t kv_head)
{
    const rc_config *p = &s->model->config;
    const int64_t size = p->head_dim, block = a->first[0] / RC_LANES;
    const int64_t end = (a->seen[RC_FAST_QUERIES - 1] + RC_LANES - 1) / RC_LANES;
    const float *keys = s->all_keys + kv_head * size * s->padded + block * RC_LANES * size;
    float *to[RC_FAST_QUERIES];
    for (int r = 0; r < RC_FAST_QUERIES; r++)
        to[r] = a->score[r] + block * RC_LANES;
    f->scores(to, a->query, keys, end - block, size, sqrtf((float)size), (float)p->score_scale);
}

void rc_fast_attend(const rc_session *s, const rc_fast *f, const rc_trace *trace, int member, int members,
                    const rc_past *past, int64_t n)
{
    const rc_config *p = &s->model->config;
    const int64_t size = p->head_dim, kv_dim = size * p->n_kv_heads;
    const int64_t queries = n * (p->n_heads / p->n_kv_heads);
    const int64_t pieces = (queries + RC_FAST_QUERIES - 1) / RC_FAST_QUERIES;
    float *room = s->own_scores + (int64_t)member * RC_FAST_QUERIES * s->padded;
    /* members take pieces in turn, because later tokens attend to more positions */
    for (int64_t number = member; number < pieces * p->n_kv_heads; number += members) {
        const int64_t kv_head = number / pieces;
        const piece a = piece_at(s, past, n, kv_head, number % pieces * RC_FAST_QUERIES, room);
        score(s, f, &a, kv_head);
        for (int64_t r = 0; r < a.count; r++)
            share(s, f, trace, &a, r, past->origin);
        if (reads_cache(p))
            f->mix(a.out, a.shares, a.first, a.seen, past->values + kv_head * size, kv_dim, size, size);
        else
            f->mix(a.out, a.shares, a.first, a.seen, s->all_values + kv_head * s->longest * s->padded_head,
                   s->padded_head, size, s->padded_head);
    }
}
