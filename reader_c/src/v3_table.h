/* v3: the table of tensors, one entry each, in the order of enum rc_kind, layer by layer. */
#ifndef EXPORT_AND_VERIFY_V3_TABLE_H
#define EXPORT_AND_VERIFY_V3_TABLE_H

#include "model.h"

/* Fill in slots and slots_a_layer from the config: which tensors each layer has. */
void rc_v3_choose_slots(rc_model *model);

/* Entries of the table, once the slots are chosen, of a model with so many layers that have experts. */
int64_t rc_v3_tensor_count(const rc_model *model, int64_t with_experts);

/* Check each entry of the table in head (config.head_size,), and that the payload ends where the file does. Fills in
 * config.group_size. */
int rc_v3_check_table(const uint8_t *head, rc_model *model, rc_status *status);

/* Check that nothing but zeros stands between the tensors of a model whose file has been read. */
int rc_v3_check_padding(const rc_model *model, rc_status *status);

/* One tensor, once the table is checked: 1 where the model has it, else 0. expert: 0 for a tensor of no expert. */
int rc_v3_tensor(const rc_model *model, int kind, int64_t layer, int64_t expert, rc_tensor *tensor);

#endif
