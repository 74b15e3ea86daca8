#include "parse.h"

#include "ajc1.h"
#include "bytes.h"
#include "layout.h"
#include "shape.h"
#include "status.h"
#include "v3_head.h"
#include "v3_table.h"

enum {
    MAGIC = 0x616b3432, /* "24ka" in the file's byte order */
    VERSION_AT = 4,
};

int64_t rc_head_bytes(const uint8_t *start, int64_t size)
{
    const int64_t least = size < RC_HEADER ? size : RC_HEADER;
    const bool is_v3 = least == RC_HEADER && rc_load_i32(start) == MAGIC && rc_load_i32(start + VERSION_AT) == 3;
    return is_v3 ? rc_v3_head_bytes(start, size) : least;
}

int rc_parse(const uint8_t *head, int64_t size, rc_model *model, rc_status *status)
{
    if (size < RC_V0_HEADER)
        return rc_fail(status, RC_INVALID, "file size", -1, "at least", RC_V0_HEADER, size);
    const int32_t magic = rc_load_i32(head);
    if (magic != MAGIC && magic != RC_AJC1_MAGIC)
        return rc_parse_v0(head, size, model, status);
    if (size < RC_HEADER)
        return rc_fail(status, RC_INVALID, "file size", -1, "at least", RC_HEADER, size);
    if (magic == RC_AJC1_MAGIC)
        return rc_parse_ajc1(head, size, model, status);
    if (rc_load_i32(head + VERSION_AT) == 3)
        return rc_parse_v3(head, size, model, status);
    return rc_parse_v1_v2(head, size, model, status);
}

int rc_check_padding(const rc_model *model, rc_status *status)
{
    return model->config.format == RC_V3 ? rc_v3_check_padding(model, status) : RC_OK;
}

int rc_model_tensor(const rc_model *model, int kind, int64_t layer, rc_tensor *tensor)
{
    *tensor = (rc_tensor){0};
    if (kind < 0 || kind >= RC_KINDS || layer < 0)
        return 0;
    if (model->config.format == RC_V3)
        return rc_v3_tensor(model, kind, layer, 0, tensor);
    return rc_stacked_tensor(model, kind, layer, tensor);
}

int rc_model_expert_tensor(const rc_model *model, int kind, int64_t layer, int64_t expert, rc_tensor *tensor)
{
    *tensor = (rc_tensor){0};
    const rc_config *c = &model->config;
    if (kind < 0 || kind >= RC_KINDS || layer < 0 || !rc_shape_of(c, kind).of_expert)
        return 0;
    return expert >= 0 && expert < c->n_experts ? rc_v3_tensor(model, kind, layer, expert, tensor) : 0;
}
