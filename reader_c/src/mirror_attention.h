/* Attention of one batch over the cache, by the arithmetic `mirror`. */
#ifndef EXPORT_AND_VERIFY_MIRROR_ATTENTION_H
#define EXPORT_AND_VERIFY_MIRROR_ATTENTION_H

#include "cache.h"
#include "trace.h"

/* The session's h (n, q_dim) = attention of its queries q (n, q_dim), of the last n tokens of the past. Records scores
 * and shares. */
void rc_mirror_attend(const rc_session *s, const rc_trace *trace, const rc_past *past, int64_t n);

#endif
