/* The KV cache of a session: where each layer keeps which positions.
 *
 * A layer that sees all positions keeps `capacity` of them. A windowed layer keeps `window_room`: what a batch's first
 * token sees before its own position, and the batch. When a batch does not fit behind the others, the positions that
 * are still seen move to the front, so that what attention reads is always one piece. Decoding moves them once in
 * `batch` tokens. */
#ifndef EXPORT_AND_VERIFY_CACHE_H
#define EXPORT_AND_VERIFY_CACHE_H

#include "session.h"

/* What a batch's tokens attend to: `count` positions from `origin` on, the batch's own at the end. Attention counts
 * positions from the origin. */
typedef struct {
    const float *keys, *values; /* (count, kv_dim) */
    int64_t origin, count;
    int64_t window; /* positions that a token sees, its own included */
} rc_past;

/* Make room for n positions from `position` on, as one member for all. */
void rc_cache_make_room(const rc_session *s, int64_t layer, int64_t position, int64_t n);

/* Where this position's key and value begin in keys and values: in floats. */
int64_t rc_cache_at(const rc_session *s, int64_t layer, int64_t position);

/* What n tokens from `position` on attend to, once there is room for them. */
rc_past rc_cache_past(const rc_session *s, int64_t layer, int64_t position, int64_t n);

/* How many of the first `seen` positions from the origin on a token does not see, of which the last is its own. */
static inline int64_t rc_before_window(const rc_past *past, int64_t seen)
{
    return seen > past->window ? seen - past->window : 0;
}

#endif
