#include "v3_fields.h"

#include "bytes.h"
#include "status.h"

#include <float.h>

int64_t rc_aligned(int64_t n, int64_t alignment)
{
    return (n + alignment - 1) / alignment * alignment;
}

int rc_fail_real(rc_status *status, const char *field, int64_t offset, const char *rule, double found)
{
    rc_fail(status, RC_INVALID, field, offset, rule, 0, 0);
    status->is_real = 1;
    status->found_real = found;
    return RC_INVALID;
}

int rc_check_zeros(const uint8_t *bytes, int64_t from, int64_t to, const char *field, rc_status *status)
{
    for (int64_t i = from; i < to; i++)
        if (bytes[i])
            return rc_fail(status, RC_INVALID, field, i, "exactly", 0, bytes[i]);
    return RC_OK;
}

int rc_read_u32(const uint8_t *bytes, int64_t at, const char *field, int64_t least, int64_t most, int32_t *value,
                rc_status *status)
{
    const int64_t found = (uint32_t)rc_load_i32(bytes + at);
    if (found < least)
        return rc_fail(status, RC_INVALID, field, at, "at least", least, found);
    if (found > most)
        return rc_fail(status, RC_INVALID, field, at, "at most", most, found);
    *value = (int32_t)found;
    return RC_OK;
}

int rc_read_exactly(const uint8_t *bytes, int64_t at, const char *field, int64_t expected, rc_status *status)
{
    const int64_t found = rc_load_i64(bytes + at);
    if (found != expected)
        return rc_fail(status, RC_INVALID, field, at, "exactly", expected, found);
    return RC_OK;
}

int rc_read_positive(const uint8_t *bytes, int64_t at, const char *field, double *value, rc_status *status)
{
    *value = rc_load_f64(bytes + at);
    /* false for a NaN; engines compute with these in float, where they must be neither 0 nor infinite */
    if (!(*value >= (double)FLT_MIN && *value <= (double)FLT_MAX))
        return rc_fail_real(status, field, at, "a positive finite number, normal as float32", *value);
    return RC_OK;
}
