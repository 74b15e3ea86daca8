/* v3: the name of a tensor, with which its entry in the table begins. */
#ifndef EXPORT_AND_VERIFY_V3_NAME_H
#define EXPORT_AND_VERIFY_V3_NAME_H

#include "reader.h"

/* Check the name at byte `at` of the head: that of a layer's tensor, or of an expert's, or `rest` alone. layer and
 * expert are negative where the tensor is of none. */
int rc_v3_check_name(const uint8_t *head, int64_t at, int64_t layer, int64_t expert, const char *rest,
                     rc_status *status);

#endif
