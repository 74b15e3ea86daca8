#include "trace.h"

#include "matrix.h"
#include "shape.h"

#include <stdbool.h>
#include <string.h>

/* The matrix for which a point has int8 activations; RC_KINDS where it has none. */
static int product_of(const rc_model *model, int point)
{
    switch (point) {
    case RC_AT_Q_INT8: return RC_WQ;
    case RC_AT_K_INT8: return RC_WK;
    case RC_AT_V_INT8: return RC_WV;
    case RC_AT_WO_INT8: return RC_WO;
    case RC_AT_GATE_INT8: return RC_W1;
    case RC_AT_UP_INT8: return RC_W3;
    case RC_AT_DOWN_INT8: return RC_W2;
    case RC_AT_EXPERT_GATE_INT8: return RC_EXPERT_W1;
    case RC_AT_EXPERT_UP_INT8: return RC_EXPERT_W3;
    case RC_AT_EXPERT_DOWN_INT8: return RC_EXPERT_W2;
    case RC_AT_LOGITS_INT8: return model->config.shared_classifier ? RC_TOK_EMBEDDINGS : RC_OUTPUT;
    default: return RC_KINDS;
    }
}

/* Whether the model's layer takes the step of a point that not every model has. */
static bool has_step(const rc_model *model, int point, int64_t layer)
{
    const rc_config *p = &model->config;
    rc_layer kind;
    rc_model_layer(model, layer, &kind);
    switch (point) {
    case RC_AT_COSINE:
    case RC_AT_SINE:
    case RC_AT_Q_ROTATED:
    case RC_AT_K_ROTATED: return kind.rope != RC_NO_ROPE;
    case RC_AT_Q_NORMED:
    case RC_AT_K_NORMED: return p->qk_norm != RC_QK_PLAIN;
    case RC_AT_Q_SCALED: return p->query_scale_beta > 0.0;
    case RC_AT_SCORES_RAW: return p->score_cap > 0.0;
    case RC_AT_ATTENTION_NORM:
    case RC_AT_FFN_NORM: return p->norm_place != RC_NORM_AFTER;
    case RC_AT_ATTENTION_POST_NORM:
    case RC_AT_FFN_POST_NORM: return p->norm_place != RC_NORM_BEFORE;
    case RC_AT_GATE:
    case RC_AT_UP:
    case RC_AT_GATED: return !kind.experts;
    case RC_AT_ROUTER:
    case RC_AT_ROUTED:
    case RC_AT_EXPERT_GATE:
    case RC_AT_EXPERT_UP:
    case RC_AT_EXPERT_GATED:
    case RC_AT_EXPERT_DOWN: return kind.experts;
    case RC_AT_CLASSIFIED: return rc_changes_logits(p);
    default: return true;
    }
}

/* Elements at a point before those of int8 activations, in a model that takes its step. */
static int64_t width_of(const rc_config *p, int point, int64_t seen)
{
    switch (point) {
    case RC_AT_COSINE:
    case RC_AT_SINE: return p->rotary_dim / 2;
    case RC_AT_Q:
    case RC_AT_Q_NORMED:
    case RC_AT_Q_ROTATED:
    case RC_AT_Q_SCALED:
    case RC_AT_ATTENDED: return (int64_t)p->n_heads * p->head_dim;
    case RC_AT_K:
    case RC_AT_K_NORMED:
    case RC_AT_K_ROTATED:
    case RC_AT_V: return (int64_t)p->n_kv_heads * p->head_dim;
    case RC_AT_SCORES_RAW:
    case RC_AT_SCORES:
    case RC_AT_SHARES: return p->n_heads * seen;
    case RC_AT_GATE:
    case RC_AT_UP:
    case RC_AT_GATED: return p->hidden_dim;
    case RC_AT_ROUTER:
    case RC_AT_ROUTED: return p->n_experts;
    case RC_AT_EXPERT_GATE:
    case RC_AT_EXPERT_UP:
    case RC_AT_EXPERT_GATED: return (int64_t)p->n_active_experts * p->expert_hidden_dim;
    case RC_AT_EXPERT_DOWN: return (int64_t)p->n_active_experts * p->dim;
    case RC_AT_CLASSIFIED:
    case RC_AT_LOGITS: return p->vocab_size;
    default: return point < 0 ? 0 : p->dim;
    }
}

int64_t rc_trace_width(const rc_model *model, int point, int64_t layer, int64_t seen)
{
    if (point < RC_AT_Q_INT8)
        return has_step(model, point, layer) ? width_of(&model->config, point, seen) : 0;
    const bool scales = point >= RC_AT_Q_SCALE;
    const int kind = product_of(model, scales ? point - RC_AT_Q_SCALE + RC_AT_Q_INT8 : point);
    const rc_matrix w = kind == RC_KINDS ? (rc_matrix){.storage = RC_ABSENT} : rc_matrix_of(model, kind, layer);
    if (w.storage != RC_Q8)
        return 0;
    const int64_t slots = rc_shape_of(&model->config, kind).of_expert ? model->config.n_active_experts : 1;
    return slots * (scales ? w.cols / w.group_size : w.cols);
}

/* Bytes of one token at a point. */
static int64_t bytes_at(const rc_trace *trace, int point, int64_t layer)
{
    const bool is_int8 = point >= RC_AT_Q_INT8 && point < RC_AT_Q_SCALE;
    return rc_trace_width(trace->model, point, layer, trace->seen) * (is_int8 ? 1 : 4);
}

void rc_record(const rc_trace *trace, int point, int64_t layer, const void *from, int64_t n)
{
    if (!trace->at || !trace->at[point])
        return;
    const int64_t width = bytes_at(trace, point, layer);
    memcpy((uint8_t *)trace->at[point] + trace->token * width, from, (size_t)(n * width));
}

void rc_record_slots(const rc_trace *trace, int point, int64_t layer, const rc_pair_of_token *pairs, const void *from,
                     int64_t count)
{
    if (!trace->at || !trace->at[point])
        return;
    const int64_t slots = trace->model->config.n_active_experts, width = bytes_at(trace, point, layer) / slots;
    for (int64_t i = 0; i < count; i++) {
        const int64_t at = (trace->token + pairs[i].token) * slots + pairs[i].slot;
        memcpy((uint8_t *)trace->at[point] + at * width, (const uint8_t *)from + i * width, (size_t)width);
    }
}

void rc_record_attention(const rc_trace *trace, int point, int64_t token, int64_t head, const float *from,
                         int64_t first, int64_t count)
{
    if (!trace->at || !trace->at[point])
        return;
    const int64_t row = (trace->token + token) * trace->model->config.n_heads + head;
    float *to = (float *)trace->at[point] + row * trace->seen;
    memset(to, 0, (size_t)first * sizeof *to);
    memcpy(to + first, from, (size_t)count * sizeof *to);
    memset(to + first + count, 0, (size_t)(trace->seen - first - count) * sizeof *to);
}
