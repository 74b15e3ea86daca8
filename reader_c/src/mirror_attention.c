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
    int64_t count;               /* of queries that differ */
    int64_t blocks;              /* of positions, for the query that sees most */
    int64_t seen[RC_ROWS];       /* positions; never fewer than the query before */
    const float *query[RC_ROWS]; /* (head_size,) */
    float *scores[RC_ROWS];      /* (blocks,) lanes: scores, and after the softmax shares */
    float *out[RC_ROWS];         /* (head_size,) */
} queries;

/* keys: (head_size,) lanes a block of positions */
static void score(const queries *a, const rc_lanes *keys, float root)
{
    for (int64_t block = 0; block < a->blocks; block++) {
        rc_lanes sum[RC_ROWS];
        rc_sum_products(sum, a->query, keys + block * a->head_size, a->head_size);
        for (int r = 0; r < RC_ROWS; r++)
            for (int l = 0; l < RC_LANES; l++)
                a->scores[r][block * RC_LANES + l] = sum[r].at[l] / root;
    }
}

/* values: (positions,) lanes a block of the head's elements */
static void mix(const queries *a, const rc_lanes *values, int64_t positions)
{
    for (int64_t start = 0; start < a->head_size; start += RC_LANES, values += positions) {
        rc_lanes sum[RC_ROWS];
        rc_sum_products(sum, (const float *const *)a->scores, values, a->seen[0]);
        for (int r = 0; r < RC_ROWS; r++) {
            for (int64_t past = a->seen[0]; past < a->seen[r]; past++)
                for (int l = 0; l < RC_LANES; l++)
                    sum[r].at[l] += a->scores[r][past] * values[past].at[l];
            for (int64_t i = start; i < a->head_size && i < start + RC_LANES; i++)
                a->out[r][i] = sum[r].at[i - start];
        }
    }
}

void rc_mirror_attend(const rc_session *s, const rc_trace *trace, int64_t layer, int64_t position, int64_t n)
{
    const rc_config *p = &s->model->config;
    const int64_t head_size = p->head_dim, kv_dim = head_size * p->n_kv_heads, q_dim = head_size * p->n_heads;
    const int64_t sharing = p->n_heads / p->n_kv_heads, positions = position + n;
    const float root = sqrtf((float)head_size);
    for (int64_t kv_head = 0; kv_head < p->n_kv_heads; kv_head++) {
        const float *keys = s->keys + layer * s->capacity * kv_dim + kv_head * head_size;
        const float *values = s->values + layer * s->capacity * kv_dim + kv_head * head_size;
        const rc_lanes *value_lanes = rc_to_lanes(s->value_room, values, head_size, 1, positions, kv_dim);
        const rc_lanes *key_lanes = rc_to_lanes(s->key_room, keys, positions, kv_dim, head_size, 1);
        for (int64_t first = 0; first < n * sharing; first += RC_ROWS) {
            const int64_t rest = n * sharing - first;
            queries a = {.head_size = head_size, .count = rest < RC_ROWS ? rest : RC_ROWS};
            int64_t token[RC_ROWS], head[RC_ROWS];
            for (int64_t r = 0; r < RC_ROWS; r++) {
                const int64_t distinct = r < a.count ? r : a.count - 1;
                token[r] = (first + distinct) / sharing;
                head[r] = kv_head * sharing + (first + distinct) % sharing;
                a.seen[r] = position + token[r] + 1;
                a.query[r] = s->q + token[r] * q_dim + head[r] * head_size;
                a.out[r] = s->h + token[r] * q_dim + head[r] * head_size;
                a.scores[r] = s->scores + distinct * s->padded;
            }
            a.blocks = (a.seen[RC_ROWS - 1] + RC_LANES - 1) / RC_LANES;
            score(&a, key_lanes, root);
            for (int64_t r = 0; r < a.count; r++) {
                rc_record_attention(trace, RC_AT_SCORES, token[r], head[r], a.scores[r], a.seen[r]);
                rc_softmax(a.scores[r], a.seen[r]);
                rc_record_attention(trace, RC_AT_SHARES, token[r], head[r], a.scores[r], a.seen[r]);
            }
            mix(&a, value_lanes, positions);
        }
    }
}
