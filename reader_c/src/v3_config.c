#include "v3_config.h"

#include "shape.h"
#include "status.h"
#include "v3_fields.h"

#include <stddef.h>

enum {
    SHAPE_AT = 8,
    HEAD_DIM_AT = 36,
    FLAGS_AT = 40,
    GATE_AT = 44,
    EPS_AT = 48,
    THETA_AT = 56,
    SCALING_AT = 64,
    ORIGINAL_AT = 68,
    FACTOR_AT = 72,
    LOW_AT = 80,
    HIGH_AT = 88,
    FAST_AT = 96,
    SLOW_AT = 104,
    ATTENTION_AT = 112,
    TRUNCATE_AT = 120,
};

/* Each real number of RoPE scaling: read where the type has it, else zero in the file. */
static int parse_scaling_reals(const uint8_t *head, rc_rope_scaling *s, rc_status *status)
{
    enum { LINEAR = 1 << RC_LINEAR, DYNAMIC = 1 << RC_DYNAMIC, LLAMA3 = 1 << RC_LLAMA3, YARN = 1 << RC_YARN,
           LONGROPE = 1 << RC_LONGROPE };
    const struct {
        const char *field;
        double *value;
        int at;
        int types; /* that have it */
    } reals[] = {
        {"rope_scaling factor", &s->factor, FACTOR_AT, LINEAR | DYNAMIC | LLAMA3 | YARN},
        {"rope_scaling low_freq_factor", &s->low_freq_factor, LOW_AT, LLAMA3},
        {"rope_scaling high_freq_factor", &s->high_freq_factor, HIGH_AT, LLAMA3},
        {"rope_scaling beta_fast", &s->beta_fast, FAST_AT, YARN},
        {"rope_scaling beta_slow", &s->beta_slow, SLOW_AT, YARN},
        {"rope_scaling attention_factor", &s->attention_factor, ATTENTION_AT, YARN | LONGROPE},
    };
    for (size_t i = 0; i < sizeof reals / sizeof *reals; i++) {
        if (reals[i].types & 1 << s->type)
            RC_TRY(rc_read_positive(head, reals[i].at, reals[i].field, reals[i].value, status));
        else
            RC_TRY(rc_read_exactly(head, reals[i].at, reals[i].field, 0, status));
    }
    return RC_OK;
}

static int parse_scaling(const uint8_t *head, const rc_config *config, rc_rope_scaling *s, rc_status *status)
{
    RC_TRY(rc_read_u32(head, SCALING_AT, "rope_scaling type", 0, RC_LONGROPE, &s->type, status));
    const bool bounded = s->type != RC_UNSCALED && s->type != RC_LINEAR;
    RC_TRY(rc_read_u32(head, ORIGINAL_AT, "rope_scaling original_max_positions", bounded, bounded ? INT32_MAX : 0,
                       &s->original_max_positions, status));
    RC_TRY(parse_scaling_reals(head, s, status));
    RC_TRY(rc_read_u32(head, TRUNCATE_AT, "rope_scaling truncate", 0, s->type == RC_YARN, &s->truncate, status));
    if (s->type == RC_LLAMA3 && !(s->low_freq_factor < s->high_freq_factor))
        return rc_fail_real(status, "rope_scaling high_freq_factor", HIGH_AT, "more than low_freq_factor",
                            s->high_freq_factor);
    if (s->type == RC_YARN && config->rope_theta == 1.0)
        return rc_fail_real(status, "rope_theta", THETA_AT, "other than 1, whose logarithm yarn divides by", 1.0);
    if ((s->type == RC_DYNAMIC || s->type == RC_LONGROPE) && config->max_seq_len > s->original_max_positions)
        return rc_fail(status, RC_INVALID, "max_seq_len", SHAPE_AT + 24, "at most original_max_positions =",
                       s->original_max_positions, config->max_seq_len);
    return RC_OK;
}

int rc_v3_parse_config(const uint8_t *head, rc_config *c, rc_status *status)
{
    RC_TRY(rc_parse_shape(head, SHAPE_AT, c, status));
    RC_TRY(rc_check_kv_heads(SHAPE_AT + 16, c, status));
    RC_TRY(rc_read_u32(head, HEAD_DIM_AT, "head_dim", 1, INT32_MAX / c->n_heads, &c->head_dim, status));
    if (c->head_dim % 2)
        return rc_fail(status, RC_INVALID, "head_dim", HEAD_DIM_AT, "a multiple of", 2, c->head_dim);
    int32_t flags = 0;
    RC_TRY(rc_read_u32(head, FLAGS_AT, "flags", 0, 15, &flags, status));
    c->shared_classifier = flags & 1;
    c->qkv_bias = flags >> 1 & 1;
    c->wo_bias = flags >> 2 & 1;
    c->mlp_bias = flags >> 3 & 1;
    RC_TRY(rc_read_u32(head, GATE_AT, "activation", 0, RC_GELU_TANH, &c->gate, status));
    RC_TRY(rc_read_positive(head, EPS_AT, "norm_eps", &c->norm_eps, status));
    RC_TRY(rc_read_positive(head, THETA_AT, "rope_theta", &c->rope_theta, status));
    return parse_scaling(head, c, &c->scaling, status);
}
