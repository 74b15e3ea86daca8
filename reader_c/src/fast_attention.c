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

void rc_fast_gather(const rc_session *s, const rc_fast *f, int member, int members, int64_t layer, int64_t positions)
{
    const rc_config *p = &s->model->config;
    const int64_t size = p->head_dim, kv_dim = size * p->n_kv_heads;
    const int64_t padded_head = (size + RC_LANES - 1) / RC_LANES * RC_LANES;
    const float *keys = s->keys + layer * s->capacity * kv_dim, *values = s->values + layer * s->capacity * kv_dim;
    int64_t first, last;
    rc_share(member, members, positions, RC_LANES, &first, &last);
    for (int64_t head = 0; head < p->n_kv_heads; head++) {
        float *to = s->all_keys + head * size * s->padded + first * size;
        int64_t start = first;
        for (; start + RC_LANES <= last; start += RC_LANES, to += RC_LANES * size)
            f->transpose_rows(to, keys + start * kv_dim + head * size, kv_dim, size);
        for (int64_t j = 0; j < size && start < last; j++)
            for (int64_t at = start; at < start + RC_LANES; at++)
                *to++ = at < last ? keys[at * kv_dim + head * size + j] : 0.0f;
        for (int64_t at = first; at < last && !reads_cache(p); at++) {
            float *value = s->all_values + (head * s->capacity + at) * padded_head;
            memcpy(value, values + at * kv_dim + head * size, (size_t)size * sizeof *value);
            memset(value + size, 0, (size_t)(padded_head - size) * sizeof *value);
        }
    }
}

void rc_fast_attend(const rc_session *s, const rc_fast *f, const rc_trace *trace, int member, int members,
                    int64_t layer, int64_t position, int64_t n)
{
    const rc_config *p = &s->model->config;
    const int64_t size = p->head_dim, q_dim = size * p->n_heads, kv_dim = size * p->n_kv_heads;
    const int64_t sharing = p->n_heads / p->n_kv_heads;
    const int64_t padded_head = (size + RC_LANES - 1) / RC_LANES * RC_LANES;
    const int64_t queries = n * sharing, pieces = (queries + RC_FAST_QUERIES - 1) / RC_FAST_QUERIES;
    const float root = sqrtf((float)size);
    float *room = s->own_scores + (int64_t)member * RC_FAST_QUERIES * s->padded;
    /* members take pieces in turn, because later tokens attend to more positions */
    for (int64_t piece = member; piece < pieces * p->n_kv_heads; piece += members) {
        const int64_t kv_head = piece / pieces, first = piece % pieces * RC_FAST_QUERIES;
        const int64_t count = queries - first < RC_FAST_QUERIES ? queries - first : RC_FAST_QUERIES;
        const float *query[RC_FAST_QUERIES], *shares[RC_FAST_QUERIES];
        float *score[RC_FAST_QUERIES], *out[RC_FAST_QUERIES];
        int64_t seen[RC_FAST_QUERIES], token[RC_FAST_QUERIES], head[RC_FAST_QUERIES];
        for (int64_t r = 0; r < RC_FAST_QUERIES; r++) {
            /* after the last query the same again, so that the loops have one length */
            const int64_t number = first + (r < count ? r : count - 1);
            token[r] = number / sharing;
            head[r] = kv_head * sharing + number % sharing;
            seen[r] = position + token[r] + 1;
            query[r] = s->q + token[r] * q_dim + head[r] * size;
            out[r] = s->h + token[r] * q_dim + head[r] * size;
            shares[r] = score[r] = room + (r < count ? r : count - 1) * s->padded;
        }
        const int64_t blocks = (seen[RC_FAST_QUERIES - 1] + RC_LANES - 1) / RC_LANES;
        f->scores(score, query, s->all_keys + kv_head * size * s->padded, blocks, size, root);
        for (int64_t r = 0; r < count; r++) {
            rc_record_attention(trace, RC_AT_SCORES, token[r], head[r], score[r], seen[r]);
            f->softmax(score[r], seen[r]);
            rc_record_attention(trace, RC_AT_SHARES, token[r], head[r], score[r], seen[r]);
        }
        if (reads_cache(p))
            f->mix(out, shares, seen, s->values + layer * s->capacity * kv_dim + kv_head * size, kv_dim, size, size);
        else
            f->mix(out, shares, seen, s->all_values + kv_head * s->capacity * padded_head, padded_head, size,
                   padded_head);
    }
}
