/* How a check fails: a status with a code, a field and what was expected. */
#ifndef EXPORT_AND_VERIFY_STATUS_H
#define EXPORT_AND_VERIFY_STATUS_H

#include "reader.h"

/* Fill in a failure and return its code, so that a check is one line. */
static inline int rc_fail(rc_status *status, int code, const char *field, int64_t offset, const char *rule,
                          int64_t expected, int64_t found)
{
    *status = (rc_status){.code = code,
                          .field = field,
                          .rule = rule,
                          .offset = offset,
                          .expected = expected,
                          .found = found};
    return code;
}

/* The same where the rule says everything that was expected, and a static text what was found. */
static inline int rc_fail_text(rc_status *status, const char *field, int64_t offset, const char *rule,
                               const char *found)
{
    *status = (rc_status){
        .code = RC_INVALID, .field = field, .rule = rule, .offset = offset, .found_text = found};
    return RC_INVALID;
}

/* The same for a real number that the caller gave. */
static inline int rc_fail_argument(rc_status *status, const char *field, int64_t offset, const char *rule,
                                   double found)
{
    *status = (rc_status){
        .code = RC_ARGUMENT, .field = field, .rule = rule, .offset = offset, .is_real = 1, .found_real = found};
    return RC_ARGUMENT;
}

/* Return from the calling function with the code of a call that fails. */
#define RC_TRY(call)          \
    do {                      \
        const int rc_ = call; \
        if (rc_)              \
            return rc_;       \
    } while (0)

#endif
