/* A batch's tokens are grouped by their experts. Each expert multiplies its tokens together, and each token's results
 * are added in the order of its experts' numbers: no sum runs over tokens, so a batch changes no bit. */
#include "experts.h"

#include "lanes.h"
#include "mirror_rows.h"
#include "project.h"

#include <string.h>

/* Choose the experts of one token by their shares, of equal ones the first: share and chosen are (n_experts,). Where
 * shares are NaN, the first experts are chosen. */
static void choose(const rc_config *p, float *share, uint8_t *chosen)
{
    memset(chosen, 0, (size_t)p->n_experts);
    float sum = 0.0f;
    for (int64_t slot = 0; slot < p->n_active_experts; slot++) {
        int64_t best = -1;
        for (int64_t e = 0; e < p->n_experts; e++)
            if (!chosen[e] && (best < 0 || share[e] > share[best]))
                best = e;
        chosen[best] = 1;
    }
    for (int64_t e = 0; e < p->n_experts; e++)
        if (chosen[e])
            sum += share[e];
    for (int64_t e = 0; e < p->n_experts; e++) {
        if (!chosen[e])
            share[e] = 0.0f;
        else if (p->experts_normalized)
            share[e] /= sum;
    }
}

static void route(const rc_batch *b, const float *x, int64_t layer)
{
    const rc_session *s = b->s;
    const rc_config *p = &s->model->config;
    /* a router is not Q8_0, so it has no int8 point */
    const rc_projection router = {RC_ROUTER, RC_KINDS, RC_AT_ROUTER, RC_POINTS, s->routed};
    rc_project(b, x, layer, 1, &router);
    int64_t first, last;
    rc_own_tokens(b, &first, &last);
    for (int64_t t = first; t < last; t++) {
        float *share = s->routed + t * p->n_experts;
        (b->fast ? b->fast->softmax : rc_softmax)(share, p->n_experts);
        choose(p, share, s->chosen + t * p->n_experts);
    }
    rc_finish_step(b);
    rc_record(&b->trace, RC_AT_ROUTED, layer, s->routed, b->n);
}

/* Put the pairs of the batch in order. One member does it: there are few. */
static void group_by_expert(const rc_batch *b)
{
    const rc_session *s = b->s;
    const rc_config *p = &s->model->config;
    int64_t *first = s->expert_first;
    memset(first, 0, (size_t)(p->n_experts + 1) * sizeof *first);
    for (int64_t t = 0; t < b->n; t++)
        for (int64_t e = 0; e < p->n_experts; e++)
            first[e + 1] += s->chosen[t * p->n_experts + e];
    for (int64_t e = 0; e < p->n_experts; e++)
        first[e + 1] += first[e];
    for (int64_t t = 0; t < b->n; t++) {
        int32_t slot = 0;
        for (int64_t e = 0; e < p->n_experts; e++) {
            if (!s->chosen[t * p->n_experts + e])
                continue;
            s->pair_at[t * p->n_active_experts + slot] = first[e];
            s->pair[first[e]++] = (rc_pair_of_token){(int32_t)t, slot++};
        }
    }
    /* each has moved on to where the next expert begins */
    memmove(first + 1, first, (size_t)p->n_experts * sizeof *first);
    first[0] = 0;
}

/* What goes into the experts: the rows of x (n, dim), pair by pair. */
static void gather(const rc_batch *b, const float *x)
{
    const rc_session *s = b->s;
    const int64_t dim = s->model->config.dim;
    int64_t first, last;
    rc_share(b->member, b->members, b->n * s->model->config.n_active_experts, 1, &first, &last);
    for (int64_t i = first; i < last; i++)
        memcpy(s->expert_rows + i * dim, x + s->pair[i].token * dim, (size_t)dim * sizeof *x);
}

/* One part of the mixture, for each expert that has tokens. */
static void each_expert(const rc_batch *b, int64_t layer,
                        void (*run)(const rc_batch *b, const rc_expert_part *part))
{
    const rc_session *s = b->s;
    for (int64_t e = 0; e < s->model->config.n_experts; e++) {
        const int64_t first = s->expert_first[e], count = s->expert_first[e + 1] - first;
        const rc_expert_part part = {.layer = layer, .expert = e, .first = first, .count = count};
        if (count)
            run(b, &part);
    }
}

static void widen(const rc_batch *b, const rc_expert_part *part)
{
    const rc_session *s = b->s;
    const rc_config *p = &s->model->config;
    const int64_t at = part->first * p->expert_hidden_dim;
    const rc_projection inputs[] = {
        {RC_EXPERT_W1, RC_KINDS, RC_AT_EXPERT_GATE, RC_AT_EXPERT_GATE_INT8, s->gate + at},
        {RC_EXPERT_W3, RC_KINDS, RC_AT_EXPERT_UP, RC_AT_EXPERT_UP_INT8, s->up + at}};
    rc_project_expert(b, s->expert_rows + part->first * p->dim, part, 2, inputs);
}

static void narrow(const rc_batch *b, const rc_expert_part *part)
{
    const rc_session *s = b->s;
    const rc_config *p = &s->model->config;
    const rc_projection output = {RC_EXPERT_W2, RC_KINDS, RC_AT_EXPERT_DOWN, RC_AT_EXPERT_DOWN_INT8,
                                  s->expert_rows + part->first * p->dim};
    rc_project_expert(b, s->gate + part->first * p->expert_hidden_dim, part, 1, &output);
}

static void activate(const rc_batch *b, int64_t layer)
{
    const rc_session *s = b->s;
    const rc_config *p = &s->model->config;
    const int64_t pairs = b->n * p->n_active_experts;
    int64_t first, last;
    rc_share(b->member, b->members, pairs * p->expert_hidden_dim, RC_LANES, &first, &last);
    (b->fast ? b->fast->gated : rc_gated)(s->gate + first, s->up + first, last - first, p->gate);
    rc_finish_step(b);
    rc_record_slots(&b->trace, RC_AT_EXPERT_GATED, layer, s->pair, s->gate, pairs);
}

/* Each token's results, times their shares. */
static void mix(const rc_batch *b)
{
    const rc_session *s = b->s;
    const rc_config *p = &s->model->config;
    int64_t first, last;
    rc_own_tokens(b, &first, &last);
    for (int64_t t = first; t < last; t++) {
        float *out = s->projected + t * p->dim;
        memset(out, 0, (size_t)p->dim * sizeof *out);
        const int64_t *at = s->pair_at + t * p->n_active_experts;
        for (int64_t e = 0; e < p->n_experts; e++) {
            if (!s->chosen[t * p->n_experts + e])
                continue;
            const float share = s->routed[t * p->n_experts + e], *row = s->expert_rows + *at++ * p->dim;
            for (int64_t i = 0; i < p->dim; i++)
                out[i] += share * row[i];
        }
    }
    rc_finish_step(b);
}

void rc_run_experts(const rc_batch *b, const float *x, int64_t layer)
{
    route(b, x, layer);
    if (b->member == 0)
        group_by_expert(b);
    rc_finish_step(b);
    gather(b, x);
    rc_finish_step(b);
    each_expert(b, layer, widen);
    activate(b, layer);
    each_expert(b, layer, narrow);
    mix(b);
    rc_record(&b->trace, RC_AT_DOWN, layer, b->s->projected, b->n);
}
