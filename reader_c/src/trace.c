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
    return scales ? w.cols / w.group_size : w.cols;
}

void rc_record(const rc_trace *trace, int point, int64_t layer, const void *from, int64_t n)
{
    if (!trace->at || !trace->at[point])
        return;
    const bool is_int8 = point >= RC_AT_Q_INT8 && point < RC_AT_Q_SCALE;
    const int64_t width = rc_trace_width(trace->model, point, layer, trace->seen) * (is_int8 ? 1 : 4);
    memcpy((uint8_t *)trace->at[point] + trace->token * width, from, (size_t)(n * width));
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
