/* v3: reading one field, with the check that belongs to it. */
#ifndef EXPORT_AND_VERIFY_V3_FIELDS_H
#define EXPORT_AND_VERIFY_V3_FIELDS_H

#include "reader.h"

enum {
    RC_V3_ENTRY = 192, /* bytes of a tensor's entry in the table */
    RC_V3_METADATA_SIZE_AT = 144,
};

/* The next multiple of alignment from n on. */
int64_t rc_aligned(int64_t n, int64_t alignment);

/* Fill in a failure of a real number, of which the rule says everything that was expected. */
int rc_fail_real(rc_status *status, const char *field, int64_t offset, const char *rule, double found);

/* In each of these, bytes is the file's head, or all of the file, from byte 0 on. */

/* Bytes `from` up to `to` are zeros. */
int rc_check_zeros(const uint8_t *bytes, int64_t from, int64_t to, const char *field, rc_status *status);

/* A 32-bit number between least and most, without a sign in the file. */
int rc_read_u32(const uint8_t *bytes, int64_t at, const char *field, int64_t least, int64_t most, int32_t *value,
                rc_status *status);

/* A 64-bit number with one legal value. */
int rc_read_exactly(const uint8_t *bytes, int64_t at, const char *field, int64_t expected, rc_status *status);

/* A double that is positive and normal as float32. */
int rc_read_positive(const uint8_t *bytes, int64_t at, const char *field, double *value, rc_status *status);

#endif
