/* One kv head after the other: its keys and values are laid out as lanes once a batch, then all queries of that head go
 * over them, several at once.
 *
 * In a product of a query with keys the lanes are positions, in a sum of values they are elements of the head: either
 * way each sum stays in run.c's order. */
#include "mirror_attention.h"

#include "lanes.h"
#include "mirror_rows.h"

#include <math.h>

/* RC_ROWS queries, or fewer: then the last one again and again, so that the loops have one length. */
typedef struct {
    int64_t head_size;
    int64_t count; /* of queries that differ */
    int64_t token[RC_ROWS], head[RC_ROWS];
    /* positions, counted from the past's origin on */
    int64_t first;                /* that all of them see first */
    int64_t seen[RC_ROWS];        /* behind the last that a query sees; never less than of the query before */
    const float *query[RC_ROWS];  /* (head_size,) */
    float *scores[RC_ROWS];       /* (padded,) by position: scores, and after the softmax shares */
    const float *shares[RC_ROWS]; /* (padded - first,) the same from the first position on */
    float *out[RC_ROWS];          /* (head_size,) */
} queries;

/* keys: (head_size,) lanes a block of positions. Products are multiplied by scale, or divided by root where it is 0. */
static void score(const queries *a, const rc_lanes *keys, float root, float scale)
{
    for (int64_t block = a->first / RC_LANES; block * RC_LANES < a->seen[RC_ROWS - 1]; block++) {
        rc_lanes sum[RC_ROWS];
        rc_sum_products(sum, a->query, keys + block * a->head_size, a->head_size);
        for (int r = 0; r < RC_ROWS; r++)
            for (int l = 0; l < RC_LANES; l++)
                a->scores[r][block * RC_LANES + l] = scale == 0.0f ? sum[r].at[l] / root : sum[r].at[l] * scale;
    }
}

/* Scores of what a query sees become shares. */
static void share(const rc_config *p, const rc_trace *trace, const queries *a, int64_t r, int64_t origin)
{
    const float cap = (float)p->score_cap;
    const int64_t first = origin + a->first, count = a->seen[r] - a->first;
    float *scores = a->scores[r] + a->first;
    if (cap > 0.0f) {
        rc_record_attention(trace, RC_AT_SCORES_RAW, a->token[r], a->head[r], scores, first, count);
        rc_cap(scores, count, cap);
    }
    rc_record_attention(trace, RC_AT_SCORES, a->token[r], a->head[r], scores, first, count);
    if (p->format == RC_AJC1) {
        rc_softmax_from_zero(scores, count);
    } else {
        rc_softmax(scores, count);
    }
    rc_record_attention(trace, RC_AT_SHARES, a->token[r], a->head[r], scores, first, count);
}

/* values: (positions,) lanes a block of the head's elements */
static void mix(const queries *a, const rc_lanes *values, int64_t positions)
{
    for (int64_t start = 0; start < a->head_size; start += RC_LANES, values += positions) {
        rc_lanes sum[RC_ROWS];
        rc_sum_products(sum, a->shares, values + a->first, a->seen[0] - a->first);
        for (int r = 0; r < RC_ROWS; r++) {
            for (int64_t past = a->seen[0]; past < a->seen[r]; past++)
                for (int l = 0; l < RC_LANES; l++)
                    sum[r].at[l] += a->scores[r][past] * values[past].at[l];
            for (int64_t i = start; i < a->head_size && i < start + RC_LANES; i++)
                a->out[r][i] = sum[r].at[i - start];
        }
    }
}

/* The queries from number `start` on of a kv head: those that begin at one position, so that their sums do. */
static queries queries_at(const rc_session *s, const rc_past *past, int64_t n, int64_t kv_head, int64_t start)
{
    const rc_config *p = &s->model->config;
    const int64_t size = p->head_dim, q_dim = size * p->n_heads, sharing = p->n_heads / p->n_kv_heads;
    const int64_t before = past->count - n; /* positions from the origin on, before the batch's first token */
    queries a = {.head_size = size, .first = rc_before_window(past, before + start / sharing + 1)};
    for (int64_t number = start; number < n * sharing && a.count < RC_ROWS; number++)
        a.count += rc_before_window(past, before + number / sharing + 1) == a.first;
    for (int64_t r = 0; r < RC_ROWS; r++) {
        const int64_t own = r < a.count ? r : a.count - 1;
        a.token[r] = (start + own) / sharing;
        a.head[r] = kv_head * sharing + (start + own) % sharing;
        a.seen[r] = before + a.token[r] + 1;
        a.query[r] = s->q + a.token[r] * q_dim + a.head[r] * size;
        a.out[r] = s->h + a.token[r] * q_dim + a.head[r] * size;
        a.scores[r] = s->scores + own * s->padded;
        a.shares[r] = a.scores[r] + a.first;
    }
    return a;
}

void rc_mirror_attend(const rc_session *s, const rc_trace *trace, const rc_past *past, int64_t n)
{
    const rc_config *p = &s->model->config;
    const int64_t size = p->head_dim, kv_dim = size * p->n_kv_heads, sharing = p->n_heads / p->n_kv_heads;
    for (int64_t kv_head = 0; kv_head < p->n_kv_heads; kv_head++) {
        const float *keys = past->keys + kv_head * size, *values = past->values + kv_head * size;
        const rc_lanes *value_lanes = rc_to_lanes(s->value_room, values, size, 1, past->count, kv_dim);
        const rc_lanes *key_lanes = rc_to_lanes(s->key_room, keys, past->count, kv_dim, size, 1);
        for (int64_t start = 0; start < n * sharing;) {
            const queries a = queries_at(s, past, n, kv_head, start);
            score(&a, key_lanes, sqrtf((float)size), (float)p->score_scale);
            for (int64_t r = 0; r < a.count; r++)
                share(p, trace, &a, r, past->origin);
            mix(&a, value_lanes, past->count);
            start += a.count;
        }
    }
}
