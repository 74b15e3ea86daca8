/* v0, v1 and v2: their headers; and where each tensor stands behind them, and behind that of ajc1. */
#ifndef EXPORT_AND_VERIFY_LAYOUT_H
#define EXPORT_AND_VERIFY_LAYOUT_H

#include "model.h"

enum { RC_V0_HEADER = 28 };

/* Check the header of a file of `size` bytes, which must be exact, and fill in config and stacks. head is
 * (RC_V0_HEADER,) for v0, which has no magic, and (RC_HEADER,) for v1 and v2. */
int rc_parse_v0(const uint8_t *head, int64_t size, rc_model *model, rc_status *status);
int rc_parse_v1_v2(const uint8_t *head, int64_t size, rc_model *model, rc_status *status);

/* Lay out the stacks of a model whose header of head_size bytes is checked; the file must end where they do. */
int rc_lay_out(rc_model *model, int64_t head_size, rc_status *status);

/* One tensor, once a file of v0 to v2 or ajc1 is checked: 1 where the model has it, else 0. */
int rc_stacked_tensor(const rc_model *model, int kind, int64_t layer, rc_tensor *tensor);

#endif
