#include "v3_architecture.h"

#include "bytes.h"
#include "status.h"
#include "v3_fields.h"

#include <float.h>
#include <stdbool.h>
#include <stddef.h>

enum {
    NORM_PLACE_AT = 256,
    PLUS_ONE_AT = 260,
    QK_NORM_AT = 264,
    ROTARY_DIM_AT = 268,
    WINDOW_AT = 272,
    POSITIONS_AT = 276,
    EMBEDDING_SCALE_AT = 280,
    SCORE_SCALE_AT = 288,
    RESIDUAL_SCALE_AT = 296,
    LOGIT_DIVISOR_AT = 304,
    SCORE_CAP_AT = 312,
    LOGIT_CAP_AT = 320,
    BETA_AT = 328,
    LOCAL_THETA_AT = 336,
    EXPERTS_AT = 344,
    ACTIVE_AT = 348,
    EXPERT_HIDDEN_AT = 352,
    NORMALIZED_AT = 356,
    PADDING_AT = 360,

    /* of the fixed header */
    HIDDEN_DIM_AT = 12,
    MLP_BIAS_AT = 40,
    HEAD_SIZE_AT = 136,

    MOST_EXPERTS = UINT16_MAX, /* more would exceed the limit on tensors */

    MOST_FACTORS = 1 << 15, /* of longrope */
    FACTOR = 4,             /* bytes of one; zeros up to a multiple of BLOCK follow the last */
    LAYER = 4, /* bytes of an entry of the layer table, which ends at a multiple of BLOCK */
    BLOCK = 64,
    WINDOWED = 1, /* bit of an entry; of its RoPE, which takes two bits, the first one; of its experts */
    ROPE_BIT = 1,
    ROPE_MASK = 3,
    EXPERTS_BIT = 3,
    LARGEST_ENTRY = RC_SECOND_ROPE << ROPE_BIT | WINDOWED, /* without experts */
};

/* A real number that is positive, or 0 in all its bits where the model has none. */
static int read_optional(const uint8_t *head, int64_t at, const char *field, double *value, rc_status *status)
{
    *value = 0.0;
    return rc_load_i64(head + at) ? rc_read_positive(head, at, field, value, status) : RC_OK;
}

static int parse_reals(const uint8_t *head, rc_config *c, rc_status *status)
{
    RC_TRY(rc_read_positive(head, EMBEDDING_SCALE_AT, "embedding_scale", &c->embedding_scale, status));
    RC_TRY(read_optional(head, SCORE_SCALE_AT, "score_scale", &c->score_scale, status));
    RC_TRY(rc_read_positive(head, RESIDUAL_SCALE_AT, "residual_scale", &c->residual_scale, status));
    RC_TRY(rc_read_positive(head, LOGIT_DIVISOR_AT, "logit_divisor", &c->logit_divisor, status));
    RC_TRY(read_optional(head, SCORE_CAP_AT, "score_cap", &c->score_cap, status));
    RC_TRY(read_optional(head, LOGIT_CAP_AT, "logit_cap", &c->logit_cap, status));
    RC_TRY(read_optional(head, BETA_AT, "query_scale_beta", &c->query_scale_beta, status));
    return read_optional(head, LOCAL_THETA_AT, "local_theta", &c->local_theta, status);
}

/* The fields of a mixture of experts, which are zero without one. */
static int parse_experts(const uint8_t *head, rc_config *c, rc_status *status)
{
    RC_TRY(rc_read_u32(head, EXPERTS_AT, "n_experts", 0, MOST_EXPERTS, &c->n_experts, status));
    if (c->n_experts == 1)
        return rc_fail(status, RC_INVALID, "n_experts", EXPERTS_AT, "0 or at least", 2, 1);
    const bool some = c->n_experts > 0;
    RC_TRY(rc_read_u32(head, ACTIVE_AT, "n_active_experts", some, c->n_experts, &c->n_active_experts, status));
    RC_TRY(rc_read_u32(head, EXPERT_HIDDEN_AT, "expert_hidden_dim", some, some ? INT32_MAX : 0,
                       &c->expert_hidden_dim, status));
    RC_TRY(rc_read_u32(head, NORMALIZED_AT, "experts_normalized", 0, some, &c->experts_normalized, status));
    if (some && c->mlp_bias)
        return rc_fail(status, RC_INVALID, "flags", MLP_BIAS_AT, "no bit 3 (experts have no biases), at most", 7,
                       rc_load_i32(head + MLP_BIAS_AT));
    return RC_OK;
}

int rc_v3_parse_architecture(const uint8_t *head, rc_config *c, rc_status *status)
{
    RC_TRY(rc_read_u32(head, NORM_PLACE_AT, "norm_place", 0, RC_NORM_BOTH, &c->norm_place, status));
    RC_TRY(rc_read_u32(head, PLUS_ONE_AT, "norm_plus_one", 0, 1, &c->norm_plus_one, status));
    RC_TRY(rc_read_u32(head, QK_NORM_AT, "qk_norm", 0, RC_QK_WHOLE, &c->qk_norm, status));
    const int64_t most = c->scaling.type == RC_LONGROPE ? 2 * MOST_FACTORS : c->head_dim;
    RC_TRY(rc_read_u32(head, ROTARY_DIM_AT, "rotary_dim", 2, most < c->head_dim ? most : c->head_dim, &c->rotary_dim,
                       status));
    if (c->rotary_dim % 2)
        return rc_fail(status, RC_INVALID, "rotary_dim", ROTARY_DIM_AT, "a multiple of", 2, c->rotary_dim);
    RC_TRY(rc_read_u32(head, WINDOW_AT, "window", 0, INT32_MAX, &c->window, status));
    RC_TRY(parse_reals(head, c, status));
    const bool scaled = c->query_scale_beta > 0.0;
    RC_TRY(rc_read_u32(head, POSITIONS_AT, "query_scale_positions", scaled, scaled ? INT32_MAX : 0,
                       &c->query_scale_positions, status));
    RC_TRY(parse_experts(head, c, status));
    return rc_check_zeros(head, PADDING_AT, RC_V3_LAYERS_AT, "architecture padding", status);
}

/* Where the layer table and its zeros end. */
static int64_t factors_at(const rc_config *config)
{
    return RC_V3_LAYERS_AT + rc_aligned((int64_t)config->n_layers * LAYER, BLOCK);
}

static int64_t factor_count(const rc_config *config)
{
    return config->scaling.type == RC_LONGROPE ? config->rotary_dim / 2 : 0;
}

int64_t rc_v3_table_at(const rc_config *config)
{
    return factors_at(config) + rc_aligned(factor_count(config) * FACTOR, BLOCK);
}

int64_t rc_v3_most_before_table(int32_t layers)
{
    const rc_config most = {.n_layers = layers, .scaling = {.type = RC_LONGROPE}, .rotary_dim = 2 * MOST_FACTORS};
    return rc_v3_table_at(&most);
}

int rc_v3_check_factors(const uint8_t *head, const rc_config *c, rc_status *status)
{
    const int64_t end = factors_at(c) + factor_count(c) * FACTOR;
    for (int64_t at = factors_at(c); at < end; at += FACTOR) {
        const float factor = rc_load_f32(head + at);
        if (!(factor >= FLT_MIN && factor <= FLT_MAX))
            return rc_fail_real(status, "RoPE factor", at, "a positive finite normal number", factor);
    }
    return rc_check_zeros(head, end, rc_v3_table_at(c), "RoPE factor padding", status);
}

bool rc_v3_rope_factor(const rc_model *model, int64_t pair, float *factor)
{
    if (pair < 0 || pair >= factor_count(&model->config))
        return false;
    *factor = rc_load_f32(model->head + factors_at(&model->config) + pair * FACTOR);
    return true;
}

static rc_layer layer_of(int32_t entry)
{
    return (rc_layer){.windowed = entry & WINDOWED,
                      .rope = entry >> ROPE_BIT & ROPE_MASK,
                      .experts = entry >> EXPERTS_BIT & 1};
}

static rc_layer read_layer(const uint8_t *head, int64_t layer)
{
    return layer_of(rc_load_i32(head + RC_V3_LAYERS_AT + layer * LAYER));
}

int rc_v3_count_experts(const uint8_t *head, int64_t available, const rc_config *c, int64_t *layers,
                        rc_status *status)
{
    *layers = 0;
    if (!c->n_experts)
        return RC_OK;
    const int64_t end = factors_at(c);
    if (end > c->file_size)
        return rc_fail(status, RC_INVALID, "file size", -1, "at least", end, c->file_size);
    if (end > available)
        return rc_fail(status, RC_INVALID, "head size", HEAD_SIZE_AT, "at least", end,
                       rc_load_i64(head + HEAD_SIZE_AT));
    for (int64_t layer = 0; layer < c->n_layers; layer++)
        *layers += read_layer(head, layer).experts;
    return RC_OK;
}

int64_t rc_v3_experts_before(const rc_model *model, int64_t layer)
{
    int64_t count = 0;
    for (int64_t before = 0; before < layer && model->config.n_experts; before++)
        count += read_layer(model->head, before).experts;
    return count;
}

static int check_layer(const uint8_t *head, const rc_config *c, int64_t layer, rc_status *status)
{
    const int64_t at = RC_V3_LAYERS_AT + layer * LAYER;
    int32_t entry = 0;
    RC_TRY(rc_read_u32(head, at, "layer", 0, LARGEST_ENTRY | (c->n_experts > 0) << EXPERTS_BIT, &entry, status));
    if (layer_of(entry).rope > RC_SECOND_ROPE)
        return rc_fail(status, RC_INVALID, "RoPE of a layer", at, "at most", RC_SECOND_ROPE, layer_of(entry).rope);
    return RC_OK;
}

int rc_v3_check_layers(const uint8_t *head, const rc_config *c, rc_status *status)
{
    bool windowed = false, local = false, experts = false, all_experts = true;
    for (int64_t layer = 0; layer < c->n_layers; layer++) {
        RC_TRY(check_layer(head, c, layer, status));
        const rc_layer kind = read_layer(head, layer);
        windowed |= kind.windowed;
        local |= kind.rope == RC_SECOND_ROPE;
        experts |= kind.experts;
        all_experts &= kind.experts;
    }
    const int64_t end = RC_V3_LAYERS_AT + (int64_t)c->n_layers * LAYER;
    RC_TRY(rc_check_zeros(head, end, factors_at(c), "layer table padding", status));
    if (windowed != (c->window > 0))
        return rc_fail(status, RC_INVALID, "window", WINDOW_AT, windowed ? "more than" : "exactly", 0, c->window);
    if (local != (c->local_theta > 0.0))
        return rc_fail_real(status, "local_theta", LOCAL_THETA_AT, local ? "more than 0" : "exactly 0",
                            c->local_theta);
    if (!experts && c->n_experts)
        return rc_fail(status, RC_INVALID, "n_experts", EXPERTS_AT, "exactly", 0, c->n_experts);
    if (all_experts && c->hidden_dim != c->expert_hidden_dim)
        return rc_fail(status, RC_INVALID, "hidden_dim", HIDDEN_DIM_AT, "exactly", c->expert_hidden_dim,
                       c->hidden_dim);
    return RC_OK;
}

rc_layer rc_v3_layer(const rc_model *model, int64_t layer)
{
    return read_layer(model->head, layer);
}
