/* What the reader's own files share: the model behind the handle, and small helpers. */
#ifndef EXPORT_AND_VERIFY_MODEL_H
#define EXPORT_AND_VERIFY_MODEL_H

#include "reader.h"

#include <stdbool.h>
#include <string.h>

struct rc_model {
    rc_config config;
    rc_tensor tensors[RC_KINDS];
    const uint8_t *bytes; /* the mapped file, config.file_size bytes, read-only */
};

/* Fill in a failure and return its code, so that a check is one line. */
static inline int rc_fail(rc_status *status, int code, const char *field, int64_t offset, const char *rule,
                          int64_t expected, int64_t found)
{
    *status = (rc_status){.code = code,
                          .field = field,
                          .rule = rule,
                          .offset = offset,
                          .expected = expected,
                          .found = found};
    return code;
}

/* Scales may start at any address, so they are never read through a float pointer. */
static inline float rc_load_f32(const uint8_t *bytes)
{
    float value;
    memcpy(&value, bytes, sizeof value);
    return value;
}

static inline const uint8_t *rc_values(const rc_model *model, int kind, int64_t layer)
{
    const rc_tensor *tensor = &model->tensors[kind];
    return model->bytes + tensor->offset + layer * tensor->stride;
}

static inline const uint8_t *rc_scales(const rc_model *model, int kind, int64_t layer)
{
    const rc_tensor *tensor = &model->tensors[kind];
    return model->bytes + tensor->scale_offset + layer * tensor->scale_stride;
}

/* layout.c: check the header and lay the tensors out; the file's size must then be exact. */
int rc_parse(const uint8_t *bytes, int64_t size, rc_config *config, rc_tensor *tensors, rc_status *status);

#endif
