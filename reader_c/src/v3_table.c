#include "v3_table.h"

#include "bytes.h"
#include "shape.h"
#include "status.h"
#include "v3_architecture.h"
#include "v3_fields.h"

enum {
    NAME = 64,
    /* within an entry, after the name */
    DIMENSIONS_AT = 64,
    STORAGE_AT = 68,
    SHAPE_AT = 72, /* four numbers of 64 bits */
    GROUP_AT = 104,
    PADDING_AT = 108,
    OFFSET_AT = 112, /* and the two of the scales: from the payload's start */
    LENGTH_AT = 120,
    SCALE_OFFSET_AT = 128,
    SCALE_LENGTH_AT = 136,
    MORE_PADDING_AT = 144,
    DIGEST_AT = 160,

    /* of one tensor, under the largest alignment */
    MOST_PADDING = 2 * 4096,
};

/* ---- which tensors there are ---- */

void rc_v3_choose_slots(rc_model *model)
{
    const rc_config *c = &model->config;
    for (int kind = 0; kind < RC_KINDS; kind++) {
        const bool slot = rc_shape_of(c, kind).in_layers && rc_has_tensor(c, kind);
        model->slots[kind] = slot ? model->slots_a_layer++ : -1;
    }
}

int64_t rc_v3_tensor_count(const rc_model *model)
{
    const rc_config *c = &model->config;
    return 2 + !c->shared_classifier + model->slots_a_layer * c->n_layers;
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
    const int64_t at = rc_v3_table_at(&model->config) + number * RC_V3_ENTRY, head = model->config.head_size;
    const uint8_t *entry = model->head + at;
    const int64_t offset = rc_load_i64(entry + OFFSET_AT), scale_length = rc_load_i64(entry + SCALE_LENGTH_AT);
    const bool is_last = number + 1 == rc_v3_tensor_count(model);
    const int64_t next = is_last ? model->config.file_size - head : rc_load_i64(entry + RC_V3_ENTRY + OFFSET_AT);
    const rc_shape shape = rc_shape_of(&model->config, kind);
    *tensor = (rc_tensor){.storage = rc_load_i32(entry + STORAGE_AT),
                          .group_size = rc_load_i32(entry + GROUP_AT),
                          .rows = shape.rows,
                          .cols = shape.cols,
                          .offset = head + offset,
                          .length = rc_load_i64(entry + LENGTH_AT),
                          .scale_offset = scale_length ? head + rc_load_i64(entry + SCALE_OFFSET_AT) : 0,
                          .scale_length = scale_length,
                          .extent = next - offset,
                          .digest_at = at + DIGEST_AT};
    return 1;
}

/* ---- an entry ---- */

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
    status->is_name = 1;
    memcpy(status->expected_name, expected, NAME);
    for (int i = 0; i < NAME - 1; i++)
        status->found_name[i] = (char)(entry[i] == 0 || (entry[i] > ' ' && entry[i] < 127) ? entry[i] : '?');
    return RC_INVALID;
}

/* On the way through the table. */
typedef struct {
    const uint8_t *head; /* (config->head_size,) */
    rc_config *config;
    int64_t number; /* of the entry */
    int64_t end;    /* of the payload so far, from its start */
} walk;

static int64_t bytes_of(int storage)
{
    return storage == RC_FP32 ? 4 : storage == RC_Q8 ? 1 : 2;
}

static int check_shape(const walk *w, int64_t at, const rc_shape *shape, rc_status *status)
{
    const int dimensions = shape->is_vector ? 1 : 2;
    int32_t found = 0;
    RC_TRY(rc_read_u32(w->head, at + DIMENSIONS_AT, "dimensions", dimensions, dimensions, &found, status));
    const int64_t first = shape->is_vector ? shape->cols : shape->rows, second = shape->is_vector ? 0 : shape->cols;
    RC_TRY(rc_read_exactly(w->head, at + SHAPE_AT, "shape", first, status));
    RC_TRY(rc_read_exactly(w->head, at + SHAPE_AT + 8, "shape", second, status));
    RC_TRY(rc_read_exactly(w->head, at + SHAPE_AT + 16, "shape", 0, status));
    return rc_read_exactly(w->head, at + SHAPE_AT + 24, "shape", 0, status);
}

static int check_storage(const walk *w, int64_t at, const rc_shape *shape, int32_t *storage, int32_t *group,
                         rc_status *status)
{
    RC_TRY(rc_read_u32(w->head, at + STORAGE_AT, "storage", 1, RC_Q8, storage, status));
    if (*storage > RC_BF16 && *storage < RC_Q8)
        return rc_fail(status, RC_INVALID, "storage", at + STORAGE_AT, "1, 2, 3 or", RC_Q8, *storage);
    if (shape->is_vector && *storage == RC_Q8)
        return rc_fail(status, RC_INVALID, "storage of a vector", at + STORAGE_AT, "at most", RC_BF16, *storage);
    const bool q8 = *storage == RC_Q8;
    RC_TRY(rc_read_u32(w->head, at + GROUP_AT, "group_size", q8, q8 ? RC_LARGEST_GROUP : 0, group, status));
    if (q8 && shape->cols % *group)
        return rc_fail(status, RC_INVALID, "group_size", at + GROUP_AT, "a divisor of the row's", shape->cols, *group);
    return RC_OK;
}

/* Offset and length of values and scales; moves the payload's end behind them. */
static int check_place(walk *w, int64_t at, const rc_shape *shape, int32_t storage, int32_t group, rc_status *status)
{
    /* rows and cols are below 2^31, so the products below are within 2^64; the payload's end is what can overflow */
    int64_t length = 0, scale_length = 0, end = 0;
    bool overflow = __builtin_mul_overflow(shape->rows * shape->cols, bytes_of(storage), &length);
    if (group)
        overflow |= __builtin_mul_overflow(shape->rows * (shape->cols / group), 4, &scale_length);
    overflow |= __builtin_add_overflow(w->end, length, &end);
    overflow |= __builtin_add_overflow(end, scale_length, &end);
    overflow |= __builtin_add_overflow(end, MOST_PADDING, &end);
    if (overflow || end > w->config->file_size + MOST_PADDING)
        return rc_fail(status, RC_INVALID, "file size", -1, "room for another tensor after payload byte", w->end,
                       w->config->file_size);
    const int64_t alignment = w->config->alignment;
    const int64_t scale_offset = group ? rc_aligned(w->end + length, alignment) : 0;
    RC_TRY(rc_read_exactly(w->head, at + OFFSET_AT, "offset", w->end, status));
    RC_TRY(rc_read_exactly(w->head, at + LENGTH_AT, "length", length, status));
    RC_TRY(rc_read_exactly(w->head, at + SCALE_OFFSET_AT, "scale offset", scale_offset, status));
    RC_TRY(rc_read_exactly(w->head, at + SCALE_LENGTH_AT, "scale length", scale_length, status));
    w->end = rc_aligned(group ? scale_offset + scale_length : w->end + length, alignment);
    return RC_OK;
}

/* layer is -1 outside the layers. */
static int check_entry(walk *w, int kind, int64_t layer, rc_status *status)
{
    const int64_t at = rc_v3_table_at(w->config) + w->number * RC_V3_ENTRY;
    const rc_shape shape = rc_shape_of(w->config, kind);
    char name[NAME];
    write_name(name, layer, shape.name);
    RC_TRY(check_name(w->head + at, at, name, status));
    int32_t storage = 0, group = 0;
    RC_TRY(check_shape(w, at, &shape, status));
    RC_TRY(check_storage(w, at, &shape, &storage, &group, status));
    RC_TRY(rc_check_zeros(w->head, at + PADDING_AT, at + OFFSET_AT, "table padding", status));
    RC_TRY(check_place(w, at, &shape, storage, group, status));
    RC_TRY(rc_check_zeros(w->head, at + MORE_PADDING_AT, at + DIGEST_AT, "table padding", status));
    w->number++;
    if (group && (!w->config->group_size || group < w->config->group_size))
        w->config->group_size = group;
    return RC_OK;
}

/* ---- all of it ---- */

int rc_v3_check_table(const uint8_t *head, rc_model *model, rc_status *status)
{
    rc_config *c = &model->config;
    walk w = {.head = head, .config = c};
    RC_TRY(check_entry(&w, RC_TOK_EMBEDDINGS, -1, status));
    for (int64_t layer = 0; layer < c->n_layers; layer++)
        for (int kind = 0; kind < RC_KINDS; kind++)
            if (model->slots[kind] >= 0)
                RC_TRY(check_entry(&w, kind, layer, status));
    RC_TRY(check_entry(&w, RC_NORM, -1, status));
    if (!c->shared_classifier)
        RC_TRY(check_entry(&w, RC_OUTPUT, -1, status));
    if (c->head_size + w.end != c->file_size)
        return rc_fail(status, RC_INVALID, "file size", -1, "exactly", c->head_size + w.end, c->file_size);
    return RC_OK;
}

/* Between values and scales, and between tensors, no more than an alignment's bytes each. */
int rc_v3_check_padding(const rc_model *model, rc_status *status)
{
    const rc_config *c = &model->config;
    const int64_t count = rc_v3_tensor_count(model);
    for (int64_t number = 0; number < count; number++) {
        const uint8_t *entry = model->head + rc_v3_table_at(c) + number * RC_V3_ENTRY;
        const int64_t end = rc_load_i64(entry + OFFSET_AT) + rc_load_i64(entry + LENGTH_AT);
        const int64_t scale_offset = rc_load_i64(entry + SCALE_OFFSET_AT);
        const int64_t scale_length = rc_load_i64(entry + SCALE_LENGTH_AT);
        const int64_t until = scale_length ? scale_offset : rc_aligned(end, c->alignment);
        RC_TRY(rc_check_zeros(model->bytes, c->head_size + end, c->head_size + until, "padding", status));
        if (scale_length) {
            const int64_t last = scale_offset + scale_length;
            RC_TRY(rc_check_zeros(model->bytes, c->head_size + last, c->head_size + rc_aligned(last, c->alignment),
                                  "padding", status));
        }
    }
    return RC_OK;
}
