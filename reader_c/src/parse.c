#include "parse.h"

#include "ajc1.h"
#include "bytes.h"
#include "layout.h"
#include "shape.h"
#include "status.h"
#include "v3_architecture.h"
#include "v3_head.h"
#include "v3_table.h"

enum {
    MAGIC = 0x616b3432, /* "24ka" in the file's byte order */
    VERSION_AT = 4,
};

#ifndef RC_NO_V3
static bool is_v3(const uint8_t *start, int64_t size)
{
    return size >= RC_HEADER && rc_load_i32(start) == MAGIC && rc_load_i32(start + VERSION_AT) == 3;
}
#endif

int64_t rc_head_bytes(const uint8_t *start, int64_t size)
{
#ifndef RC_NO_V3
    if (is_v3(start, size))
        return rc_v3_head_bytes(start, size);
#endif
    (void)start;
    return size < RC_HEADER ? size : RC_HEADER;
}

int rc_parse(const uint8_t *head, int64_t size, rc_model *model, rc_status *status)
{
    if (size < RC_V0_HEADER)
        return rc_fail(status, RC_INVALID, "file size", -1, "at least", RC_V0_HEADER, size);
#ifndef RC_NO_V0_TO_V2
    const int32_t magic = rc_load_i32(head);
    if (magic != MAGIC && magic != RC_AJC1_MAGIC)
        return rc_parse_v0(head, size, model, status);
#endif
    if (size < RC_HEADER)
        return rc_fail(status, RC_INVALID, "file size", -1, "at least", RC_HEADER, size);
#ifndef RC_NO_V0_TO_V2
    if (magic == RC_AJC1_MAGIC)
        return rc_parse_ajc1(head, size, model, status);
#endif
#ifndef RC_NO_V3
    if (is_v3(head, size))
        return rc_parse_v3(head, size, model, status);
#endif
#ifndef RC_NO_V0_TO_V2
    return rc_parse_v1_v2(head, size, model, status);
#else
    (void)model;
    return rc_fail_text(status, "format", 0, "v3", "another");
#endif
}

int rc_check_padding(const rc_model *model, rc_status *status)
{
#ifndef RC_NO_V3
    if (model->config.format == RC_V3)
        return rc_v3_check_padding(model, status);
#endif
    (void)model;
    (void)status;
    return RC_OK;
}

int rc_model_layer(const rc_model *model, int64_t layer, rc_layer *kind)
{
    *kind = (rc_layer){.windowed = 0, .rope = RC_FIRST_ROPE};
    if (layer < 0 || layer >= model->config.n_layers)
        return 0;
#ifndef RC_NO_V3
    if (model->config.format == RC_V3)
        *kind = rc_v3_layer(model, layer);
#endif
    return 1;
}

int rc_model_rope_factor(const rc_model *model, int64_t pair, float *factor)
{
    *factor = 1.0f;
#ifndef RC_NO_V3
    return model->config.format == RC_V3 && rc_v3_rope_factor(model, pair, factor);
#else
    (void)model, (void)pair;
    return 0;
#endif
}

int rc_model_tensor(const rc_model *model, int kind, int64_t layer, rc_tensor *tensor)
{
    *tensor = (rc_tensor){.storage = RC_ABSENT};
    if (kind < 0 || kind >= RC_KINDS || layer < 0)
        return 0;
#ifndef RC_NO_V3
    if (model->config.format == RC_V3)
        return rc_v3_tensor(model, kind, layer, 0, tensor);
#endif
#ifndef RC_NO_V0_TO_V2
    return rc_stacked_tensor(model, kind, layer, tensor);
#else
    return 0;
#endif
}

int rc_model_expert_tensor(const rc_model *model, int kind, int64_t layer, int64_t expert, rc_tensor *tensor)
{
    *tensor = (rc_tensor){.storage = RC_ABSENT};
    const rc_config *c = &model->config;
    if (kind < 0 || kind >= RC_KINDS || layer < 0 || expert < 0 || expert >= c->n_experts)
        return 0;
#ifndef RC_NO_V3
    if (rc_shape_of(c, kind).of_expert)
        return rc_v3_tensor(model, kind, layer, expert, tensor);
#endif
    return 0;
}
