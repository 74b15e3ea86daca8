/* Attention of one batch over the cache. */
#ifndef EXPORT_AND_VERIFY_ATTENTION_H
#define EXPORT_AND_VERIFY_ATTENTION_H

#include "session.h"
#include "trace.h"

/* h (n, q_dim) = the values that the queries q of n tokens from `position` on find in the layer's cache, which holds
 * those tokens' keys and values already. Records scores and shares. */
void rc_attend(const rc_session *s, const rc_trace *trace, int64_t layer, int64_t position, int64_t n);

#endif
