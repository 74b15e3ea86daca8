/* What a header implies, in every format: which tensors a model has, their names and their shapes. */
#ifndef EXPORT_AND_VERIFY_SHAPE_H
#define EXPORT_AND_VERIFY_SHAPE_H

#include "reader.h"

#include <stdbool.h>

enum {
    RC_HEADER = 256, /* bytes of the fixed header of v1 to v3 and ajc1 */
    /* Above this, a group's sum of products may leave int32: activations stay within 127, but a file's int8
     * may be -128. */
    RC_LARGEST_GROUP = INT32_MAX / (127 * 128),
};

typedef struct {
    const char *name;   /* within its layer, or whole; static text */
    bool in_layers;     /* one in each layer */
    bool of_expert;     /* one of each expert in a layer; the name is within the expert */
    bool is_vector;     /* of `cols` elements; rows is 1 */
    int64_t rows, cols; /* out_features, in_features */
} rc_shape;

/* Read the seven counts that begin every header, from byte `at` of `bytes` (at + 28,) on. */
int rc_parse_shape(const uint8_t *bytes, int64_t at, rc_config *config, rc_status *status);

/* Check n_kv_heads, which stands at byte `at`, against n_heads. */
int rc_check_kv_heads(int64_t at, const rc_config *config, rc_status *status);

/* Fill in the fields that v0 to v2 and ajc1 do not have with what a Llama is; head_dim stands. */
void rc_set_llama(rc_config *config);

/* Whether a file with this config stores tensors of a kind (enum rc_kind) outside the layers, or in layers that have
 * experts, or in those that have none. */
bool rc_has_tensor(const rc_config *config, int kind, bool experts);

/* Whether something follows the classifier's product: a divisor or a cap. */
bool rc_changes_logits(const rc_config *config);

rc_shape rc_shape_of(const rc_config *config, int kind);

#endif
