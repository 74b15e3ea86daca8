/* v3: the metadata, (key size, value size, key, value) each, keys ascending. */
#ifndef EXPORT_AND_VERIFY_V3_METADATA_H
#define EXPORT_AND_VERIFY_V3_METADATA_H

#include "reader.h"

/* Check those in head (config->metadata_at + config->metadata_size,) of which config tells place, size and number. */
int rc_v3_check_metadata(const uint8_t *head, const rc_config *config, rc_status *status);

#endif
