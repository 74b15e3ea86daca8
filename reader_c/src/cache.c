#include "cache.h"

#include "lanes.h"

#include <stdbool.h>
#include <string.h>

static bool is_windowed(const rc_session *s, int64_t layer)
{
    rc_layer kind;
    rc_model_layer(s->model, layer, &kind);
    return kind.windowed;
}

static int64_t kv_dim(const rc_session *s)
{
    return (int64_t)s->model->config.n_kv_heads * s->model->config.head_dim;
}

void rc_cache_sizes(rc_session *s)
{
    const rc_config *p = &s->model->config;
    const int64_t needed = p->window ? p->window - 1 + s->batch : s->capacity;
    int64_t windowed = 0;
    for (int64_t layer = 0; layer < p->n_layers; layer++)
        windowed += is_windowed(s, layer);
    s->window_room = needed < s->capacity ? needed : s->capacity;
    s->cache_positions = windowed * s->window_room + (p->n_layers - windowed) * s->capacity;
    s->longest = windowed == p->n_layers ? s->window_room : s->capacity;
}

void rc_cache_begin(const rc_session *s)
{
    int64_t slot = 0;
    for (int64_t layer = 0; layer < s->model->config.n_layers; layer++) {
        s->first_slot[layer] = slot;
        s->kept_from[layer] = 0;
        slot += is_windowed(s, layer) ? s->window_room : s->capacity;
    }
}

int64_t rc_cache_at(const rc_session *s, int64_t layer, int64_t position)
{
    return (s->first_slot[layer] + position - s->kept_from[layer]) * kv_dim(s);
}

void rc_cache_make_room(const rc_session *s, int64_t layer, int64_t position, int64_t n)
{
    if (!is_windowed(s, layer) || position + n - s->kept_from[layer] <= s->window_room)
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
    const int64_t window = is_windowed(s, layer) ? s->model->config.window : INT64_MAX;
    const int64_t origin = position + 1 > window ? position + 1 - window : 0;
    const int64_t at = rc_cache_at(s, layer, origin);
    return (rc_past){.keys = s->keys + at,
                     .values = s->values + at,
                     .origin = origin,
                     .count = position + n - origin,
                     .window = window};
}
