#include "layer.h"

#include "cache.h"
#include "experts.h"
#include "fast_attention.h"
#include "heads.h"
#include "lanes.h"
#include "matrix.h"
#include "mirror_attention.h"
#include "mirror_rows.h"
#include "norm.h"
#include "project.h"
#include "shape.h"

#include <string.h>

/* This member's part of n * width numbers that are computed one by one, across tokens. */
static void own_elements(const rc_batch *b, int64_t width, int64_t *first, int64_t *last)
{
    rc_share(b->member, b->members, b->n * width, RC_LANES, first, last);
}

void rc_embed(const rc_batch *b, const int32_t *tokens)
{
    const rc_config *p = &b->s->model->config;
    const rc_matrix embedding = rc_matrix_of(b->s->model, RC_TOK_EMBEDDINGS, 0);
    const float scale = (float)p->embedding_scale;
    int64_t first, last;
    rc_own_tokens(b, &first, &last);
    for (int64_t t = first; t < last; t++) {
        const float *row = rc_matrix_row(&embedding, tokens[t], rc_own_row(b));
        float *x = b->x + t * p->dim;
        memcpy(x, row, (size_t)p->dim * sizeof *x);
        for (int64_t i = 0; i < p->dim && scale != 1.0f; i++)
            x[i] *= scale;
    }
    rc_finish_step(b);
    rc_record(&b->trace, RC_AT_EMBEDDING, 0, b->x, b->n);
}

/* What goes into a block: the residual stream, normed into h where the model has a norm there. */
static const float *input_of_block(const rc_batch *b, int kind, int64_t layer, int point)
{
    if (!rc_has_tensor(&b->s->model->config, kind, false))
        return b->x;
    rc_norm(b, b->s->h, b->x, 1, kind, layer);
    rc_finish_step(b);
    rc_record(&b->trace, point, layer, b->s->h, b->n);
    return b->s->h;
}

/* Of the end of a block. */
typedef struct {
    int kind;           /* enum rc_kind of the norm after it */
    int normed_point;   /* enum rc_point at which that is recorded */
    int residual_point; /* and the stream */
} block_end;

/* The residual stream and what the block adds to it: the session's projected, normed where the model has that. */
static void add_projected(const rc_batch *b, int64_t layer, const block_end *end)
{
    const rc_config *p = &b->s->model->config;
    const float scale = (float)p->residual_scale;
    float *added = b->s->projected;
    if (rc_has_tensor(p, end->kind, false)) {
        rc_norm(b, added, added, 1, end->kind, layer);
        rc_finish_step(b);
        rc_record(&b->trace, end->normed_point, layer, added, b->n);
    }
    int64_t first, last;
    own_elements(b, p->dim, &first, &last);
    if (scale == 1.0f)
        for (int64_t i = first; i < last; i++)
            b->x[i] += added[i];
    else
        for (int64_t i = first; i < last; i++)
            b->x[i] += added[i] * scale;
    rc_finish_step(b);
    rc_record(&b->trace, end->residual_point, layer, b->x, b->n);
}

static void attend(const rc_batch *b, int64_t layer)
{
    const rc_past past = rc_cache_past(b->s, layer, b->position, b->n);
#ifndef RC_NO_FAST
    if (b->fast) {
        rc_fast_gather(b->s, b->fast, b->member, b->members, &past);
        rc_finish_step(b);
        rc_fast_attend(b->s, b->fast, &b->trace, b->member, b->members, &past, b->n);
        rc_finish_step(b);
    }
#endif
    if (!b->fast)
        rc_mirror_attend(b->s, &b->trace, &past, b->n);
    rc_record(&b->trace, RC_AT_ATTENDED, layer, b->s->h, b->n);
}

static void run_attention(const rc_batch *b, int64_t layer)
{
    const rc_session *s = b->s;
    if (s->model->config.window) {
        if (b->member == 0)
            rc_cache_make_room(s, layer, b->position, b->n);
        rc_finish_step(b);
    }
    const int64_t at = rc_cache_at(s, layer, b->position);
    float *keys = s->keys + at, *values = s->values + at; /* (n, kv_dim) in the cache */
    const float *x = input_of_block(b, RC_ATTENTION_NORM, layer, RC_AT_ATTENTION_NORM);
    const rc_projection inputs[] = {{RC_WQ, RC_WQ_BIAS, RC_AT_Q, RC_AT_Q_INT8, s->q},
                                    {RC_WK, RC_WK_BIAS, RC_AT_K, RC_AT_K_INT8, keys},
                                    {RC_WV, RC_WV_BIAS, RC_AT_V, RC_AT_V_INT8, values}};
    rc_project(b, x, layer, 3, inputs);
    rc_condition_heads(b, layer, keys);
    attend(b, layer);
    const rc_projection output = {RC_WO, RC_WO_BIAS, RC_AT_WO, RC_AT_WO_INT8, s->projected};
    rc_project(b, s->h, layer, 1, &output);
    static const block_end end = {RC_ATTENTION_POST_NORM, RC_AT_ATTENTION_POST_NORM, RC_AT_ATTENTION_RESIDUAL};
    add_projected(b, layer, &end);
}

/* The session's projected = the gated feed forward of x (n, dim). */
static void run_gated(const rc_batch *b, const float *x, int64_t layer)
{
    const rc_session *s = b->s;
    const rc_config *p = &s->model->config;
    const rc_projection inputs[] = {{RC_W1, RC_W1_BIAS, RC_AT_GATE, RC_AT_GATE_INT8, s->gate},
                                    {RC_W3, RC_W3_BIAS, RC_AT_UP, RC_AT_UP_INT8, s->up}};
    rc_project(b, x, layer, 2, inputs);
    int64_t first, last;
    own_elements(b, p->hidden_dim, &first, &last);
    if (!b->fast && p->format == RC_AJC1)
        rc_gated_by_product(s->gate + first, s->up + first, last - first);
    else
        (b->fast ? b->fast->gated : rc_gated)(s->gate + first, s->up + first, last - first, p->gate);
    rc_finish_step(b);
    rc_record(&b->trace, RC_AT_GATED, layer, s->gate, b->n);
    const rc_projection output = {RC_W2, RC_W2_BIAS, RC_AT_DOWN, RC_AT_DOWN_INT8, s->projected};
    rc_project(b, s->gate, layer, 1, &output);
}

static void run_feed_forward(const rc_batch *b, int64_t layer)
{
    const float *x = input_of_block(b, RC_FFN_NORM, layer, RC_AT_FFN_NORM);
#ifndef RC_NO_V3
    if (rc_has_experts(b->s->model, layer))
        rc_run_experts(b, x, layer);
    else
#endif
        run_gated(b, x, layer);
    static const block_end end = {RC_FFN_POST_NORM, RC_AT_FFN_POST_NORM, RC_AT_FFN_RESIDUAL};
    add_projected(b, layer, &end);
}

void rc_run_layer(const rc_batch *b, int64_t layer)
{
    run_attention(b, layer);
    run_feed_forward(b, layer);
}

/* The classifier's products become logits: divided, then capped. */
static void finish_logits(const rc_batch *b, float *logits)
{
    const rc_config *p = &b->s->model->config;
    const float divisor = (float)p->logit_divisor, cap = (float)p->logit_cap;
    int64_t first, last;
    own_elements(b, p->vocab_size, &first, &last);
    for (int64_t i = first; i < last && divisor != 1.0f; i++)
        logits[i] /= divisor;
    if (cap > 0.0f)
        (b->fast ? b->fast->cap : rc_cap)(logits + first, last - first, cap);
    rc_finish_step(b);
    rc_record(&b->trace, RC_AT_LOGITS, 0, logits, b->n);
}

void rc_classify(const rc_batch *b, float *logits)
{
    const rc_config *p = &b->s->model->config;
    const float *x = input_of_block(b, RC_NORM, 0, RC_AT_FINAL_NORM);
    const int kind = p->shared_classifier ? RC_TOK_EMBEDDINGS : RC_OUTPUT;
    const int point = rc_changes_logits(p) ? RC_AT_CLASSIFIED : RC_AT_LOGITS;
    const rc_projection output = {kind, RC_KINDS, point, RC_AT_LOGITS_INT8, logits};
    rc_project(b, x, 0, 1, &output);
    if (rc_changes_logits(p))
        finish_logits(b, logits);
}
