#include "v3_architecture.h"

#include "bytes.h"
#include "status.h"
#include "v3_fields.h"

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
    PADDING_AT = 344,

    LAYER = 4, /* bytes of an entry of the layer table, which ends at a multiple of BLOCK */
    BLOCK = 64,
    WINDOWED = 1, /* bit of an entry, and of its RoPE the first one */
    ROPE_BIT = 1,
    LARGEST_ENTRY = RC_SECOND_ROPE << ROPE_BIT | WINDOWED,
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

int rc_v3_parse_architecture(const uint8_t *head, rc_config *c, rc_status *status)
{
    RC_TRY(rc_read_u32(head, NORM_PLACE_AT, "norm_place", 0, RC_NORM_BOTH, &c->norm_place, status));
    RC_TRY(rc_read_u32(head, PLUS_ONE_AT, "norm_plus_one", 0, 1, &c->norm_plus_one, status));
    RC_TRY(rc_read_u32(head, QK_NORM_AT, "qk_norm", 0, RC_QK_WHOLE, &c->qk_norm, status));
    RC_TRY(rc_read_u32(head, ROTARY_DIM_AT, "rotary_dim", 2, c->head_dim, &c->rotary_dim, status));
    if (c->rotary_dim % 2)
        return rc_fail(status, RC_INVALID, "rotary_dim", ROTARY_DIM_AT, "a multiple of", 2, c->rotary_dim);
    RC_TRY(rc_read_u32(head, WINDOW_AT, "window", 0, INT32_MAX, &c->window, status));
    RC_TRY(parse_reals(head, c, status));
    const bool scaled = c->query_scale_beta > 0.0;
    RC_TRY(rc_read_u32(head, POSITIONS_AT, "query_scale_positions", scaled, scaled ? INT32_MAX : 0,
                       &c->query_scale_positions, status));
    return rc_check_zeros(head, PADDING_AT, RC_V3_LAYERS_AT, "architecture padding", status);
}

int64_t rc_v3_table_at(const rc_config *config)
{
    return RC_V3_LAYERS_AT + rc_aligned((int64_t)config->n_layers * LAYER, BLOCK);
}

static rc_layer layer_of(int32_t entry)
{
    return (rc_layer){.windowed = entry & WINDOWED, .rope = entry >> ROPE_BIT};
}

int rc_v3_check_layers(const uint8_t *head, const rc_config *c, rc_status *status)
{
    bool windowed = false, local = false;
    const int64_t end = RC_V3_LAYERS_AT + (int64_t)c->n_layers * LAYER;
    for (int64_t at = RC_V3_LAYERS_AT; at < end; at += LAYER) {
        int32_t entry = 0;
        RC_TRY(rc_read_u32(head, at, "layer", 0, LARGEST_ENTRY, &entry, status));
        windowed |= layer_of(entry).windowed;
        local |= layer_of(entry).rope == RC_SECOND_ROPE;
    }
    RC_TRY(rc_check_zeros(head, end, rc_v3_table_at(c), "layer table padding", status));
    if (windowed != (c->window > 0))
        return rc_fail(status, RC_INVALID, "window", WINDOW_AT, windowed ? "more than" : "exactly", 0, c->window);
    if (local != (c->local_theta > 0.0))
        return rc_fail_real(status, "local_theta", LOCAL_THETA_AT, local ? "more than 0" : "exactly 0",
                            c->local_theta);
    return RC_OK;
}

rc_layer rc_v3_layer(const rc_model *model, int64_t layer)
{
    return layer_of(rc_load_i32(model->head + RC_V3_LAYERS_AT + layer * LAYER));
}
