#include "ajc1.h"

#include "bytes.h"
#include "layout.h"
#include "shape.h"
#include "status.h"

enum {
    VERSION_AT = 4,
    SHAPE_AT = 8,
    N_KV_HEADS_AT = 24,
    HEAD_DIM_AT = 36,
    FLAG_AT = 40,
    GROUP_AT = 44,
    PADDING_AT = 48,
};

static int parse_heads(const uint8_t *head, rc_config *config, rc_status *status)
{
    const int32_t size = rc_load_i32(head + HEAD_DIM_AT), most = INT32_MAX / config->n_heads;
    RC_TRY(rc_check_kv_heads(N_KV_HEADS_AT, config, status));
    if (size < 1)
        return rc_fail(status, RC_INVALID, "head_dim", HEAD_DIM_AT, "at least", 1, size);
    if (size > most)
        return rc_fail(status, RC_INVALID, "head_dim", HEAD_DIM_AT, "at most", most, size);
    if (size % 2)
        return rc_fail(status, RC_INVALID, "head_dim", HEAD_DIM_AT, "a multiple of", 2, size);
    /* its rooms for a token hold all heads, and no more */
    if (size * config->n_heads < config->dim)
        return rc_fail(status, RC_INVALID, "n_heads * head_dim", HEAD_DIM_AT, "at least dim =", config->dim,
                       (int64_t)size * config->n_heads);
    config->head_dim = size;
    return RC_OK;
}

/* A group that straddles two rows of a matrix has one scale for both, and the reader drops the end of each row. */
static int parse_group_size(const uint8_t *head, rc_config *config, rc_status *status)
{
    const int32_t group = rc_load_i32(head + GROUP_AT), queries = config->n_heads * config->head_dim;
    if (group < 1)
        return rc_fail(status, RC_INVALID, "group_size", GROUP_AT, "at least", 1, group);
    if (group > RC_LARGEST_GROUP)
        return rc_fail(status, RC_INVALID, "group_size", GROUP_AT, "at most", RC_LARGEST_GROUP, group);
    if (config->dim % group)
        return rc_fail(status, RC_INVALID, "group_size", GROUP_AT, "a divisor of dim =", config->dim, group);
    if (queries % group)
        return rc_fail(status, RC_INVALID, "group_size", GROUP_AT, "a divisor of n_heads * head_dim =", queries,
                       group);
    if (config->hidden_dim % group)
        return rc_fail(status, RC_INVALID, "group_size", GROUP_AT, "a divisor of hidden_dim =", config->hidden_dim,
                       group);
    config->group_size = group;
    return RC_OK;
}

int rc_parse_ajc1(const uint8_t *head, int64_t size, rc_model *model, rc_status *status)
{
    rc_config *config = &model->config;
    const int32_t version = rc_load_i32(head + VERSION_AT), flag = rc_load_i32(head + FLAG_AT);
    /* the constants of qwen3.c's reader: its header has no field for them */
    *config = (rc_config){.format = RC_AJC1, .norm_eps = 1e-6, .rope_theta = 1e6, .file_size = size};
    if (version != 1)
        return rc_fail(status, RC_INVALID, "version", VERSION_AT, "exactly", 1, version);
    RC_TRY(rc_parse_shape(head, SHAPE_AT, config, status));
    RC_TRY(parse_heads(head, config, status));
    if (flag < 0 || flag > 1)
        return rc_fail(status, RC_INVALID, "shared_classifier", FLAG_AT, flag < 0 ? "at least" : "at most", flag > 0,
                       flag);
    config->shared_classifier = flag;
    RC_TRY(parse_group_size(head, config, status));
    for (int64_t i = PADDING_AT; i < RC_HEADER; i++)
        if (head[i])
            return rc_fail(status, RC_INVALID, "header padding", i, "exactly", 0, head[i]);
    rc_set_llama(config);
    config->qk_norm = RC_QK_BY_HEAD;
    return rc_lay_out(model, RC_HEADER, status);
}
