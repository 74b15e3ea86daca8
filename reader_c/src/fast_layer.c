/* One member's share of a product or of attention, by the arithmetic `fast`. */
#include "fast_layer.h"

#include <math.h>

static float *own_rows(const rc_session *s, int member)
{
    return s->own_rows + (int64_t)member * RC_FAST_ROWS * s->widest;
}

void rc_fast_matmul(const rc_session *s, const rc_fast *f, int member, float *out, const float *x, int64_t n,
                    const rc_matrix *w, int64_t first, int64_t last)
{
    float *room = own_rows(s, member);
    for (int64_t row = first; row < last; row += RC_FAST_ROWS) {
        const int64_t count = last - row < RC_FAST_ROWS ? last - row : RC_FAST_ROWS;
        const float *rows = room;
        if (w->storage == RC_FP32)
            rows = (const float *)(const void *)w->values + row * w->cols;
        else
            for (int64_t r = 0; r < count; r++)
                f->widen(room + r * w->cols, w, row + r);
        f->products(out + row, w->rows, x, n, rows, count, w->cols);
    }
}

void rc_fast_sum_groups(int32_t *sum, const int8_t *q, int64_t count, int64_t group_size)
{
    for (int64_t g = 0; g < count / group_size; g++, q += group_size) {
        uint32_t total = 0;
        for (int64_t j = 0; j < group_size; j++)
            total += (uint32_t)(int32_t)q[j];
        sum[g] = (int32_t)(128u * total);
    }
}

void rc_fast_matmul_q8(const rc_session *s, const rc_fast *f, int member, float *out, int64_t n, const rc_matrix *w,
                       int64_t first, int64_t last)
{
    uint8_t *packed = (uint8_t *)own_rows(s, member);
    const int64_t groups = w->cols / w->group_size;
    float *scales = s->own_scales + (int64_t)member * RC_FAST_ROWS * (s->scales_a_row);
    for (int64_t row = first; row < last; row += RC_FAST_ROWS) {
        const int64_t count = last - row < RC_FAST_ROWS ? last - row : RC_FAST_ROWS;
        const int8_t *values = (const int8_t *)w->values + row * w->cols;
        const uint8_t *first_scale = w->scales + row * groups * (int64_t)sizeof(float);
        if (n == 1 && f->one_int8 && w->group_size % 64 == 0 && groups < INT32_MAX / RC_FAST_ROWS) {
            f->one_int8(out + row, s->act, s->act_scale, s->act_sum, values, first_scale, count, w->cols,
                        w->group_size, packed);
            continue;
        }
        const int8_t *rows[RC_FAST_ROWS];
        const uint8_t *of_rows[RC_FAST_ROWS];
        for (int64_t r = 0; r < RC_FAST_ROWS; r++) {
            /* past the last row, the last one again, whose sums nobody stores */
            const int64_t at = r < count ? r : count - 1;
            rows[r] = values + at * w->cols;
            of_rows[r] = first_scale + at * groups * (int64_t)sizeof(float);
        }
        f->pack_int8(packed, scales, rows, of_rows, w->cols, groups);
        f->products_int8(out + row, w->rows, s->act, s->act_scale, s->act_sum, n, packed, scales, count, w->cols,
                         w->group_size);
    }
}

/* Where a head is a number of whole vectors, the cache itself is what attention can read. */
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
            f->side_by_side(to, keys + start * kv_dim + head * size, kv_dim, size);
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
    const int64_t looks = n * sharing, pieces = (looks + RC_FAST_LOOKS - 1) / RC_FAST_LOOKS;
    const float root = sqrtf((float)size);
    float *room = s->own_scores + (int64_t)member * RC_FAST_LOOKS * s->padded;
    /* by turns, because later tokens look at more */
    for (int64_t piece = member; piece < pieces * p->n_kv_heads; piece += members) {
        const int64_t kv_head = piece / pieces, first = piece % pieces * RC_FAST_LOOKS;
        const int64_t count = looks - first < RC_FAST_LOOKS ? looks - first : RC_FAST_LOOKS;
        const float *query[RC_FAST_LOOKS], *shares[RC_FAST_LOOKS];
        float *score[RC_FAST_LOOKS], *out[RC_FAST_LOOKS];
        int64_t seen[RC_FAST_LOOKS], token[RC_FAST_LOOKS], head[RC_FAST_LOOKS];
        for (int64_t r = 0; r < RC_FAST_LOOKS; r++) {
            /* after the last query the same again, so that the loops have one length */
            const int64_t look = first + (r < count ? r : count - 1);
            token[r] = look / sharing;
            head[r] = kv_head * sharing + look % sharing;
            seen[r] = position + token[r] + 1;
            query[r] = s->q + token[r] * q_dim + head[r] * size;
            out[r] = s->h + token[r] * q_dim + head[r] * size;
            shares[r] = score[r] = room + (r < count ? r : count - 1) * s->padded;
        }
        const int64_t blocks = (seen[RC_FAST_LOOKS - 1] + RC_LANES - 1) / RC_LANES;
        f->scores(score, query, s->all_keys + kv_head * size * s->padded, blocks, size, root);
        for (int64_t r = 0; r < count; r++) {
            rc_record_looks(trace, RC_AT_SCORES, token[r], head[r], score[r], seen[r]);
            f->softmax(score[r], seen[r]);
            rc_record_looks(trace, RC_AT_SHARES, token[r], head[r], score[r], seen[r]);
        }
        if (reads_cache(p))
            f->mix(out, shares, seen, s->values + layer * s->capacity * kv_dim + kv_head * size, kv_dim, size, size);
        else
            f->mix(out, shares, seen, s->all_values + kv_head * s->capacity * padded_head, padded_head, size,
                   padded_head);
    }
}
