/* What the reader's own files share: the model behind the handle, and small helpers. */
#ifndef EXPORT_AND_VERIFY_MODEL_H
#define EXPORT_AND_VERIFY_MODEL_H

#include "reader.h"

#include <stdbool.h>
#include <string.h>

/* One kind of tensor in v0 to v2: the same in every layer, at a fixed stride. */
typedef struct {
    int storage;         /* enum rc_storage */
    int64_t layers;      /* 1 for the tensors outside the layers */
    int64_t rows, cols;  /* as in rc_tensor */
    int64_t offset;      /* of layer 0's values */
    int64_t stride;      /* from one layer's values to the next one's */
    int64_t scale_offset, scale_stride;
} rc_stack;

struct rc_model {
    rc_config config;
    rc_stack stacks[RC_KINDS]; /* v0 to v2 */
    int64_t slots[RC_KINDS];   /* v3: place in a layer's part of the table; -1 where the model has none */
    int64_t slots_a_layer;     /* v3 */
    uint8_t *head;             /* the first config.head_size bytes, a copy */
    uint8_t *bytes;            /* the file, config.file_size bytes; nothing here writes to them once it is open */
    int64_t mapped;            /* bytes of it that are a map; 0 where it is a copy */
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

static inline int32_t rc_load_i32(const uint8_t *b)
{
    const uint32_t u = (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
    int32_t value;
    memcpy(&value, &u, sizeof value);
    return value;
}

enum {
    RC_MAGIC = 0x616b3432, /* "24ka" in the file's byte order */
    RC_HEADER = 256,
    /* Above this, a group's sum of products may leave int32: activations stay within 127, but a file's int8
     * may be -128. */
    RC_LARGEST_GROUP = INT32_MAX / (127 * 128),
};

/* layout.c: how many bytes of a file of this size its head may take, as far as `start` tells, which has the file's
 * first RC_HEADER bytes or all: nothing else is looked at by rc_parse. */
int64_t rc_head_bytes(const uint8_t *start, int64_t size);

/* layout.c: check the whole head and lay the tensors out; the file's size must then be exact. Fills in config,
 * stacks and slots. */
int rc_parse(const uint8_t *head, int64_t size, rc_model *model, rc_status *status);

/* v3.c: the same for a file that says it is v3, and one entry of its table once that has been checked. */
int64_t rc_v3_head_bytes(const uint8_t *start, int64_t size);
int rc_parse_v3(const uint8_t *head, int64_t size, rc_model *model, rc_status *status);
int rc_v3_tensor(const rc_model *model, int kind, int64_t layer, rc_tensor *tensor);

/* v3.c: that there is nothing but zeros between the tensors of a v3 file, all of which has been read. */
int rc_check_seams(const rc_model *model, rc_status *status);

/* layout.c: the seven shape fields from byte `at` on; and n_kv_heads, which stands at `at`, against n_heads. */
int rc_parse_shape(const uint8_t *bytes, int64_t at, rc_config *config, rc_status *status);
int rc_check_kv_heads(int64_t at, const rc_config *config, rc_status *status);

#endif
