#include "shape.h"

#include "bytes.h"
#include "status.h"

enum { COUNTS = 7 };

int rc_parse_shape(const uint8_t *bytes, int64_t at, rc_config *config, rc_status *status)
{
    static const char *const names[COUNTS] = {"dim",        "hidden_dim", "n_layers",   "n_heads",
                                              "n_kv_heads", "vocab_size", "max_seq_len"};
    int32_t *const fields[COUNTS] = {&config->dim,        &config->hidden_dim, &config->n_layers,   &config->n_heads,
                                     &config->n_kv_heads, &config->vocab_size, &config->max_seq_len};
    for (int i = 0; i < COUNTS; i++) {
        const int64_t offset = at + 4 * i;
        int32_t value = rc_load_i32(bytes + offset);
        if (config->format == RC_V0 && fields[i] == &config->vocab_size) {
            /* v0 says "not shared" by a negative vocabulary; INT_MIN has no positive counterpart. */
            if (value == INT32_MIN)
                return rc_fail(status, RC_INVALID, names[i], offset, "at least", -(int64_t)INT32_MAX, value);
            config->shared_classifier = value > 0;
            value = value < 0 ? -value : value;
        }
        if (value < 1)
            return rc_fail(status, RC_INVALID, names[i], offset, "at least", 1, value);
        *fields[i] = value;
    }
    return RC_OK;
}

int rc_check_kv_heads(int64_t at, const rc_config *config, rc_status *status)
{
    if (config->n_heads % config->n_kv_heads)
        return rc_fail(status, RC_INVALID, "n_kv_heads", at, "a divisor of", config->n_heads, config->n_kv_heads);
    return RC_OK;
}

/* ---- names and shapes ---- */

enum size { ONE, DIM, HIDDEN, QUERIES, KEYS, Q_NORMED, K_NORMED, EXPERTS, EXPERT_HIDDEN, VOCABULARY, POSITIONS, PAIRS };

static const struct {
    const char *name;
    bool in_layers;
    enum size rows, cols; /* a vector is one row */
} TENSORS[RC_KINDS] = {
    [RC_TOK_EMBEDDINGS] = {"tok_embeddings.weight", false, VOCABULARY, DIM},
    [RC_ATTENTION_NORM] = {"attention_norm.weight", true, ONE, DIM},
    [RC_WQ] = {"attention.wq.weight", true, QUERIES, DIM},
    [RC_WQ_BIAS] = {"attention.wq.bias", true, ONE, QUERIES},
    [RC_WK] = {"attention.wk.weight", true, KEYS, DIM},
    [RC_WK_BIAS] = {"attention.wk.bias", true, ONE, KEYS},
    [RC_WV] = {"attention.wv.weight", true, KEYS, DIM},
    [RC_WV_BIAS] = {"attention.wv.bias", true, ONE, KEYS},
    [RC_Q_NORM] = {"attention.q_norm.weight", true, ONE, Q_NORMED},
    [RC_K_NORM] = {"attention.k_norm.weight", true, ONE, K_NORMED},
    [RC_WO] = {"attention.wo.weight", true, DIM, QUERIES},
    [RC_WO_BIAS] = {"attention.wo.bias", true, ONE, DIM},
    [RC_ATTENTION_POST_NORM] = {"attention_post_norm.weight", true, ONE, DIM},
    [RC_FFN_NORM] = {"ffn_norm.weight", true, ONE, DIM},
    [RC_W1] = {"feed_forward.w1.weight", true, HIDDEN, DIM},
    [RC_W1_BIAS] = {"feed_forward.w1.bias", true, ONE, HIDDEN},
    [RC_W2] = {"feed_forward.w2.weight", true, DIM, HIDDEN},
    [RC_W2_BIAS] = {"feed_forward.w2.bias", true, ONE, DIM},
    [RC_W3] = {"feed_forward.w3.weight", true, HIDDEN, DIM},
    [RC_W3_BIAS] = {"feed_forward.w3.bias", true, ONE, HIDDEN},
    [RC_ROUTER] = {"feed_forward.router.weight", true, EXPERTS, DIM},
    [RC_EXPERT_W1] = {"w1.weight", true, EXPERT_HIDDEN, DIM},
    [RC_EXPERT_W2] = {"w2.weight", true, DIM, EXPERT_HIDDEN},
    [RC_EXPERT_W3] = {"w3.weight", true, EXPERT_HIDDEN, DIM},
    [RC_FFN_POST_NORM] = {"ffn_post_norm.weight", true, ONE, DIM},
    [RC_NORM] = {"norm.weight", false, ONE, DIM},
    [RC_FREQS_COS] = {"freqs_cos", false, POSITIONS, PAIRS},
    [RC_FREQS_SIN] = {"freqs_sin", false, POSITIONS, PAIRS},
    [RC_OUTPUT] = {"output.weight", false, VOCABULARY, DIM},
};

static int64_t number_of(const rc_config *c, enum size size)
{
    const bool by_head = c->qk_norm == RC_QK_BY_HEAD;
    switch (size) {
    case DIM: return c->dim;
    case HIDDEN: return c->hidden_dim;
    case QUERIES: return (int64_t)c->n_heads * c->head_dim;
    case KEYS: return (int64_t)c->n_kv_heads * c->head_dim;
    case Q_NORMED: return by_head ? c->head_dim : number_of(c, QUERIES);
    case K_NORMED: return by_head ? c->head_dim : number_of(c, KEYS);
    case EXPERTS: return c->n_experts;
    case EXPERT_HIDDEN: return c->expert_hidden_dim;
    case VOCABULARY: return c->vocab_size;
    case POSITIONS: return c->max_seq_len;
    case PAIRS: return c->head_dim / 2;
    case ONE: break;
    }
    return 1;
}

void rc_set_llama(rc_config *config)
{
    config->norm_place = RC_NORM_BEFORE;
    config->qk_norm = RC_QK_PLAIN;
    config->rotary_dim = config->head_dim;
    config->embedding_scale = config->residual_scale = config->logit_divisor = 1.0;
}

rc_shape rc_shape_of(const rc_config *config, int kind)
{
    return (rc_shape){.name = TENSORS[kind].name,
                      .in_layers = TENSORS[kind].in_layers,
                      .of_expert = kind >= RC_EXPERT_W1 && kind <= RC_EXPERT_W3,
                      .is_vector = TENSORS[kind].rows == ONE,
                      .rows = number_of(config, TENSORS[kind].rows),
                      .cols = number_of(config, TENSORS[kind].cols)};
}

bool rc_has_tensor(const rc_config *config, int kind, bool experts)
{
    switch (kind) {
    case RC_WQ_BIAS:
    case RC_WK_BIAS:
    case RC_WV_BIAS: return config->qkv_bias;
    case RC_WO_BIAS: return config->wo_bias;
    case RC_Q_NORM:
    case RC_K_NORM: return config->qk_norm != RC_QK_PLAIN;
    case RC_ATTENTION_NORM:
    case RC_FFN_NORM: return config->norm_place != RC_NORM_AFTER;
    case RC_ATTENTION_POST_NORM:
    case RC_FFN_POST_NORM: return config->norm_place != RC_NORM_BEFORE;
    case RC_W1:
    case RC_W2:
    case RC_W3: return !experts;
    case RC_W1_BIAS:
    case RC_W2_BIAS:
    case RC_W3_BIAS: return config->mlp_bias && !experts;
    case RC_ROUTER:
    case RC_EXPERT_W1:
    case RC_EXPERT_W2:
    case RC_EXPERT_W3: return experts;
    case RC_FREQS_COS:
    case RC_FREQS_SIN: return config->format == RC_V0;
    case RC_OUTPUT: return !config->shared_classifier;
    default: return true;
    }
}

bool rc_changes_logits(const rc_config *config)
{
    return (float)config->logit_divisor != 1.0f || config->logit_cap > 0.0;
}
