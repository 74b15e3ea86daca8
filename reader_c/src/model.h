/* What stands behind the handle of a model. */
#ifndef EXPORT_AND_VERIFY_MODEL_H
#define EXPORT_AND_VERIFY_MODEL_H

#include "reader.h"

#include <stdbool.h>

/* One kind of tensor in v0 to v2 and ajc1: the same in every layer, at a fixed stride. */
typedef struct {
    int storage;        /* enum rc_storage */
    int64_t layers;     /* 1 for the tensors outside the layers */
    int64_t rows, cols; /* as in rc_tensor */
    int64_t offset;     /* of layer 0's values */
    int64_t stride;     /* from one layer's values to the next one's */
    int64_t scale_offset, scale_stride;
} rc_stack;

struct rc_model {
    rc_config config;
    rc_stack stacks[RC_KINDS]; /* v0 to v2, ajc1 */
    /* v3, of layers without experts and of those that have some */
    int64_t slots[2][RC_KINDS]; /* place in a layer's part of the table, expert 0's; -1 where the layer has none */
    int64_t slots_a_layer[2];   /* entries of a layer */
    const uint8_t *head;       /* (config.head_size,) the first bytes of the file, a copy */
    const uint8_t *bytes;      /* (config.file_size,) the file; nothing here writes to it once it is open */
    int64_t mapped;            /* bytes of it that are a map; 0 where it is a copy */
    bool is_placed;            /* the caller's memory, all of it: head and bytes are the same */
};

/* Whether a layer sees only the last positions. */
static inline bool rc_is_windowed(const rc_model *model, int64_t layer)
{
    rc_layer kind;
    return rc_model_layer(model, layer, &kind) && kind.windowed;
}

/* Whether a layer's feed forward is a mixture of experts. */
static inline bool rc_has_experts(const rc_model *model, int64_t layer)
{
    rc_layer kind;
    return rc_model_layer(model, layer, &kind) && kind.experts;
}

#endif
