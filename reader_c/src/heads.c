#include "heads.h"

#include "fast_rope.h"
#include "norm.h"
#include "rope.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

/* One RoPE's cosine and sine of position t of the batch. */
static void prepare_row(const rc_batch *b, int rope, int64_t t, float factor)
{
    const rc_session *s = b->s;
    const int64_t half = s->model->config.rotary_dim / 2, position = b->position + t;
    float *cosine = s->cosine[rope] + t * half, *sine = s->sine[rope] + t * half;
#ifndef RC_NO_FAST
    if (b->fast) {
        rc_rope_row_fast(cosine, sine, position, s->frequency_fast[rope], half, factor);
        return;
    }
#endif
    rc_rope_row(cosine, sine, position, s->frequency[rope], half, factor);
}

/* The same from the tables of v0. */
static void load_row(const rc_batch *b, int64_t t)
{
    const rc_session *s = b->s;
    const int64_t half = s->model->config.rotary_dim / 2;
    const int64_t at = (b->position + t) * half * (int64_t)sizeof(float);
    rc_tensor cosines, sines;
    rc_model_tensor(s->model, RC_FREQS_COS, 0, &cosines);
    rc_model_tensor(s->model, RC_FREQS_SIN, 0, &sines);
    memcpy(s->cosine[0] + t * half, s->model->bytes + cosines.offset + at, (size_t)half * sizeof(float));
    memcpy(s->sine[0] + t * half, s->model->bytes + sines.offset + at, (size_t)half * sizeof(float));
}

void rc_prepare_rope(const rc_batch *b)
{
    const rc_config *p = &b->s->model->config;
    const bool scales = p->scaling.type == RC_YARN || p->scaling.type == RC_LONGROPE;
    const float factor = scales ? (float)p->scaling.attention_factor : 1.0f;
    int64_t first, last;
    rc_own_tokens(b, &first, &last);
    for (int64_t t = first; t < last; t++) {
        if (b->o->rope == RC_ROPE_FROM_FILE)
            load_row(b, t);
        else
            prepare_row(b, 0, t, factor);
        if (p->local_theta > 0.0)
            prepare_row(b, 1, t, 1.0f);
    }
    rc_finish_step(b);
}

static void norm_heads(const rc_batch *b, int64_t layer, float *keys)
{
    const rc_config *p = &b->s->model->config;
    const bool by_head = p->qk_norm == RC_QK_BY_HEAD;
    rc_norm(b, b->s->q, b->s->q, by_head ? p->n_heads : 1, RC_Q_NORM, layer);
    rc_norm(b, keys, keys, by_head ? p->n_kv_heads : 1, RC_K_NORM, layer);
    rc_record(&b->trace, RC_AT_Q_NORMED, layer, b->s->q, b->n);
    rc_record(&b->trace, RC_AT_K_NORMED, layer, keys, b->n);
}

/* rope: 0 for the first, 1 for the second. */
static void rotate(const rc_batch *b, int64_t layer, int rope, float *keys)
{
    const rc_session *s = b->s;
    const rc_config *p = &s->model->config;
    const int64_t size = p->head_dim, half = p->rotary_dim / 2;
    int64_t first, last;
    rc_own_tokens(b, &first, &last);
    for (int64_t t = first; t < last; t++) {
        const float *cosine = s->cosine[rope] + t * half, *sine = s->sine[rope] + t * half;
        if (p->format == RC_AJC1) {
            rc_rotate_halves(s->q + t * size * p->n_heads, p->n_heads, size, cosine, sine);
            rc_rotate_halves(keys + t * size * p->n_kv_heads, p->n_kv_heads, size, cosine, sine);
            continue;
        }
        rc_rotate(s->q + t * size * p->n_heads, p->n_heads, size, p->rotary_dim, cosine, sine);
        rc_rotate(keys + t * size * p->n_kv_heads, p->n_kv_heads, size, p->rotary_dim, cosine, sine);
    }
    rc_record(&b->trace, RC_AT_COSINE, layer, s->cosine[rope], b->n);
    rc_record(&b->trace, RC_AT_SINE, layer, s->sine[rope], b->n);
    rc_record(&b->trace, RC_AT_Q_ROTATED, layer, s->q, b->n);
    rc_record(&b->trace, RC_AT_K_ROTATED, layer, keys, b->n);
}

/* 1 + beta * ln(1 + floor(position / positions)), computed in double and rounded once. */
static float query_scale(const rc_batch *b, int64_t position)
{
    const rc_config *p = &b->s->model->config;
    const double times = 1.0 + (double)(position / p->query_scale_positions);
#ifndef RC_NO_FAST
    if (b->fast)
        return (float)(1.0 + p->query_scale_beta * rc_log_fast(times));
#endif
    return (float)(1.0 + p->query_scale_beta * log(times));
}

static void scale_queries(const rc_batch *b, int64_t layer)
{
    const int64_t q_dim = (int64_t)b->s->model->config.n_heads * b->s->model->config.head_dim;
    int64_t first, last;
    rc_own_tokens(b, &first, &last);
    for (int64_t t = first; t < last; t++) {
        const float scale = query_scale(b, b->position + t);
        for (int64_t i = t * q_dim; i < (t + 1) * q_dim; i++)
            b->s->q[i] *= scale;
    }
    rc_record(&b->trace, RC_AT_Q_SCALED, layer, b->s->q, b->n);
}

/* All of it is one member's work on its tokens, so that members need not wait in between; and what is recorded has one
 * member. */
void rc_condition_heads(const rc_batch *b, int64_t layer, float *keys)
{
    const rc_config *p = &b->s->model->config;
    rc_layer kind;
    rc_model_layer(b->s->model, layer, &kind);
    if (p->qk_norm != RC_QK_PLAIN)
        norm_heads(b, layer, keys);
    if (kind.rope != RC_NO_ROPE)
        rotate(b, layer, kind.rope == RC_SECOND_ROPE, keys);
    if (p->query_scale_beta > 0.0)
        scale_queries(b, layer);
    rc_finish_step(b);
}
