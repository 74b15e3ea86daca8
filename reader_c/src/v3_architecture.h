/* v3: the architecture block, and the layer table behind it: how a model differs from a Llama. */
#ifndef EXPORT_AND_VERIFY_V3_ARCHITECTURE_H
#define EXPORT_AND_VERIFY_V3_ARCHITECTURE_H

#include "model.h"

enum { RC_V3_LAYERS_AT = 512 }; /* where the layer table begins, right behind the block */

/* Check and read the block in head (RC_V3_LAYERS_AT,); config has the fields of the fixed header. */
int rc_v3_parse_architecture(const uint8_t *head, rc_config *config, rc_status *status);

/* Check the layer table in head (rc_v3_table_at,), and the fields of the block that depend on it. */
int rc_v3_check_layers(const uint8_t *head, const rc_config *config, rc_status *status);

/* How one layer attends: an entry of the table in a file that is checked. */
rc_layer rc_v3_layer(const rc_model *model, int64_t layer);

/* Where the table of tensors begins. */
int64_t rc_v3_table_at(const rc_config *config);

#endif
