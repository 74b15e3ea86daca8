/* From the bytes of a header to a checked table of tensors. The payload is never looked at here. */
#include "model.h"

#include <limits.h>

enum {
    LEGACY_HEADER = 28,
    SHAPE_FIELDS = 7,
    FLAG_AT = 36,
    GROUP_AT = 37,
    PADDING_AT = 41,
};

/* ---- the seven shape fields, and the rules between them ---- */

int rc_parse_shape(const uint8_t *bytes, int64_t at, rc_config *config, rc_status *status)
{
    static const char *const names[SHAPE_FIELDS] = {"dim",        "hidden_dim", "n_layers",   "n_heads",
                                                    "n_kv_heads", "vocab_size", "max_seq_len"};
    int32_t *const fields[SHAPE_FIELDS] = {&config->dim,        &config->hidden_dim, &config->n_layers,
                                           &config->n_heads,    &config->n_kv_heads, &config->vocab_size,
                                           &config->max_seq_len};
    for (int i = 0; i < SHAPE_FIELDS; i++) {
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

/* v0 to v2 have no field for the head size. */
static int divide_heads(int64_t at, rc_config *config, rc_status *status)
{
    if (config->dim % config->n_heads)
        return rc_fail(status, RC_INVALID, "n_heads", at + 12, "a divisor of", config->dim, config->n_heads);
    config->head_dim = config->dim / config->n_heads;
    if (config->head_dim % 2)
        return rc_fail(status, RC_INVALID, "head size (dim / n_heads)", at, "a multiple of", 2, config->head_dim);
    return rc_check_kv_heads(at + 16, config, status);
}

static int parse_legacy(const uint8_t *bytes, rc_config *config, rc_status *status)
{
    config->format = RC_V0;
    const int code = rc_parse_shape(bytes, 0, config, status);
    return code ? code : divide_heads(0, config, status);
}

static int parse_versioned(const uint8_t *bytes, rc_config *config, rc_status *status)
{
    const int32_t version = rc_load_i32(bytes + 4);
    if (version < 1)
        return rc_fail(status, RC_INVALID, "version", 4, "at least", 1, version);
    if (version > 2)
        return rc_fail(status, RC_INVALID, "version", 4, "at most", 3, version);
    config->format = version == 1 ? RC_V1 : RC_V2;

    int code = rc_parse_shape(bytes, 8, config, status);
    if (!code)
        code = divide_heads(8, config, status);
    if (code)
        return code;
    if (bytes[FLAG_AT] > 1)
        return rc_fail(status, RC_INVALID, "shared_classifier", FLAG_AT, "at most", 1, bytes[FLAG_AT]);
    config->shared_classifier = bytes[FLAG_AT];

    const int32_t group = rc_load_i32(bytes + GROUP_AT);
    const int32_t least = version == 1 ? 0 : 1;
    if (group < least)
        return rc_fail(status, RC_INVALID, "group_size", GROUP_AT, "at least", least, group);
    if (group > RC_LARGEST_GROUP)
        return rc_fail(status, RC_INVALID, "group_size", GROUP_AT, "at most", RC_LARGEST_GROUP, group);
    if (group && config->dim % group)
        return rc_fail(status, RC_INVALID, "group_size", GROUP_AT, "a divisor of dim =", config->dim, group);
    if (group && config->hidden_dim % group)
        return rc_fail(status, RC_INVALID, "group_size", GROUP_AT, "a divisor of hidden_dim =", config->hidden_dim,
                       group);
    config->group_size = group;
    if (group == 0)
        config->format = RC_V1_FP32;

    for (int64_t i = PADDING_AT; i < RC_HEADER; i++)
        if (bytes[i])
            return rc_fail(status, RC_INVALID, "header padding", i, "exactly", 0, bytes[i]);
    return RC_OK;
}

/* ---- the payload, kind after kind ---- */

typedef struct {
    rc_stack *stacks;
    int64_t at;         /* first byte not yet given to a tensor */
    int64_t group_size; /* of Q8_0 tensors */
    bool overflow;      /* an offset left int64: no file is that long */
} cursor;

static int64_t multiply(cursor *c, int64_t a, int64_t b)
{
    int64_t product = 0;
    c->overflow |= __builtin_mul_overflow(a, b, &product);
    return product;
}

static void advance(cursor *c, int64_t bytes)
{
    c->overflow |= __builtin_add_overflow(c->at, bytes, &c->at);
}

static rc_stack *describe(cursor *c, int kind, int storage, int64_t layers, int64_t rows, int64_t cols)
{
    rc_stack *tensor = &c->stacks[kind];
    *tensor = (rc_stack){.storage = storage, .layers = layers, .rows = rows, .cols = cols};
    return tensor;
}

static void take_fp32(cursor *c, int kind, int64_t layers, int64_t rows, int64_t cols)
{
    rc_stack *tensor = describe(c, kind, RC_FP32, layers, rows, cols);
    tensor->offset = c->at;
    tensor->stride = multiply(c, multiply(c, rows, cols), 4);
    advance(c, multiply(c, tensor->stride, layers));
}

/* v2: each tensor's int8, and its scales right behind it. */
static void take_interleaved(cursor *c, int kind, int64_t layers, int64_t rows, int64_t cols)
{
    rc_stack *tensor = describe(c, kind, RC_Q8, layers, rows, cols);
    const int64_t values = multiply(c, rows, cols);
    const int64_t scales = multiply(c, values / c->group_size, 4);
    int64_t stride = values;
    c->overflow |= __builtin_add_overflow(values, scales, &stride);
    tensor->offset = c->at;
    tensor->stride = tensor->scale_stride = stride;
    c->overflow |= __builtin_add_overflow(c->at, values, &tensor->scale_offset);
    advance(c, multiply(c, stride, layers));
}

/* v1: the int8 of all tensors, and later their scales in the same order. */
static void take_int8(cursor *c, int kind, int64_t layers, int64_t rows, int64_t cols)
{
    rc_stack *tensor = describe(c, kind, RC_Q8, layers, rows, cols);
    tensor->offset = c->at;
    tensor->stride = multiply(c, rows, cols);
    advance(c, multiply(c, tensor->stride, layers));
}

static void take_scales(cursor *c, int kind, int64_t layers, int64_t rows, int64_t cols)
{
    rc_stack *tensor = &c->stacks[kind];
    tensor->scale_offset = c->at;
    tensor->scale_stride = multiply(c, multiply(c, rows, cols) / c->group_size, 4);
    advance(c, multiply(c, tensor->scale_stride, layers));
}

typedef void take_function(cursor *, int kind, int64_t layers, int64_t rows, int64_t cols);

static void take_matrices(cursor *c, const rc_config *p, take_function *take)
{
    const int64_t kv_dim = (int64_t)p->head_dim * p->n_kv_heads;
    take(c, RC_TOK_EMBEDDINGS, 1, p->vocab_size, p->dim);
    take(c, RC_WQ, p->n_layers, p->dim, p->dim);
    take(c, RC_WK, p->n_layers, kv_dim, p->dim);
    take(c, RC_WV, p->n_layers, kv_dim, p->dim);
    take(c, RC_WO, p->n_layers, p->dim, p->dim);
    take(c, RC_W1, p->n_layers, p->hidden_dim, p->dim);
    take(c, RC_W2, p->n_layers, p->dim, p->hidden_dim);
    take(c, RC_W3, p->n_layers, p->hidden_dim, p->dim);
    if (!p->shared_classifier)
        take(c, RC_OUTPUT, 1, p->vocab_size, p->dim);
}

static void lay_out_v0(cursor *c, const rc_config *p)
{
    const int64_t kv_dim = (int64_t)p->head_dim * p->n_kv_heads;
    take_fp32(c, RC_TOK_EMBEDDINGS, 1, p->vocab_size, p->dim);
    take_fp32(c, RC_ATTENTION_NORM, p->n_layers, 1, p->dim);
    take_fp32(c, RC_WQ, p->n_layers, p->dim, p->dim);
    take_fp32(c, RC_WK, p->n_layers, kv_dim, p->dim);
    take_fp32(c, RC_WV, p->n_layers, kv_dim, p->dim);
    take_fp32(c, RC_WO, p->n_layers, p->dim, p->dim);
    take_fp32(c, RC_FFN_NORM, p->n_layers, 1, p->dim);
    take_fp32(c, RC_W1, p->n_layers, p->hidden_dim, p->dim);
    take_fp32(c, RC_W2, p->n_layers, p->dim, p->hidden_dim);
    take_fp32(c, RC_W3, p->n_layers, p->hidden_dim, p->dim);
    take_fp32(c, RC_NORM, 1, 1, p->dim);
    take_fp32(c, RC_FREQS_COS, 1, p->max_seq_len, p->head_dim / 2);
    take_fp32(c, RC_FREQS_SIN, 1, p->max_seq_len, p->head_dim / 2);
    if (!p->shared_classifier)
        take_fp32(c, RC_OUTPUT, 1, p->vocab_size, p->dim);
}

static void lay_out_versioned(cursor *c, const rc_config *p)
{
    take_fp32(c, RC_ATTENTION_NORM, p->n_layers, 1, p->dim);
    take_fp32(c, RC_FFN_NORM, p->n_layers, 1, p->dim);
    take_fp32(c, RC_NORM, 1, 1, p->dim);
    if (p->format == RC_V1_FP32) {
        take_matrices(c, p, take_fp32);
    } else if (p->format == RC_V2) {
        take_matrices(c, p, take_interleaved);
    } else {
        take_matrices(c, p, take_int8);
        take_matrices(c, p, take_scales);
    }
}

int64_t rc_head_bytes(const uint8_t *start, int64_t size)
{
    const int64_t least = size < RC_HEADER ? size : RC_HEADER;
    const bool is_v3 = least == RC_HEADER && rc_load_i32(start) == RC_MAGIC && rc_load_i32(start + 4) == 3;
    return is_v3 ? rc_v3_head_bytes(start, size) : least;
}

int rc_parse(const uint8_t *bytes, int64_t size, rc_model *model, rc_status *status)
{
    rc_config *config = &model->config;
    /* run.c's and runq.c's own constants, which v3 alone can change */
    *config = (rc_config){.file_size = size, .norm_eps = 1e-5, .rope_theta = 10000.0};
    if (size < LEGACY_HEADER)
        return rc_fail(status, RC_INVALID, "file size", -1, "at least", LEGACY_HEADER, size);

    const bool versioned = rc_load_i32(bytes) == RC_MAGIC;
    if (versioned && size < RC_HEADER)
        return rc_fail(status, RC_INVALID, "file size", -1, "at least", RC_HEADER, size);
    if (versioned && rc_load_i32(bytes + 4) == 3)
        return rc_parse_v3(bytes, size, model, status);
    const int code = versioned ? parse_versioned(bytes, config, status) : parse_legacy(bytes, config, status);
    if (code)
        return code;

    config->head_size = versioned ? RC_HEADER : LEGACY_HEADER;
    cursor c = {.stacks = model->stacks, .at = config->head_size, .group_size = config->group_size};
    if (versioned)
        lay_out_versioned(&c, config);
    else
        lay_out_v0(&c, config);
    if (c.overflow)
        return rc_fail(status, RC_INVALID, "file size", -1, "at least", INT64_MAX, size);
    if (c.at != size)
        return rc_fail(status, RC_INVALID, "file size", -1, "exactly", c.at, size);
    return RC_OK;
}
