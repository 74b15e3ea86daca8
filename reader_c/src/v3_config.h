/* v3: the hyper-parameters in the fixed header. */
#ifndef EXPORT_AND_VERIFY_V3_CONFIG_H
#define EXPORT_AND_VERIFY_V3_CONFIG_H

#include "reader.h"

/* Check and read them from head (RC_HEADER,), in the order of docs/format-v3.md. */
int rc_v3_parse_config(const uint8_t *head, rc_config *config, rc_status *status);

#endif
