#include "layer.h"

#include "fast_attention.h"
#include "fast_rope.h"
#include "lanes.h"
#include "matrix.h"
#include "mirror_attention.h"
#include "mirror_rows.h"
#include "project.h"
#include "rope.h"

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
    int64_t first, last;
    rc_own_tokens(b, &first, &last);
    for (int64_t t = first; t < last; t++)
        memcpy(b->x + t * p->dim, rc_matrix_row(&embedding, tokens[t], rc_own_row(b)), (size_t)p->dim * sizeof *b->x);
    rc_finish_step(b);
    rc_record(&b->trace, RC_AT_EMBEDDING, 0, b->x, b->n);
}

void rc_prepare_rope(const rc_batch *b)
{
    const rc_session *s = b->s;
    const rc_config *p = &s->model->config;
    const int64_t half = p->head_dim / 2;
    const float factor = p->scaling.type == RC_YARN ? (float)p->scaling.attention_factor : 1.0f;
    rc_tensor cosines, sines;
    rc_model_tensor(s->model, RC_FREQS_COS, 0, &cosines);
    rc_model_tensor(s->model, RC_FREQS_SIN, 0, &sines);
    int64_t first, last;
    rc_own_tokens(b, &first, &last);
    for (int64_t t = first; t < last; t++) {
        float *cosine = s->cosine + t * half, *sine = s->sine + t * half;
        if (b->o->rope == RC_ROPE_COMPUTED && b->fast) {
            rc_rope_row_fast(cosine, sine, b->position + t, s->frequency_fast, half, factor);
        } else if (b->o->rope == RC_ROPE_COMPUTED) {
            rc_rope_row(cosine, sine, b->position + t, s->frequency, half, factor);
        } else {
            const int64_t at = (b->position + t) * half * (int64_t)sizeof(float);
            memcpy(cosine, s->model->bytes + cosines.offset + at, (size_t)half * sizeof(float));
            memcpy(sine, s->model->bytes + sines.offset + at, (size_t)half * sizeof(float));
        }
    }
    rc_finish_step(b);
    rc_record(&b->trace, RC_AT_COSINE, 0, s->cosine, b->n);
    rc_record(&b->trace, RC_AT_SINE, 0, s->sine, b->n);
}

/* h = norm of the residual stream */
static void norm(const rc_batch *b, int kind, int64_t layer, int point)
{
    const rc_session *s = b->s;
    const rc_config *p = &s->model->config;
    const rc_matrix w = rc_matrix_of(s->model, kind, layer);
    const float *weight = rc_matrix_row(&w, 0, rc_own_row(b));
    int64_t first, last;
    rc_own_tokens(b, &first, &last);
    for (int64_t t = first; t < last; t++)
        (b->fast ? b->fast->norm : rc_rmsnorm)(s->h + t * p->dim, b->x + t * p->dim, weight, p->dim,
                                               (float)p->norm_eps);
    rc_finish_step(b);
    rc_record(&b->trace, point, layer, s->h, b->n);
}

static void add_projected(const rc_batch *b, int64_t layer, int point)
{
    int64_t first, last;
    own_elements(b, b->s->model->config.dim, &first, &last);
    for (int64_t i = first; i < last; i++)
        b->x[i] += b->s->projected[i];
    rc_finish_step(b);
    rc_record(&b->trace, point, layer, b->x, b->n);
}

/* q and keys (n, kv_dim), in place */
static void rotate(const rc_batch *b, int64_t layer, float *keys)
{
    const rc_session *s = b->s;
    const rc_config *p = &s->model->config;
    const int64_t size = p->head_dim, half = size / 2;
    int64_t first, last;
    rc_own_tokens(b, &first, &last);
    for (int64_t t = first; t < last; t++) {
        const float *cosine = s->cosine + t * half, *sine = s->sine + t * half;
        rc_rotate(s->q + t * size * p->n_heads, p->n_heads, size, cosine, sine);
        rc_rotate(keys + t * size * p->n_kv_heads, p->n_kv_heads, size, cosine, sine);
    }
    rc_finish_step(b);
    rc_record(&b->trace, RC_AT_Q_ROTATED, layer, s->q, b->n);
    rc_record(&b->trace, RC_AT_K_ROTATED, layer, keys, b->n);
}

static void attend(const rc_batch *b, int64_t layer)
{
    if (b->fast) {
        rc_fast_gather(b->s, b->fast, b->member, b->members, layer, b->position + b->n);
        rc_finish_step(b);
        rc_fast_attend(b->s, b->fast, &b->trace, b->member, b->members, layer, b->position, b->n);
        rc_finish_step(b);
    } else {
        rc_mirror_attend(b->s, &b->trace, layer, b->position, b->n);
    }
    rc_record(&b->trace, RC_AT_ATTENDED, layer, b->s->h, b->n);
}

static void run_attention(const rc_batch *b, int64_t layer)
{
    const rc_session *s = b->s;
    const int64_t kv_dim = (int64_t)s->model->config.head_dim * s->model->config.n_kv_heads;
    float *keys = s->keys + (layer * s->capacity + b->position) * kv_dim;     /* (n, kv_dim) in the cache */
    float *values = s->values + (layer * s->capacity + b->position) * kv_dim; /* (n, kv_dim) */
    norm(b, RC_ATTENTION_NORM, layer, RC_AT_ATTENTION_NORM);
    const rc_projection inputs[] = {{RC_WQ, RC_WQ_BIAS, RC_AT_Q, RC_AT_Q_INT8, s->q},
                                    {RC_WK, RC_WK_BIAS, RC_AT_K, RC_AT_K_INT8, keys},
                                    {RC_WV, RC_WV_BIAS, RC_AT_V, RC_AT_V_INT8, values}};
    rc_project(b, s->h, layer, 3, inputs);
    rotate(b, layer, keys);
    attend(b, layer);
    const rc_projection output = {RC_WO, RC_WO_BIAS, RC_AT_WO, RC_AT_WO_INT8, s->projected};
    rc_project(b, s->h, layer, 1, &output);
    add_projected(b, layer, RC_AT_ATTENTION_RESIDUAL);
}

static void run_feed_forward(const rc_batch *b, int64_t layer)
{
    const rc_session *s = b->s;
    const rc_config *p = &s->model->config;
    norm(b, RC_FFN_NORM, layer, RC_AT_FFN_NORM);
    const rc_projection inputs[] = {{RC_W1, RC_W1_BIAS, RC_AT_GATE, RC_AT_GATE_INT8, s->gate},
                                    {RC_W3, RC_W3_BIAS, RC_AT_UP, RC_AT_UP_INT8, s->up}};
    rc_project(b, s->h, layer, 2, inputs);
    int64_t first, last;
    own_elements(b, p->hidden_dim, &first, &last);
    (b->fast ? b->fast->gated : rc_gated)(s->gate + first, s->up + first, last - first, p->gate);
    rc_finish_step(b);
    rc_record(&b->trace, RC_AT_GATED, layer, s->gate, b->n);
    const rc_projection output = {RC_W2, RC_W2_BIAS, RC_AT_DOWN, RC_AT_DOWN_INT8, s->projected};
    rc_project(b, s->gate, layer, 1, &output);
    add_projected(b, layer, RC_AT_FFN_RESIDUAL);
}

void rc_run_layer(const rc_batch *b, int64_t layer)
{
    run_attention(b, layer);
    run_feed_forward(b, layer);
}

void rc_classify(const rc_batch *b, float *logits)
{
    norm(b, RC_NORM, 0, RC_AT_FINAL_NORM);
    const int kind = b->s->model->config.shared_classifier ? RC_TOK_EMBEDDINGS : RC_OUTPUT;
    const rc_projection output = {kind, RC_KINDS, RC_AT_LOGITS, RC_AT_LOGITS_INT8, logits};
    rc_project(b, b->s->h, 0, 1, &output);
}
