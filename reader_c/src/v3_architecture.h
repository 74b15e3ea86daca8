/* v3: the architecture block, and behind it the layer table and the factors of longrope: how a model differs from a
 * Llama. */
#ifndef EXPORT_AND_VERIFY_V3_ARCHITECTURE_H
#define EXPORT_AND_VERIFY_V3_ARCHITECTURE_H

#include "model.h"

enum { RC_V3_LAYERS_AT = 512 }; /* where the layer table begins, right behind the block */

/* Check and read the block in head (RC_V3_LAYERS_AT,); config has the fields of the fixed header. */
int rc_v3_parse_architecture(const uint8_t *head, rc_config *config, rc_status *status);

/* Check the layer table in head (rc_v3_table_at,), and the fields of the block that depend on it. */
int rc_v3_check_layers(const uint8_t *head, const rc_config *config, rc_status *status);

/* Check the factors of longrope in head (rc_v3_table_at,), and the zeros behind them. */
int rc_v3_check_factors(const uint8_t *head, const rc_config *config, rc_status *status);

/* Where the table of tensors begins. */
int64_t rc_v3_table_at(const rc_config *config);

/* Where it begins at most, in a file with so many layers. */
int64_t rc_v3_most_before_table(int32_t layers);

#endif
