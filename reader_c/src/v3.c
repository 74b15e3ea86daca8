/* v3: a head that says everything, then tensors in the order in which a forward pass meets them.
 *
 *     0               fixed header, 256 bytes
 *     256             table, one entry of 192 bytes for each tensor
 *     then            metadata: (key size, value size, key, value), keys ascending
 *     then            zeros
 *     head_size - 32  BLAKE3 of all bytes before it
 *     head_size       payload: values, then scales, each aligned; zeros between
 *
 * Every count, size and offset has one legal value, computed here and compared: what is compared cannot overlap,
 * leave a hole or lead outside the file. docs/format-v3.md is the specification.
 */
#include "model.h"

#include <float.h>

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
    ALIGNMENT_AT = 124,
    FILE_SIZE_AT = 128,
    HEAD_SIZE_AT = 136,
    METADATA_SIZE_AT = 144,
    METADATA_COUNT_AT = 148,
    TENSOR_COUNT_AT = 152,
    ENTRY_SIZE_AT = 156,
    RESERVED_AT = 192, /* the model's digest stands before it */

    ENTRY = 192,
    NAME = 64,
    MOST_TENSORS = 1 << 16,
    MOST_METADATA = 1 << 20,
    MOST_METADATA_COUNT = 256,
    LONGEST_KEY = 64,
    LONGEST_VALUE = 1 << 16,
    LEAST_ALIGNMENT = 64,
    MOST_ALIGNMENT = 4096,
};

static int64_t load_i64(const uint8_t *b)
{
    const uint64_t low = (uint32_t)rc_load_i32(b), high = (uint32_t)rc_load_i32(b + 4);
    const uint64_t u = low | high << 32;
    int64_t value;
    memcpy(&value, &u, sizeof value);
    return value;
}

static double load_f64(const uint8_t *b)
{
    const int64_t bits = load_i64(b);
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static int64_t aligned(int64_t n, int64_t alignment)
{
    return (n + alignment - 1) / alignment * alignment;
}

static int fail_real(rc_status *status, const char *field, int64_t offset, const char *rule, double found)
{
    rc_fail(status, RC_INVALID, field, offset, rule, 0, 0);
    status->is_real = 1;
    status->found_real = found;
    return RC_INVALID;
}

static int check_zeros(const uint8_t *bytes, int64_t from, int64_t to, const char *field, rc_status *status)
{
    for (int64_t i = from; i < to; i++)
        if (bytes[i])
            return rc_fail(status, RC_INVALID, field, i, "exactly", 0, bytes[i]);
    return RC_OK;
}

/* Between least and most, in the field's own 32 bits. */
static int read_u32(const uint8_t *bytes, int64_t at, const char *field, int64_t least, int64_t most, int32_t *value,
                    rc_status *status)
{
    const int64_t found = (uint32_t)rc_load_i32(bytes + at);
    if (found < least)
        return rc_fail(status, RC_INVALID, field, at, "at least", least, found);
    if (found > most)
        return rc_fail(status, RC_INVALID, field, at, "at most", most, found);
    *value = (int32_t)found;
    return RC_OK;
}

static int read_exactly(const uint8_t *bytes, int64_t at, const char *field, int64_t expected, rc_status *status)
{
    const int64_t found = load_i64(bytes + at);
    if (found != expected)
        return rc_fail(status, RC_INVALID, field, at, "exactly", expected, found);
    return RC_OK;
}

static int read_positive(const uint8_t *bytes, int64_t at, const char *field, double *value, rc_status *status)
{
    *value = load_f64(bytes + at);
    /* false for a NaN; engines compute with these in float, where they must be neither 0 nor infinite */
    if (!(*value >= (double)FLT_MIN && *value <= (double)FLT_MAX))
        return fail_real(status, field, at, "a positive finite number, normal as float32", *value);
    return RC_OK;
}

#define TRY(call)             \
    do {                      \
        const int rc_ = call; \
        if (rc_)              \
            return rc_;       \
    } while (0)

/* ---- the fixed header ---- */

static int parse_scaling(const uint8_t *bytes, const rc_config *config, rc_rope_scaling *s, rc_status *status)
{
    enum { LINEAR = 1 << RC_LINEAR, DYNAMIC = 1 << RC_DYNAMIC, LLAMA3 = 1 << RC_LLAMA3, YARN = 1 << RC_YARN };
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
        {"rope_scaling attention_factor", &s->attention_factor, ATTENTION_AT, YARN},
    };
    TRY(read_u32(bytes, SCALING_AT, "rope_scaling type", 0, RC_YARN, &s->type, status));
    const int type = 1 << s->type;
    const bool bounded = type & (DYNAMIC | LLAMA3 | YARN);
    TRY(read_u32(bytes, ORIGINAL_AT, "rope_scaling original_max_positions", bounded, bounded ? INT32_MAX : 0,
                 &s->original_max_positions, status));
    for (size_t i = 0; i < sizeof reals / sizeof *reals; i++) {
        if (reals[i].types & type)
            TRY(read_positive(bytes, reals[i].at, reals[i].field, reals[i].value, status));
        else
            TRY(read_exactly(bytes, reals[i].at, reals[i].field, 0, status));
    }
    TRY(read_u32(bytes, TRUNCATE_AT, "rope_scaling truncate", 0, s->type == RC_YARN, &s->truncate, status));
    if (s->type == RC_LLAMA3 && !(s->low_freq_factor < s->high_freq_factor))
        return fail_real(status, "rope_scaling high_freq_factor", HIGH_AT, "more than low_freq_factor",
                         s->high_freq_factor);
    if (s->type == RC_YARN && config->rope_theta == 1.0)
        return fail_real(status, "rope_theta", THETA_AT, "other than 1, whose logarithm yarn divides by", 1.0);
    if (s->type == RC_DYNAMIC && config->max_seq_len > s->original_max_positions)
        return rc_fail(status, RC_INVALID, "max_seq_len", SHAPE_AT + 24, "at most original_max_positions =",
                       s->original_max_positions, config->max_seq_len);
    return RC_OK;
}

static int parse_model(const uint8_t *bytes, rc_config *c, rc_status *status)
{
    TRY(rc_parse_shape(bytes, SHAPE_AT, c, status));
    TRY(rc_check_kv_heads(SHAPE_AT + 16, c, status));
    TRY(read_u32(bytes, HEAD_DIM_AT, "head_dim", 1, INT32_MAX / c->n_heads, &c->head_dim, status));
    if (c->head_dim % 2)
        return rc_fail(status, RC_INVALID, "head_dim", HEAD_DIM_AT, "a multiple of", 2, c->head_dim);
    int32_t flags = 0;
    TRY(read_u32(bytes, FLAGS_AT, "flags", 0, 15, &flags, status));
    c->shared_classifier = flags & 1;
    c->qkv_bias = flags >> 1 & 1;
    c->wo_bias = flags >> 2 & 1;
    c->mlp_bias = flags >> 3 & 1;
    TRY(read_u32(bytes, GATE_AT, "activation", 0, RC_GELU_TANH, &c->gate, status));
    TRY(read_positive(bytes, EPS_AT, "norm_eps", &c->norm_eps, status));
    TRY(read_positive(bytes, THETA_AT, "rope_theta", &c->rope_theta, status));
    return parse_scaling(bytes, c, &c->scaling, status);
}

/* ---- which tensors there are, in the order of the table ---- */

static const struct {
    int kind;
    const char *name; /* within a layer */
    bool is_vector;
} LAYER[] = {
    {RC_ATTENTION_NORM, "attention_norm.weight", true},
    {RC_WQ, "attention.wq.weight", false},
    {RC_WQ_BIAS, "attention.wq.bias", true},
    {RC_WK, "attention.wk.weight", false},
    {RC_WK_BIAS, "attention.wk.bias", true},
    {RC_WV, "attention.wv.weight", false},
    {RC_WV_BIAS, "attention.wv.bias", true},
    {RC_WO, "attention.wo.weight", false},
    {RC_WO_BIAS, "attention.wo.bias", true},
    {RC_FFN_NORM, "ffn_norm.weight", true},
    {RC_W1, "feed_forward.w1.weight", false},
    {RC_W1_BIAS, "feed_forward.w1.bias", true},
    {RC_W2, "feed_forward.w2.weight", false},
    {RC_W2_BIAS, "feed_forward.w2.bias", true},
    {RC_W3, "feed_forward.w3.weight", false},
    {RC_W3_BIAS, "feed_forward.w3.bias", true},
};
enum { LAYER_KINDS = sizeof LAYER / sizeof *LAYER };

/* out_features and in_features; a vector is one row */
static void shape_of(const rc_config *c, int kind, int64_t *rows, int64_t *cols)
{
    const int64_t q = (int64_t)c->n_heads * c->head_dim, kv = (int64_t)c->n_kv_heads * c->head_dim;
    const int64_t dim = c->dim, hidden = c->hidden_dim;
    const struct {
        int64_t rows, cols;
    } shapes[RC_KINDS] = {
        [RC_TOK_EMBEDDINGS] = {c->vocab_size, dim},
        [RC_OUTPUT] = {c->vocab_size, dim},
        [RC_ATTENTION_NORM] = {1, dim},
        [RC_FFN_NORM] = {1, dim},
        [RC_NORM] = {1, dim},
        [RC_WQ] = {q, dim},
        [RC_WQ_BIAS] = {1, q},
        [RC_WK] = {kv, dim},
        [RC_WK_BIAS] = {1, kv},
        [RC_WV] = {kv, dim},
        [RC_WV_BIAS] = {1, kv},
        [RC_WO] = {dim, q},
        [RC_WO_BIAS] = {1, dim},
        [RC_W1] = {hidden, dim},
        [RC_W1_BIAS] = {1, hidden},
        [RC_W2] = {dim, hidden},
        [RC_W2_BIAS] = {1, dim},
        [RC_W3] = {hidden, dim},
        [RC_W3_BIAS] = {1, hidden},
    };
    *rows = shapes[kind].rows;
    *cols = shapes[kind].cols;
}

static void choose_slots(rc_model *model)
{
    const rc_config *c = &model->config;
    for (int kind = 0; kind < RC_KINDS; kind++)
        model->slots[kind] = -1;
    for (int i = 0; i < LAYER_KINDS; i++) {
        const int kind = LAYER[i].kind;
        const bool absent = ((kind == RC_WQ_BIAS || kind == RC_WK_BIAS || kind == RC_WV_BIAS) && !c->qkv_bias) ||
                            (kind == RC_WO_BIAS && !c->wo_bias) ||
                            ((kind == RC_W1_BIAS || kind == RC_W2_BIAS || kind == RC_W3_BIAS) && !c->mlp_bias);
        if (!absent)
            model->slots[kind] = model->slots_a_layer++;
    }
}

/* Place of a tensor in the table; -1 where the model has none. */
static int64_t entry_number(const rc_model *model, int kind, int64_t layer)
{
    const rc_config *c = &model->config;
    const int64_t after = 1 + model->slots_a_layer * c->n_layers;
    if (kind == RC_TOK_EMBEDDINGS)
        return layer ? -1 : 0;
    if (kind == RC_NORM)
        return layer ? -1 : after;
    if (kind == RC_OUTPUT)
        return layer || c->shared_classifier ? -1 : after + 1;
    return model->slots[kind] < 0 || layer >= c->n_layers ? -1
                                                          : 1 + layer * model->slots_a_layer + model->slots[kind];
}

int rc_v3_tensor(const rc_model *model, int kind, int64_t layer, rc_tensor *tensor)
{
    const int64_t number = entry_number(model, kind, layer);
    if (number < 0)
        return 0;
    const int64_t at = RC_HEADER + number * ENTRY, head = model->config.head_size;
    const int64_t count = rc_load_i32(model->head + TENSOR_COUNT_AT);
    const uint8_t *entry = model->head + at;
    const int64_t offset = load_i64(entry + 112), scale_length = load_i64(entry + 136);
    const int64_t next = number + 1 < count ? load_i64(entry + ENTRY + 112) : model->config.file_size - head;
    *tensor = (rc_tensor){.storage = rc_load_i32(entry + 68),
                          .group_size = rc_load_i32(entry + 104),
                          .offset = head + offset,
                          .length = load_i64(entry + 120),
                          .scale_offset = scale_length ? head + load_i64(entry + 128) : 0,
                          .scale_length = scale_length,
                          .extent = next - offset,
                          .digest_at = at + 160};
    shape_of(&model->config, kind, &tensor->rows, &tensor->cols);
    return 1;
}

/* ---- the table ---- */

/* "layers.NUMBER.REST", or REST alone where number is negative; zeros after it. */
static void write_name(char name[NAME], int64_t number, const char *rest)
{
    memset(name, 0, NAME);
    size_t length = 0;
    if (number >= 0) {
        char digits[20];
        int count = 0;
        do
            digits[count++] = (char)('0' + number % 10);
        while (number /= 10);
        memcpy(name, "layers.", 7);
        for (length = 7; count; length++)
            name[length] = digits[--count];
        name[length++] = '.';
    }
    memcpy(name + length, rest, strlen(rest));
}

static int check_name(const uint8_t *entry, int64_t at, const char expected[NAME], rc_status *status)
{
    if (!memcmp(entry, expected, NAME))
        return RC_OK;
    rc_fail(status, RC_INVALID, "tensor name", at, "", 0, 0);
    memcpy(status->expected_name, expected, NAME);
    for (int i = 0; i < NAME - 1; i++)
        status->found_name[i] = (char)(entry[i] == 0 || (entry[i] > ' ' && entry[i] < 127) ? entry[i] : '?');
    return RC_INVALID;
}

typedef struct {
    const uint8_t *bytes;
    rc_config *config;
    int64_t number; /* of the entry */
    int64_t end;    /* of the payload so far, from its start */
} walk;

static int64_t bytes_of(int storage)
{
    return storage == RC_FP32 ? 4 : storage == RC_Q8 ? 1 : 2;
}

static int check_storage(const walk *w, int64_t at, bool is_vector, int64_t cols, int32_t *storage, int32_t *group,
                         rc_status *status)
{
    TRY(read_u32(w->bytes, at + 68, "storage", 1, RC_Q8, storage, status));
    if (*storage > RC_BF16 && *storage < RC_Q8)
        return rc_fail(status, RC_INVALID, "storage", at + 68, "1, 2, 3 or", RC_Q8, *storage);
    if (is_vector && *storage == RC_Q8)
        return rc_fail(status, RC_INVALID, "storage of a vector", at + 68, "at most", RC_BF16, *storage);
    const bool q8 = *storage == RC_Q8;
    TRY(read_u32(w->bytes, at + 104, "group_size", q8, q8 ? RC_LARGEST_GROUP : 0, group, status));
    if (q8 && cols % *group)
        return rc_fail(status, RC_INVALID, "group_size", at + 104, "a divisor of the row's", cols, *group);
    return RC_OK;
}

static int check_entry(walk *w, int kind, int64_t layer, const char *rest, bool is_vector, rc_status *status)
{
    const int64_t at = RC_HEADER + w->number * ENTRY, alignment = w->config->alignment;
    char name[NAME];
    write_name(name, layer, rest);
    TRY(check_name(w->bytes + at, at, name, status));
    int32_t dims = 0, storage = 0, group = 0;
    TRY(read_u32(w->bytes, at + 64, "dimensions", is_vector ? 1 : 2, is_vector ? 1 : 2, &dims, status));
    int64_t rows = 0, cols = 0;
    shape_of(w->config, kind, &rows, &cols);
    TRY(read_exactly(w->bytes, at + 72, "shape", is_vector ? cols : rows, status));
    TRY(read_exactly(w->bytes, at + 80, "shape", is_vector ? 0 : cols, status));
    TRY(read_exactly(w->bytes, at + 88, "shape", 0, status));
    TRY(read_exactly(w->bytes, at + 96, "shape", 0, status));
    TRY(check_storage(w, at, is_vector, cols, &storage, &group, status));
    TRY(check_zeros(w->bytes, at + 108, at + 112, "table padding", status));

    /* rows and cols are below 2^31, so the products below are within 2^64; the payload's end is what can overflow */
    int64_t length = 0, scale_length = 0, end = 0;
    bool overflow = __builtin_mul_overflow(rows * cols, bytes_of(storage), &length);
    if (group)
        overflow |= __builtin_mul_overflow(rows * (cols / group), 4, &scale_length);
    overflow |= __builtin_add_overflow(w->end, length, &end);
    overflow |= __builtin_add_overflow(end, scale_length, &end);
    overflow |= __builtin_add_overflow(end, 2 * MOST_ALIGNMENT, &end);
    if (overflow || end > w->config->file_size + 2 * MOST_ALIGNMENT)
        return rc_fail(status, RC_INVALID, "file size", -1, "at least what the table needs beyond", w->end,
                       w->config->file_size);
    const int64_t scale_offset = group ? aligned(w->end + length, alignment) : 0;
    TRY(read_exactly(w->bytes, at + 112, "offset", w->end, status));
    TRY(read_exactly(w->bytes, at + 120, "length", length, status));
    TRY(read_exactly(w->bytes, at + 128, "scale offset", scale_offset, status));
    TRY(read_exactly(w->bytes, at + 136, "scale length", scale_length, status));
    TRY(check_zeros(w->bytes, at + 144, at + 160, "table padding", status));
    w->end = aligned(group ? scale_offset + scale_length : w->end + length, alignment);
    w->number++;
    if (group && (!w->config->group_size || group < w->config->group_size))
        w->config->group_size = group;
    return RC_OK;
}

static int check_table(const uint8_t *bytes, rc_model *model, rc_status *status)
{
    rc_config *c = &model->config;
    walk w = {.bytes = bytes, .config = c};
    TRY(check_entry(&w, RC_TOK_EMBEDDINGS, -1, "tok_embeddings.weight", false, status));
    for (int64_t layer = 0; layer < c->n_layers; layer++)
        for (int i = 0; i < LAYER_KINDS; i++)
            if (model->slots[LAYER[i].kind] >= 0)
                TRY(check_entry(&w, LAYER[i].kind, layer, LAYER[i].name, LAYER[i].is_vector, status));
    TRY(check_entry(&w, RC_NORM, -1, "norm.weight", true, status));
    if (!c->shared_classifier)
        TRY(check_entry(&w, RC_OUTPUT, -1, "output.weight", false, status));
    if (c->head_size + w.end != c->file_size)
        return rc_fail(status, RC_INVALID, "file size", -1, "exactly", c->head_size + w.end, c->file_size);
    return RC_OK;
}

/* Between values and scales, and between tensors: no more than an alignment's bytes at each seam. */
int rc_check_seams(const rc_model *model, rc_status *status)
{
    const rc_config *c = &model->config;
    const uint8_t *bytes = model->bytes;
    const int64_t count = c->format == RC_V3 ? rc_load_i32(model->head + TENSOR_COUNT_AT) : 0;
    for (int64_t number = 0; number < count; number++) {
        const uint8_t *entry = model->head + RC_HEADER + number * ENTRY;
        const int64_t end = load_i64(entry + 112) + load_i64(entry + 120);
        const int64_t scale_offset = load_i64(entry + 128), scale_length = load_i64(entry + 136);
        const int64_t seam = scale_length ? scale_offset : aligned(end, c->alignment);
        TRY(check_zeros(bytes, c->head_size + end, c->head_size + seam, "padding", status));
        if (scale_length) {
            const int64_t last = scale_offset + scale_length;
            TRY(check_zeros(bytes, c->head_size + last, c->head_size + aligned(last, c->alignment), "padding",
                            status));
        }
    }
    return RC_OK;
}

/* ---- metadata ---- */

static bool is_utf8(const uint8_t *s, int64_t n)
{
    for (int64_t i = 0; i < n;) {
        const uint8_t b = s[i++];
        const int more = b < 0x80 ? 0 : b >= 0xc2 && b < 0xe0 ? 1 : b >= 0xe0 && b < 0xf0 ? 2 : b >= 0xf0 && b < 0xf5 ? 3 : -1;
        if (more < 0 || n - i < more)
            return false;
        /* no longer form than needed, no surrogates, nothing beyond U+10FFFF */
        if ((b == 0xe0 && s[i] < 0xa0) || (b == 0xed && s[i] > 0x9f) || (b == 0xf0 && s[i] < 0x90) ||
            (b == 0xf4 && s[i] > 0x8f))
            return false;
        for (int k = 0; k < more; k++)
            if ((s[i++] & 0xc0) != 0x80)
                return false;
    }
    return true;
}

static bool is_key(const uint8_t *s, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (!((s[i] >= 'a' && s[i] <= 'z') || (s[i] >= '0' && s[i] <= '9') || s[i] == '.' || s[i] == '_' ||
              s[i] == '-'))
            return false;
    return true;
}

static int check_metadata(const uint8_t *bytes, const rc_config *c, rc_status *status)
{
    int64_t at = c->metadata_at, last_at = 0, last_size = -1;
    const int64_t end = c->metadata_at + c->metadata_size;
    for (int64_t number = 0; number < c->metadata_count; number++) {
        if (end - at < 8)
            return rc_fail(status, RC_INVALID, "metadata size", METADATA_SIZE_AT, "at least", at + 8 - c->metadata_at,
                           c->metadata_size);
        int32_t key = 0, value = 0;
        TRY(read_u32(bytes, at, "metadata key size", 1, LONGEST_KEY, &key, status));
        TRY(read_u32(bytes, at + 4, "metadata value size", 0, LONGEST_VALUE, &value, status));
        at += 8;
        if (end - at < key + value)
            return rc_fail(status, RC_INVALID, "metadata size", METADATA_SIZE_AT, "at least",
                           at + key + value - c->metadata_at, c->metadata_size);
        if (!is_key(bytes + at, key))
            return rc_fail(status, RC_INVALID, "metadata key", at, "only a-z, 0-9 and . _ - in key number", number,
                           number);
        if (!is_utf8(bytes + at + key, value))
            return rc_fail(status, RC_INVALID, "metadata value", at + key, "UTF-8 in value number", number, number);
        if (last_size >= 0) {
            const int order = memcmp(bytes + last_at, bytes + at, (size_t)(last_size < key ? last_size : key));
            if (order > 0 || (order == 0 && last_size >= key))
                return rc_fail(status, RC_INVALID, "metadata key", at, "more than the key before it, as key number",
                               number, number);
        }
        last_at = at;
        last_size = key;
        at += key + value;
    }
    if (at != end)
        return rc_fail(status, RC_INVALID, "metadata size", METADATA_SIZE_AT, "exactly", at - c->metadata_at,
                       c->metadata_size);
    return RC_OK;
}

/* ---- all of it ---- */

static int parse_sizes(const uint8_t *bytes, const rc_model *model, rc_config *c, rc_status *status)
{
    int32_t alignment = 0, entry = 0, count = 0, metadata_size = 0, metadata_count = 0;
    TRY(read_u32(bytes, ALIGNMENT_AT, "alignment", LEAST_ALIGNMENT, MOST_ALIGNMENT, &alignment, status));
    if (alignment & (alignment - 1))
        return rc_fail(status, RC_INVALID, "alignment", ALIGNMENT_AT, "a power of two up to", MOST_ALIGNMENT,
                       alignment);
    /* the other way round: it is the file that was cut */
    if (load_i64(bytes + FILE_SIZE_AT) != c->file_size)
        return rc_fail(status, RC_INVALID, "file size", -1, "exactly", load_i64(bytes + FILE_SIZE_AT),
                       c->file_size);
    TRY(read_u32(bytes, ENTRY_SIZE_AT, "entry size", ENTRY, ENTRY, &entry, status));
    TRY(read_u32(bytes, TENSOR_COUNT_AT, "tensor count", 1, MOST_TENSORS, &count, status));
    const int64_t tensors = 2 + !c->shared_classifier + model->slots_a_layer * c->n_layers;
    if (count != tensors)
        return rc_fail(status, RC_INVALID, "tensor count", TENSOR_COUNT_AT, "exactly", tensors, count);
    TRY(read_u32(bytes, METADATA_SIZE_AT, "metadata size", 0, MOST_METADATA, &metadata_size, status));
    TRY(read_u32(bytes, METADATA_COUNT_AT, "metadata count", 0, MOST_METADATA_COUNT, &metadata_count, status));
    c->alignment = alignment;
    c->metadata_at = RC_HEADER + (int64_t)count * ENTRY;
    c->metadata_size = metadata_size;
    c->metadata_count = metadata_count;
    c->head_size = aligned(c->metadata_at + metadata_size + RC_DIGEST_BYTES, alignment);
    TRY(read_exactly(bytes, HEAD_SIZE_AT, "head size", c->head_size, status));
    if (c->head_size > c->file_size)
        return rc_fail(status, RC_INVALID, "file size", -1, "at least", c->head_size, c->file_size);
    return check_zeros(bytes, RESERVED_AT, RC_HEADER, "header padding", status);
}

int64_t rc_v3_head_bytes(const uint8_t *start, int64_t size)
{
    /* whatever the field says, a head that the limits let through; whether it is right is rc_parse_v3's to say */
    const int64_t most = aligned(RC_HEADER + (int64_t)MOST_TENSORS * ENTRY + MOST_METADATA + RC_DIGEST_BYTES,
                                 MOST_ALIGNMENT);
    const int64_t said = load_i64(start + HEAD_SIZE_AT), within = said < most ? said : most;
    return within < RC_HEADER ? RC_HEADER : within < size ? within : size;
}

int rc_parse_v3(const uint8_t *bytes, int64_t size, rc_model *model, rc_status *status)
{
    rc_config *c = &model->config;
    *c = (rc_config){.format = RC_V3, .file_size = size};
    TRY(parse_model(bytes, c, status));
    choose_slots(model);
    TRY(parse_sizes(bytes, model, c, status));
    TRY(check_metadata(bytes, c, status));
    TRY(check_zeros(bytes, c->metadata_at + c->metadata_size, c->head_size - RC_DIGEST_BYTES, "head padding",
                    status));
    return check_table(bytes, model, status);
}
