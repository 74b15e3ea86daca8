#include "v3_head.h"

#include "bytes.h"
#include "shape.h"
#include "status.h"
#include "v3_architecture.h"
#include "v3_config.h"
#include "v3_fields.h"
#include "v3_metadata.h"
#include "v3_table.h"

enum {
    ALIGNMENT_AT = 124,
    FILE_SIZE_AT = 128,
    HEAD_SIZE_AT = 136,
    METADATA_COUNT_AT = 148,
    TENSOR_COUNT_AT = 152,
    ENTRY_SIZE_AT = 156,
    TOKENIZER_SIZE_AT = 192, /* the model's digest stands before it */
    RESERVED_AT = 200,

    LEAST_ALIGNMENT = 64,
    MOST_ALIGNMENT = 4096,
    MOST_TENSORS = 1 << 16,
    MOST_METADATA = 1 << 20, /* bytes */
    MOST_METADATA_COUNT = 256,
    MOST_TOKENIZER = 1 << 26, /* bytes */
    TOKENIZER_BLOCK = 64,
};

static int parse_alignment(const uint8_t *head, rc_config *c, rc_status *status)
{
    int32_t alignment = 0;
    RC_TRY(rc_read_u32(head, ALIGNMENT_AT, "alignment", LEAST_ALIGNMENT, MOST_ALIGNMENT, &alignment, status));
    if (alignment & (alignment - 1))
        return rc_fail(status, RC_INVALID, "alignment", ALIGNMENT_AT, "a power of two up to", MOST_ALIGNMENT,
                       alignment);
    c->alignment = alignment;
    return RC_OK;
}

static int parse_tokenizer_size(const uint8_t *head, rc_config *c, rc_status *status)
{
    const int64_t size = rc_load_i64(head + TOKENIZER_SIZE_AT);
    if (size < 0 || size > MOST_TOKENIZER)
        return rc_fail(status, RC_INVALID, "tokenizer size", TOKENIZER_SIZE_AT, "at most", MOST_TOKENIZER, size);
    if (size % TOKENIZER_BLOCK)
        return rc_fail(status, RC_INVALID, "tokenizer size", TOKENIZER_SIZE_AT, "a multiple of", TOKENIZER_BLOCK,
                       size);
    c->tokenizer_at = c->metadata_at + c->metadata_size;
    c->tokenizer_size = size;
    return RC_OK;
}

/* The file is as long as it says, and has a fixed header and an architecture block. */
static int check_file_size(const uint8_t *head, const rc_config *c, rc_status *status)
{
    /* expected is what the header says, and found is the file's size: the file is what was cut */
    if (rc_load_i64(head + FILE_SIZE_AT) != c->file_size)
        return rc_fail(status, RC_INVALID, "file size", -1, "exactly", rc_load_i64(head + FILE_SIZE_AT),
                       c->file_size);
    if (c->file_size < RC_V3_LAYERS_AT)
        return rc_fail(status, RC_INVALID, "file size", -1, "at least", RC_V3_LAYERS_AT, c->file_size);
    return RC_OK;
}

int64_t rc_v3_head_bytes(const uint8_t *start, int64_t size)
{
    /* the header's own number, within what the format's limits allow; rc_parse_v3 says whether it is right */
    const int64_t tables = rc_v3_most_before_table(MOST_TENSORS) + (int64_t)MOST_TENSORS * RC_V3_ENTRY;
    const int64_t most = rc_aligned(tables + MOST_METADATA + MOST_TOKENIZER + RC_DIGEST_BYTES, MOST_ALIGNMENT);
    const int64_t said = rc_load_i64(start + HEAD_SIZE_AT), within = said < most ? said : most;
    const int64_t wanted = within < RC_V3_LAYERS_AT ? RC_V3_LAYERS_AT : within;
    return wanted < size ? wanted : size;
}

/* What the fixed header says of table, metadata, tokenizer and head. */
static int parse_sizes(const uint8_t *head, rc_model *model, rc_status *status)
{
    rc_config *c = &model->config;
    int32_t entry = 0, count = 0, metadata_size = 0, metadata_count = 0;
    RC_TRY(parse_alignment(head, c, status));
    RC_TRY(rc_read_u32(head, ENTRY_SIZE_AT, "entry size", RC_V3_ENTRY, RC_V3_ENTRY, &entry, status));
    RC_TRY(rc_read_u32(head, TENSOR_COUNT_AT, "tensor count", 1, MOST_TENSORS, &count, status));
    int64_t with_experts = 0;
    RC_TRY(rc_v3_count_experts(head, rc_v3_head_bytes(head, c->file_size), c, &with_experts, status));
    const int64_t tensors = rc_v3_tensor_count(model, with_experts);
    if (count != tensors)
        return rc_fail(status, RC_INVALID, "tensor count", TENSOR_COUNT_AT, "exactly", tensors, count);
    RC_TRY(rc_read_u32(head, RC_V3_METADATA_SIZE_AT, "metadata size", 0, MOST_METADATA, &metadata_size, status));
    RC_TRY(rc_read_u32(head, METADATA_COUNT_AT, "metadata count", 0, MOST_METADATA_COUNT, &metadata_count, status));
    c->metadata_at = rc_v3_table_at(c) + (int64_t)count * RC_V3_ENTRY;
    c->metadata_size = metadata_size;
    c->metadata_count = metadata_count;
    RC_TRY(parse_tokenizer_size(head, c, status));
    c->head_size = rc_aligned(c->tokenizer_at + c->tokenizer_size + RC_DIGEST_BYTES, c->alignment);
    RC_TRY(rc_read_exactly(head, HEAD_SIZE_AT, "head size", c->head_size, status));
    if (c->head_size > c->file_size)
        return rc_fail(status, RC_INVALID, "file size", -1, "at least", c->head_size, c->file_size);
    return rc_check_zeros(head, RESERVED_AT, RC_HEADER, "header padding", status);
}

int rc_parse_v3(const uint8_t *head, int64_t size, rc_model *model, rc_status *status)
{
    rc_config *c = &model->config;
    *c = (rc_config){.format = RC_V3, .file_size = size};
    RC_TRY(rc_v3_parse_config(head, c, status));
    RC_TRY(check_file_size(head, c, status));
    RC_TRY(rc_v3_parse_architecture(head, c, status));
    rc_v3_choose_slots(model);
    RC_TRY(parse_sizes(head, model, status));
    RC_TRY(rc_v3_check_layers(head, c, status));
    RC_TRY(rc_v3_check_factors(head, c, status));
    RC_TRY(rc_v3_check_metadata(head, c, status));
    RC_TRY(rc_check_zeros(head, c->tokenizer_at + c->tokenizer_size, c->head_size - RC_DIGEST_BYTES, "head padding",
                          status));
    return rc_v3_check_table(head, model, status);
}
