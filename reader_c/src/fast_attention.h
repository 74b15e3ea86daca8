/* Attention by the arithmetic `fast`: each member of a team does its part. */
#ifndef EXPORT_AND_VERIFY_FAST_ATTENTION_H
#define EXPORT_AND_VERIFY_FAST_ATTENTION_H

#include "cache.h"
#include "trace.h"

/* Lay out a layer's keys and values in all_keys and all_values: this member's part. */
void rc_fast_gather(const rc_session *s, const rc_fast *f, int member, int members, const rc_past *past);

/* The session's h (n, q_dim) = attention of its queries q (n, q_dim), of the last n tokens of the past, over everything
 * that all members gathered: this member's part. Records scores and shares. */
void rc_fast_attend(const rc_session *s, const rc_fast *f, const rc_trace *trace, int member, int members,
                    const rc_past *past, int64_t n);

#endif
