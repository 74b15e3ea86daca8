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

/* How many layers have experts, as the layer table in head (available,) says, before it is checked. Checks that the
 * head has the table of a model with experts: a small file may claim very many layers. */
int rc_v3_count_experts(const uint8_t *head, int64_t available, const rc_config *config, int64_t *layers,
                        rc_status *status);

/* How many layers before this one have experts, in a checked layer table. */
int64_t rc_v3_experts_before(const rc_model *model, int64_t layer);

/* Check the factors of longrope in head (rc_v3_table_at,), and the zeros behind them. */
int rc_v3_check_factors(const uint8_t *head, const rc_config *config, rc_status *status);

/* By what longrope divides the frequency of a pair; false, and factor as it was, where the model has no such factor. */
bool rc_v3_rope_factor(const rc_model *model, int64_t pair, float *factor);

/* How one layer attends: an entry of the table in a file that is checked. */
rc_layer rc_v3_layer(const rc_model *model, int64_t layer);

/* Where the table of tensors begins. */
int64_t rc_v3_table_at(const rc_config *config);

/* Where it begins at most, in a file with so many layers. */
int64_t rc_v3_most_before_table(int32_t layers);

#endif
