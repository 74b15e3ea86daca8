#include "cache.h"

#include <string.h>

static int64_t kv_dim(const rc_session *s)
{
    return (int64_t)s->model->config.n_kv_heads * s->model->config.head_dim;
}

int64_t rc_cache_at(const rc_session *s, int64_t layer, int64_t position)
{
    return (s->first_slot[layer] + position - s->kept_from[layer]) * kv_dim(s);
}

void rc_cache_make_room(const rc_session *s, int64_t layer, int64_t position, int64_t n)
{
    if (!rc_is_windowed(s->model, layer) || position + n - s->kept_from[layer] <= s->window_room)
        return;
    const rc_past past = rc_cache_past(s, layer, position, n);
    const int64_t front = s->first_slot[layer] * kv_dim(s);
    const size_t bytes = (size_t)((position - past.origin) * kv_dim(s)) * sizeof(float);
    memmove(s->keys + front, past.keys, bytes);
    memmove(s->values + front, past.values, bytes);
    s->kept_from[layer] = past.origin;
}

rc_past rc_cache_past(const rc_session *s, int64_t layer, int64_t position, int64_t n)
{
    const int64_t window = rc_is_windowed(s->model, layer) ? s->model->config.window : INT64_MAX;
    const int64_t origin = position + 1 > window ? position + 1 - window : 0;
    const int64_t at = rc_cache_at(s, layer, origin);
    return (rc_past){.keys = s->keys + at,
                     .values = s->values + at,
                     .origin = origin,
                     .count = position + n - origin,
                     .window = window};
}
