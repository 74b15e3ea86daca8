/* Attention of one batch over the cache, by the arithmetic `mirror`. */
#ifndef EXPORT_AND_VERIFY_MIRROR_ATTENTION_H
#define EXPORT_AND_VERIFY_MIRROR_ATTENTION_H

#include "session.h"
#include "trace.h"

/* The session's h (n, q_dim) = attention of its queries q (n, q_dim), of n tokens from `position` on, over the layer's
 * cache, which holds those tokens' keys and values already. Records scores and shares. */
void rc_mirror_attend(const rc_session *s, const rc_trace *trace, int64_t layer, int64_t position, int64_t n);

#endif
