#include "v3_table.h"

#include "bytes.h"
#include "shape.h"
#include "status.h"
#include "v3_architecture.h"
#include "v3_fields.h"
#include "v3_name.h"

enum {
    /* within an entry, behind the tensor's name */
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

/* An expert's three tensors stand together. */
enum { OF_EXPERT = RC_EXPERT_W3 - RC_EXPERT_W1 + 1 };

void rc_v3_choose_slots(rc_model *model)
{
    const rc_config *c = &model->config;
    for (int experts = 0; experts < 2; experts++) {
        int64_t next = 0;
        for (int kind = 0; kind < RC_KINDS; kind++) {
            const bool slot = rc_shape_of(c, kind).in_layers && rc_has_tensor(c, kind, experts);
            model->slots[experts][kind] = slot ? next++ : -1;
            if (slot && kind == RC_EXPERT_W3)
                next += (int64_t)OF_EXPERT * (c->n_experts - 1);
        }
        model->slots_a_layer[experts] = next;
    }
}

/* Entries of the first `layers` layers, of which so many have experts. */
static int64_t entries_of(const rc_model *model, int64_t layers, int64_t with_experts)
{
    return (layers - with_experts) * model->slots_a_layer[0] + with_experts * model->slots_a_layer[1];
}

int64_t rc_v3_tensor_count(const rc_model *model, int64_t with_experts)
{
    return 2 + !model->config.shared_classifier + entries_of(model, model->config.n_layers, with_experts);
}

/* Place in the table of the first entry of a layer, or of the first one after the layers. */
static int64_t first_entry(const rc_model *model, int64_t layer)
{
    return 1 + entries_of(model, layer, rc_v3_experts_before(model, layer));
}

/* Place of a tensor in the table; -1 where the model has none. */
static int64_t entry_number(const rc_model *model, int kind, int64_t layer, int64_t expert)
{
    const rc_config *c = &model->config;
    if (kind == RC_TOK_EMBEDDINGS)
        return layer ? -1 : 0;
    if (kind == RC_NORM)
        return layer ? -1 : first_entry(model, c->n_layers);
    if (kind == RC_OUTPUT)
        return layer || c->shared_classifier ? -1 : first_entry(model, c->n_layers) + 1;
    if (layer >= c->n_layers)
        return -1;
    const int64_t slot = model->slots[rc_has_experts(model, layer)][kind];
    return slot < 0 ? -1 : first_entry(model, layer) + slot + expert * OF_EXPERT;
}

int rc_v3_tensor(const rc_model *model, int kind, int64_t layer, int64_t expert, rc_tensor *tensor)
{
    const int64_t number = entry_number(model, kind, layer, expert);
    if (number < 0)
        return 0;
    const int64_t at = rc_v3_table_at(&model->config) + number * RC_V3_ENTRY, head = model->config.head_size;
    const uint8_t *entry = model->head + at;
    const int64_t offset = rc_load_i64(entry + OFFSET_AT), scale_length = rc_load_i64(entry + SCALE_LENGTH_AT);
    const bool is_last = number == first_entry(model, model->config.n_layers) + !model->config.shared_classifier;
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

/* On the way through the table. */
typedef struct {
    const uint8_t *head; /* (config->head_size,) */
    rc_config *config;
    int64_t number; /* of the entry */
    int64_t layer;  /* -1 outside the layers */
    int64_t expert; /* -1 for a tensor of no expert */
    /* of the matrices of the layer's expert 0 */
    int32_t storage[OF_EXPERT], group[OF_EXPERT];
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

/* A router is not quantized, and a layer's experts are stored alike. */
static int check_expert(walk *w, int64_t at, int kind, int32_t storage, int32_t group, rc_status *status)
{
    if (kind == RC_ROUTER && group)
        return rc_fail(status, RC_INVALID, "storage of a router", at + STORAGE_AT, "at most", RC_BF16, storage);
    if (w->expert < 0)
        return RC_OK;
    int32_t *first = &w->storage[kind - RC_EXPERT_W1], *first_group = &w->group[kind - RC_EXPERT_W1];
    if (w->expert == 0) {
        *first = storage;
        *first_group = group;
    }
    if (storage != *first)
        return rc_fail(status, RC_INVALID, "storage of an expert", at + STORAGE_AT, "as expert 0 has,", *first,
                       storage);
    if (group != *first_group)
        return rc_fail(status, RC_INVALID, "group_size of an expert", at + GROUP_AT, "as expert 0 has,",
                       *first_group, group);
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

static int check_entry(walk *w, int kind, rc_status *status)
{
    const int64_t at = rc_v3_table_at(w->config) + w->number * RC_V3_ENTRY;
    const rc_shape shape = rc_shape_of(w->config, kind);
    RC_TRY(rc_v3_check_name(w->head, at, w->layer, w->expert, shape.name, status));
    int32_t storage = 0, group = 0;
    RC_TRY(check_shape(w, at, &shape, status));
    RC_TRY(check_storage(w, at, &shape, &storage, &group, status));
    RC_TRY(check_expert(w, at, kind, storage, group, status));
    RC_TRY(rc_check_zeros(w->head, at + PADDING_AT, at + OFFSET_AT, "table padding", status));
    RC_TRY(check_place(w, at, &shape, storage, group, status));
    RC_TRY(rc_check_zeros(w->head, at + MORE_PADDING_AT, at + DIGEST_AT, "table padding", status));
    w->number++;
    if (group && (!w->config->group_size || group < w->config->group_size))
        w->config->group_size = group;
    return RC_OK;
}

/* ---- all of it ---- */

/* The entries of the layer at hand. */
static int check_layer(walk *w, const int64_t slots[RC_KINDS], rc_status *status)
{
    for (int kind = 0; kind < RC_KINDS; kind++) {
        if (slots[kind] < 0 || rc_shape_of(w->config, kind).of_expert)
            continue;
        RC_TRY(check_entry(w, kind, status));
        if (kind != RC_ROUTER)
            continue;
        for (w->expert = 0; w->expert < w->config->n_experts; w->expert++)
            for (int own = RC_EXPERT_W1; own <= RC_EXPERT_W3; own++)
                RC_TRY(check_entry(w, own, status));
        w->expert = -1;
    }
    return RC_OK;
}

int rc_v3_check_table(const uint8_t *head, rc_model *model, rc_status *status)
{
    rc_config *c = &model->config;
    walk w = {.head = head, .config = c, .layer = -1, .expert = -1};
    RC_TRY(check_entry(&w, RC_TOK_EMBEDDINGS, status));
    for (w.layer = 0; w.layer < c->n_layers; w.layer++)
        RC_TRY(check_layer(&w, model->slots[rc_has_experts(model, w.layer)], status));
    w.layer = -1;
    RC_TRY(check_entry(&w, RC_NORM, status));
    if (!c->shared_classifier)
        RC_TRY(check_entry(&w, RC_OUTPUT, status));
    if (c->head_size + w.end != c->file_size)
        return rc_fail(status, RC_INVALID, "file size", -1, "exactly", c->head_size + w.end, c->file_size);
    return RC_OK;
}

/* Between values and scales, and between tensors, no more than an alignment's bytes each. */
int rc_v3_check_padding(const rc_model *model, rc_status *status)
{
    const rc_config *c = &model->config;
    const int64_t count = rc_v3_tensor_count(model, rc_v3_experts_before(model, c->n_layers));
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
