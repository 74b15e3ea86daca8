/* qwen3.c's files, called ajc1 after their magic: their header, and what their one reader takes for granted. */
#ifndef EXPORT_AND_VERIFY_AJC1_H
#define EXPORT_AND_VERIFY_AJC1_H

#include "model.h"

enum { RC_AJC1_MAGIC = 0x616a6331 };

/* Check the header in head (RC_HEADER,) of a file of `size` bytes, which must be exact, and fill in config and
 * stacks. */
int rc_parse_ajc1(const uint8_t *head, int64_t size, rc_model *model, rc_status *status);

#endif
