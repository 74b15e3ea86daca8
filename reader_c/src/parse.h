/* Any format, which the file itself tells. */
#ifndef EXPORT_AND_VERIFY_PARSE_H
#define EXPORT_AND_VERIFY_PARSE_H

#include "model.h"

/* How many bytes of a file of this size to read as its head, as far as `start` tells, which has the file's first
 * RC_HEADER bytes or all: rc_parse reads no others. */
int64_t rc_head_bytes(const uint8_t *start, int64_t size);

/* Check the whole head (rc_head_bytes,) of a file of `size` bytes, which must be exact, and lay the tensors out. Fills
 * in config, and stacks or slots. */
int rc_parse(const uint8_t *head, int64_t size, rc_model *model, rc_status *status);

/* Check what stands between the tensors of a model whose file has been read. */
int rc_check_padding(const rc_model *model, rc_status *status);

#endif
