#include "layout.h"

#include "bytes.h"
#include "shape.h"
#include "status.h"

enum {
    VERSION_AT = 4,
    SHAPE_AT = 8,
    FLAG_AT = 36,
    GROUP_AT = 37,
    PADDING_AT = 41,
};

/* ---- the header ---- */

/* v0 to v2 have no field for the head size. */
static int divide_heads(int64_t at, rc_config *config, rc_status *status)
{
    if (config->dim % config->n_heads)
        return rc_fail(status, RC_INVALID, "n_heads", at + 12, "a divisor of", config->dim, config->n_heads);
    config->head_dim = config->dim / config->n_heads;
    if (config->head_dim % 2)
        return rc_fail(status, RC_INVALID, "head size (dim / n_heads)", at, "a multiple of", 2, config->head_dim);
    rc_set_llama(config);
    return rc_check_kv_heads(at + 16, config, status);
}

static int parse_group_size(const uint8_t *bytes, int32_t least, rc_config *config, rc_status *status)
{
    const int32_t group = rc_load_i32(bytes + GROUP_AT);
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
    return RC_OK;
}

static int parse_header(const uint8_t *bytes, rc_config *config, rc_status *status)
{
    const int32_t version = rc_load_i32(bytes + VERSION_AT);
    if (version < 1)
        return rc_fail(status, RC_INVALID, "version", VERSION_AT, "at least", 1, version);
    if (version > 2)
        return rc_fail(status, RC_INVALID, "version", VERSION_AT, "at most", 3, version);
    config->format = version == 1 ? RC_V1 : RC_V2;

    RC_TRY(rc_parse_shape(bytes, SHAPE_AT, config, status));
    RC_TRY(divide_heads(SHAPE_AT, config, status));
    if (bytes[FLAG_AT] > 1)
        return rc_fail(status, RC_INVALID, "shared_classifier", FLAG_AT, "at most", 1, bytes[FLAG_AT]);
    config->shared_classifier = bytes[FLAG_AT];
    RC_TRY(parse_group_size(bytes, version == 1 ? 0 : 1, config, status));
    if (config->group_size == 0)
        config->format = RC_V1_FP32;

    for (int64_t i = PADDING_AT; i < RC_HEADER; i++)
        if (bytes[i])
            return rc_fail(status, RC_INVALID, "header padding", i, "exactly", 0, bytes[i]);
    return RC_OK;
}

/* ---- the payload, kind after kind ---- */

typedef struct {
    const rc_config *config;
    rc_stack *stacks; /* (RC_KINDS,) */
    int64_t at;       /* first byte that no tensor has yet */
    bool overflow;    /* an offset left int64: no file is that long */
} cursor;

static int64_t multiply(cursor *c, int64_t a, int64_t b)
{
    int64_t product = 0;
    c->overflow |= __builtin_mul_overflow(a, b, &product);
    return product;
}

static int64_t add(cursor *c, int64_t a, int64_t b)
{
    int64_t sum = 0;
    c->overflow |= __builtin_add_overflow(a, b, &sum);
    return sum;
}

static rc_stack *describe(cursor *c, int kind, int storage)
{
    const rc_shape shape = rc_shape_of(c->config, kind);
    rc_stack *stack = &c->stacks[kind];
    *stack = (rc_stack){.storage = storage,
                        .layers = shape.in_layers ? c->config->n_layers : 1,
                        .rows = shape.rows,
                        .cols = shape.cols,
                        .offset = c->at};
    return stack;
}

static void take_fp32(cursor *c, int kind)
{
    rc_stack *stack = describe(c, kind, RC_FP32);
    stack->stride = multiply(c, multiply(c, stack->rows, stack->cols), 4);
    c->at = add(c, c->at, multiply(c, stack->stride, stack->layers));
}

/* v2 and ajc1: each tensor's int8, and its scales right behind it. */
static void take_interleaved(cursor *c, int kind)
{
    rc_stack *stack = describe(c, kind, RC_Q8);
    const int64_t values = multiply(c, stack->rows, stack->cols);
    const int64_t scales = multiply(c, values / c->config->group_size, 4);
    stack->stride = stack->scale_stride = add(c, values, scales);
    stack->scale_offset = add(c, c->at, values);
    c->at = add(c, c->at, multiply(c, stack->stride, stack->layers));
}

/* v1: the int8 of all tensors, and later their scales in the same order. */
static void take_int8(cursor *c, int kind)
{
    rc_stack *stack = describe(c, kind, RC_Q8);
    stack->stride = multiply(c, stack->rows, stack->cols);
    c->at = add(c, c->at, multiply(c, stack->stride, stack->layers));
}

static void take_scales(cursor *c, int kind)
{
    rc_stack *stack = &c->stacks[kind];
    stack->scale_offset = c->at;
    stack->scale_stride = multiply(c, multiply(c, stack->rows, stack->cols) / c->config->group_size, 4);
    c->at = add(c, c->at, multiply(c, stack->scale_stride, stack->layers));
}

static const int V0_ORDER[] = {RC_TOK_EMBEDDINGS, RC_ATTENTION_NORM, RC_WQ, RC_WK, RC_WV, RC_WO, RC_FFN_NORM, RC_W1,
                               RC_W2, RC_W3, RC_NORM, RC_FREQS_COS, RC_FREQS_SIN, RC_OUTPUT};
/* v1, v2 and ajc1: norms, which are always fp32, then matrices */
static const int NORMS[] = {RC_ATTENTION_NORM, RC_FFN_NORM, RC_NORM, RC_Q_NORM, RC_K_NORM};
static const int MATRICES[] = {RC_TOK_EMBEDDINGS, RC_WQ, RC_WK, RC_WV, RC_WO, RC_W1, RC_W2, RC_W3, RC_OUTPUT};
#define COUNT(array) (sizeof(array) / sizeof *(array))

static void take_all(cursor *c, const int *kinds, size_t count, void (*take)(cursor *, int kind))
{
    for (size_t i = 0; i < count; i++)
        if (rc_has_tensor(c->config, kinds[i], false))
            take(c, kinds[i]);
}

static void take_payload(cursor *c)
{
    const int format = c->config->format;
    if (format == RC_V0) {
        take_all(c, V0_ORDER, COUNT(V0_ORDER), take_fp32);
        return;
    }
    take_all(c, NORMS, COUNT(NORMS), take_fp32);
    if (format == RC_V1_FP32) {
        take_all(c, MATRICES, COUNT(MATRICES), take_fp32);
    } else if (format == RC_V2 || format == RC_AJC1) {
        take_all(c, MATRICES, COUNT(MATRICES), take_interleaved);
    } else {
        take_all(c, MATRICES, COUNT(MATRICES), take_int8);
        take_all(c, MATRICES, COUNT(MATRICES), take_scales);
    }
}

/* ---- a whole file ---- */

int rc_lay_out(rc_model *model, int64_t head_size, rc_status *status)
{
    rc_config *config = &model->config;
    config->head_size = head_size;
    cursor c = {.config = config, .stacks = model->stacks, .at = head_size};
    take_payload(&c);
    if (c.overflow)
        return rc_fail(status, RC_INVALID, "file size", -1, "at least", INT64_MAX, config->file_size);
    if (c.at != config->file_size)
        return rc_fail(status, RC_INVALID, "file size", -1, "exactly", c.at, config->file_size);
    return RC_OK;
}

/* The constants of run.c and runq.c, which v3 alone can change. */
static rc_config config_of(int format, int64_t size)
{
    return (rc_config){.format = format, .norm_eps = 1e-5, .rope_theta = 10000.0, .file_size = size};
}

int rc_parse_v0(const uint8_t *head, int64_t size, rc_model *model, rc_status *status)
{
    model->config = config_of(RC_V0, size);
    RC_TRY(rc_parse_shape(head, 0, &model->config, status));
    RC_TRY(divide_heads(0, &model->config, status));
    return rc_lay_out(model, RC_V0_HEADER, status);
}

int rc_parse_v1_v2(const uint8_t *head, int64_t size, rc_model *model, rc_status *status)
{
    model->config = config_of(RC_V1, size);
    RC_TRY(parse_header(head, &model->config, status));
    return rc_lay_out(model, RC_HEADER, status);
}

int rc_stacked_tensor(const rc_model *model, int kind, int64_t layer, rc_tensor *tensor)
{
    const rc_stack *stack = &model->stacks[kind];
    if (stack->storage == RC_ABSENT || layer >= stack->layers)
        return 0;
    const bool q8 = stack->storage == RC_Q8;
    const int64_t elements = stack->rows * stack->cols;
    *tensor = (rc_tensor){.storage = stack->storage,
                          .group_size = q8 ? model->config.group_size : 0,
                          .rows = stack->rows,
                          .cols = stack->cols,
                          .offset = stack->offset + layer * stack->stride,
                          .length = elements * (q8 ? 1 : 4),
                          .scale_offset = q8 ? stack->scale_offset + layer * stack->scale_stride : 0,
                          .scale_length = q8 ? elements / model->config.group_size * 4 : 0};
    return 1;
}
