/* From the bytes of a header to a checked table of tensors. The payload is never looked at here. */
#include "model.h"

#include <limits.h>

enum {
    MAGIC = 0x616b3432, /* "24ka" in the file's byte order */
    LEGACY_HEADER = 28,
    HEADER = 256,
    SHAPE_FIELDS = 7,
    FLAG_AT = 36,
    GROUP_AT = 37,
    PADDING_AT = 41,
    /* Above this, a group's sum of products may leave int32: activations stay within 127, but a file's int8
     * may be -128. */
    LARGEST_GROUP = INT32_MAX / (127 * 128),
};

static int32_t load_i32(const uint8_t *b)
{
    const uint32_t u = (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
    int32_t value;
    memcpy(&value, &u, sizeof value);
    return value;
}

/* ---- the seven shape fields, and the rules between them ---- */

static int parse_shape(const uint8_t *bytes, int64_t at, rc_config *config, rc_status *status)
{
    static const char *const names[SHAPE_FIELDS] = {"dim",        "hidden_dim", "n_layers",   "n_heads",
                                                    "n_kv_heads", "vocab_size", "max_seq_len"};
    int32_t *const fields[SHAPE_FIELDS] = {&config->dim,        &config->hidden_dim, &config->n_layers,
                                           &config->n_heads,    &config->n_kv_heads, &config->vocab_size,
                                           &config->max_seq_len};
    for (int i = 0; i < SHAPE_FIELDS; i++) {
        const int64_t offset = at + 4 * i;
        int32_t value = load_i32(bytes + offset);
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
    if (config->dim % config->n_heads)
        return rc_fail(status, RC_INVALID, "n_heads", at + 12, "a divisor of", config->dim, config->n_heads);
    if (config->dim / config->n_heads % 2)
        return rc_fail(status, RC_INVALID, "head size (dim / n_heads)", at, "a multiple of", 2,
                       config->dim / config->n_heads);
    if (config->n_heads % config->n_kv_heads)
        return rc_fail(status, RC_INVALID, "n_kv_heads", at + 16, "a divisor of", config->n_heads,
                       config->n_kv_heads);
    return RC_OK;
}

static int parse_versioned(const uint8_t *bytes, rc_config *config, rc_status *status)
{
    const int32_t version = load_i32(bytes + 4);
    if (version < 1)
        return rc_fail(status, RC_INVALID, "version", 4, "at least", 1, version);
    if (version > 2)
        return rc_fail(status, RC_INVALID, "version", 4, "at most", 2, version);
    config->format = version == 1 ? RC_V1 : RC_V2;

    const int code = parse_shape(bytes, 8, config, status);
    if (code)
        return code;
    if (bytes[FLAG_AT] > 1)
        return rc_fail(status, RC_INVALID, "shared_classifier", FLAG_AT, "at most", 1, bytes[FLAG_AT]);
    config->shared_classifier = bytes[FLAG_AT];

    const int32_t group = load_i32(bytes + GROUP_AT);
    const int32_t least = version == 1 ? 0 : 1;
    if (group < least)
        return rc_fail(status, RC_INVALID, "group_size", GROUP_AT, "at least", least, group);
    if (group > LARGEST_GROUP)
        return rc_fail(status, RC_INVALID, "group_size", GROUP_AT, "at most", LARGEST_GROUP, group);
    if (group && config->dim % group)
        return rc_fail(status, RC_INVALID, "group_size", GROUP_AT, "a divisor of dim =", config->dim, group);
    if (group && config->hidden_dim % group)
        return rc_fail(status, RC_INVALID, "group_size", GROUP_AT, "a divisor of hidden_dim =", config->hidden_dim,
                       group);
    config->group_size = group;
    if (group == 0)
        config->format = RC_V1_FP32;

    for (int64_t i = PADDING_AT; i < HEADER; i++)
        if (bytes[i])
            return rc_fail(status, RC_INVALID, "header padding", i, "exactly", 0, bytes[i]);
    return RC_OK;
}

/* ---- the payload, kind after kind ---- */

typedef struct {
    rc_tensor *tensors;
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

static rc_tensor *describe(cursor *c, int kind, int storage, int64_t layers, int64_t rows, int64_t cols)
{
    rc_tensor *tensor = &c->tensors[kind];
    *tensor = (rc_tensor){.storage = storage, .layers = layers, .rows = rows, .cols = cols};
    return tensor;
}

static void take_fp32(cursor *c, int kind, int64_t layers, int64_t rows, int64_t cols)
{
    rc_tensor *tensor = describe(c, kind, RC_FP32, layers, rows, cols);
    tensor->offset = c->at;
    tensor->stride = multiply(c, multiply(c, rows, cols), 4);
    advance(c, multiply(c, tensor->stride, layers));
}

/* v2: each tensor's int8, and its scales right behind it. */
static void take_interleaved(cursor *c, int kind, int64_t layers, int64_t rows, int64_t cols)
{
    rc_tensor *tensor = describe(c, kind, RC_Q8, layers, rows, cols);
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
    rc_tensor *tensor = describe(c, kind, RC_Q8, layers, rows, cols);
    tensor->offset = c->at;
    tensor->stride = multiply(c, rows, cols);
    advance(c, multiply(c, tensor->stride, layers));
}

static void take_scales(cursor *c, int kind, int64_t layers, int64_t rows, int64_t cols)
{
    rc_tensor *tensor = &c->tensors[kind];
    tensor->scale_offset = c->at;
    tensor->scale_stride = multiply(c, multiply(c, rows, cols) / c->group_size, 4);
    advance(c, multiply(c, tensor->scale_stride, layers));
}

typedef void take_function(cursor *, int kind, int64_t layers, int64_t rows, int64_t cols);

static void take_matrices(cursor *c, const rc_config *p, take_function *take)
{
    const int64_t kv_dim = (int64_t)(p->dim / p->n_heads) * p->n_kv_heads;
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
    const int64_t head_size = p->dim / p->n_heads;
    const int64_t kv_dim = head_size * p->n_kv_heads;
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
    take_fp32(c, RC_FREQS_COS, 1, p->max_seq_len, head_size / 2);
    take_fp32(c, RC_FREQS_SIN, 1, p->max_seq_len, head_size / 2);
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

int rc_parse(const uint8_t *bytes, int64_t size, rc_config *config, rc_tensor *tensors, rc_status *status)
{
    *config = (rc_config){.format = RC_V0, .file_size = size};
    memset(tensors, 0, RC_KINDS * sizeof *tensors);
    if (size < LEGACY_HEADER)
        return rc_fail(status, RC_INVALID, "file size", -1, "at least", LEGACY_HEADER, size);

    const bool versioned = load_i32(bytes) == MAGIC;
    if (versioned && size < HEADER)
        return rc_fail(status, RC_INVALID, "file size", -1, "at least", HEADER, size);
    const int code = versioned ? parse_versioned(bytes, config, status) : parse_shape(bytes, 0, config, status);
    if (code)
        return code;

    cursor c = {.tensors = tensors, .at = versioned ? HEADER : LEGACY_HEADER, .group_size = config->group_size};
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
