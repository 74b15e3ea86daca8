/* v3: a head that says everything, then tensors in the order in which a forward pass needs them.
 *
 *     0               fixed header, 256 bytes
 *     256             architecture block, 256 bytes
 *     512             layer table, 4 bytes a layer, zeros up to a multiple of 64
 *     then            longrope's factors, 4 bytes a rotated pair, zeros up to a multiple of 64
 *     then            table of tensors, one entry of 192 bytes each
 *     then            metadata
 *     then            tokenizer block
 *     then            zeros
 *     head_size - 32  BLAKE3 of all bytes before it
 *     head_size       payload: values, then scales, each aligned; zeros between
 *
 * Every count, size and offset has one legal value, which is computed here and compared: values that pass cannot
 * overlap, leave a hole or lead outside the file. docs/format-v3.md is the specification. */
#ifndef EXPORT_AND_VERIFY_V3_HEAD_H
#define EXPORT_AND_VERIFY_V3_HEAD_H

#include "model.h"

/* How many bytes of a file of this size to read as its head, as far as `start` (RC_HEADER,) tells. */
int64_t rc_v3_head_bytes(const uint8_t *start, int64_t size);

/* Check the whole head (rc_v3_head_bytes,) of a file of `size` bytes, which must be exact, and fill in config and
 * slots. */
int rc_parse_v3(const uint8_t *head, int64_t size, rc_model *model, rc_status *status);

#endif
