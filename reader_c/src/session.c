#define _ISOC11_SOURCE
#include "session.h"

#include "fast_rope.h"
#include "lanes.h"
#include "rope.h"
#include "status.h"
#include "team.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

enum { ALIGNMENT = 64 }; /* of every array */

/* Memory that arrays are placed in, one after the other. */
typedef struct {
    uint8_t *start; /* of the session, which comes first; NULL while the size is measured */
    int64_t size;   /* bytes of the arrays so far */
    bool overflow;  /* the size left int64 */
} arena;

/* The place of an array of shape (a, b, c). */
static void *place(arena *m, size_t element, int64_t a, int64_t b, int64_t c)
{
    void *array = m->start ? m->start + m->size : NULL;
    int64_t bytes = 0;
    m->overflow |= __builtin_mul_overflow(a, b, &bytes);
    m->overflow |= __builtin_mul_overflow(bytes, c, &bytes);
    m->overflow |= __builtin_mul_overflow(bytes, (int64_t)element, &bytes);
    m->overflow |= __builtin_add_overflow(bytes, ALIGNMENT - 1, &bytes);
    m->overflow |= __builtin_add_overflow(m->size, bytes & ~(int64_t)(ALIGNMENT - 1), &m->size);
    return array;
}

/* Every array, in the same order each time: the first run measures the memory, the second one fills in the session. */
static void place_arrays(rc_session *s, arena *m)
{
    const rc_config *p = &s->model->config;
    (void)place(m, sizeof *s, 1, 1, 1);
    const int64_t half = p->rotary_dim / 2, halves[2] = {half, p->local_theta > 0.0 ? half : 0};
    const int64_t f = sizeof(float), threads = s->threads;
    const int64_t q_dim = (int64_t)p->n_heads * p->head_dim, kv_dim = (int64_t)p->n_kv_heads * p->head_dim;
    s->fed = place(m, sizeof *s->fed, p->n_layers, 1, 1);
    s->first_slot = place(m, sizeof *s->first_slot, p->n_layers, 1, 1);
    s->kept_from = place(m, sizeof *s->kept_from, p->n_layers, 1, 1);
    s->keys = place(m, f, s->cache_positions, kv_dim, 1);
    s->values = place(m, f, s->cache_positions, kv_dim, 1);
    s->x = place(m, f, s->batch, p->dim, 1);
    s->h = place(m, f, s->batch, p->dim > q_dim ? p->dim : q_dim, 1);
    s->projected = place(m, f, s->batch, p->dim, 1);
    s->q = place(m, f, s->batch, q_dim, 1);
    s->gate = place(m, f, s->gate_room, 1, 1);
    s->up = place(m, f, s->gate_room, 1, 1);
    s->routed = place(m, f, s->batch, p->n_experts, 1);
    s->chosen = place(m, sizeof *s->chosen, s->batch, p->n_experts, 1);
    s->expert_first = place(m, sizeof *s->expert_first, (int64_t)p->n_experts + 1, 1, 1);
    s->pair = place(m, sizeof *s->pair, s->pairs, 1, 1);
    s->pair_at = place(m, sizeof *s->pair_at, s->pairs, 1, 1);
    s->expert_rows = place(m, f, s->pairs, p->dim, 1);
    for (int rope = 0; rope < 2; rope++) {
        s->cosine[rope] = place(m, f, s->batch, halves[rope], 1);
        s->sine[rope] = place(m, f, s->batch, halves[rope], 1);
        s->frequency[rope] = place(m, f, halves[rope], 1, 1);
        s->frequency_fast[rope] = place(m, f, halves[rope], 1, 1);
    }
    s->act = place(m, sizeof *s->act, s->batch, s->widest, 1);
    s->act_scale = place(m, f, s->batch, s->scales_a_row, 1);
    s->act_sum = place(m, sizeof *s->act_sum, s->batch, s->scales_a_row, 1);
    s->row_room = place(m, f, threads > RC_ROWS ? threads : RC_ROWS, s->widest, 1);

    s->scores = place(m, f, RC_ROWS, s->padded, 1);
    s->key_room = place(m, f, p->head_dim, s->padded, 1);
    s->value_room = place(m, f, s->longest, s->padded_head, 1);
    s->lane_room = place(m, f, s->widest + s->scales_a_row, s->lane_tokens, 1);

#ifndef RC_NO_FAST
    s->all_keys = place(m, f, p->n_kv_heads, s->padded, p->head_dim);
    s->all_values = place(m, f, p->n_kv_heads, s->longest, s->padded_head);
    s->own_rows = place(m, f, threads, RC_FAST_ROWS, s->widest);
    s->own_scales = place(m, f, threads, s->scales_a_row, RC_FAST_ROWS);
    s->own_scores = place(m, f, threads, RC_FAST_QUERIES, s->padded);
#endif
}

static int64_t round_up(int64_t count)
{
    return (count + RC_LANES - 1) / RC_LANES * RC_LANES;
}

/* How many positions the layers keep, of a session whose batch and capacity stand. */
static void size_cache(rc_session *s)
{
    const rc_config *p = &s->model->config;
    const int64_t needed = p->window ? p->window - 1 + s->batch : s->capacity;
    int64_t windowed = 0;
    for (int64_t layer = 0; layer < p->n_layers; layer++)
        windowed += rc_is_windowed(s->model, layer);
    s->window_room = needed < s->capacity ? needed : s->capacity;
    s->cache_positions = windowed * s->window_room + (p->n_layers - windowed) * s->capacity;
    s->longest = windowed == p->n_layers ? s->window_room : s->capacity;
}

static void begin_cache(const rc_session *s)
{
    int64_t slot = 0;
    for (int64_t layer = 0; layer < s->model->config.n_layers; layer++) {
        s->fed[layer] = s->kept_from[layer] = 0;
        s->first_slot[layer] = slot;
        slot += rc_is_windowed(s->model, layer) ? s->window_room : s->capacity;
    }
}

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* A session without its arrays. */
static rc_session sizes_of(const rc_model *model, int64_t capacity, int threads)
{
    const rc_config *p = &model->config;
    const int64_t q_dim = (int64_t)p->n_heads * p->head_dim;
    const int64_t widest = larger(larger(p->dim, q_dim), larger(p->hidden_dim, p->expert_hidden_dim));
    const int64_t batch = capacity < RC_FAST_BATCH ? capacity : RC_FAST_BATCH, pairs = batch * p->n_active_experts;
    rc_session s = {
        .model = model,
        .capacity = capacity,
        .padded_head = round_up(p->head_dim),
        .batch = batch,
        .widest = widest,
        /* a batch, an expert's number and a width have 9, 16 and 31 bits */
        .gate_room = larger(batch * p->hidden_dim, pairs * p->expert_hidden_dim),
        .pairs = pairs,
        .scales_a_row = p->group_size ? widest / p->group_size : 1,
        .threads = threads,
    };
    s.lane_tokens = round_up(s.batch < RC_MIRROR_BATCH ? s.batch : RC_MIRROR_BATCH);
    size_cache(&s);
    s.padded = round_up(s.longest);
    return s;
}

static int check_arguments(const rc_config *p, int64_t capacity, int threads, rc_status *status)
{
    if (capacity < 1)
        return rc_fail(status, RC_ARGUMENT, "positions", -1, "at least", 1, capacity);
    if (capacity > p->max_seq_len)
        return rc_fail(status, RC_ARGUMENT, "positions", -1, "at most", p->max_seq_len, capacity);
    if (threads < 1)
        return rc_fail(status, RC_ARGUMENT, "threads", -1, "at least", 1, threads);
    if (threads > RC_MOST_MEMBERS)
        return rc_fail(status, RC_ARGUMENT, "threads", -1, "at most", RC_MOST_MEMBERS, threads);
    return RC_OK;
}

static void prepare_frequencies(const rc_session *s)
{
    const rc_config *p = &s->model->config;
    rc_rope_frequencies(s->frequency[0], s->model, powf);
    if (p->local_theta > 0.0)
        rc_local_frequencies(s->frequency[1], p, powf);
#ifndef RC_NO_FAST
    rc_rope_frequencies(s->frequency_fast[0], s->model, rc_pow_fast);
    if (p->local_theta > 0.0)
        rc_local_frequencies(s->frequency_fast[1], p, rc_pow_fast);
#endif
}

int rc_session_room(const rc_model *model, int64_t capacity, int threads, int64_t *bytes, rc_status *status)
{
    *bytes = 0;
    *status = (rc_status){.code = RC_OK, .offset = -1};
    RC_TRY(check_arguments(&model->config, capacity, threads, status));
    rc_session sized = sizes_of(model, capacity, threads);
    arena measured = {0};
    place_arrays(&sized, &measured);
    if (measured.overflow || (uint64_t)measured.size > SIZE_MAX)
        return rc_fail(status, RC_MEMORY, "session", -1, "bytes", INT64_MAX, capacity);
    *bytes = measured.size;
    return RC_OK;
}

int rc_session_place(const rc_model *model, int64_t capacity, int threads, void *room, int64_t size,
                     rc_session **session, rc_status *status)
{
    int64_t bytes = 0;
    *session = NULL;
    RC_TRY(rc_session_room(model, capacity, threads, &bytes, status));
    if (size < bytes)
        return rc_fail(status, RC_ARGUMENT, "bytes for the session", -1, "at least", bytes, size);
    if ((uintptr_t)room % ALIGNMENT)
        return rc_fail(status, RC_ARGUMENT, "address of the session", -1, "a multiple of", ALIGNMENT,
                       (int64_t)((uintptr_t)room % ALIGNMENT));
    rc_session *placed = room;
    arena from = {.start = (uint8_t *)room};
    *placed = sizes_of(model, capacity, threads);
    placed->is_placed = true;
    place_arrays(placed, &from);
    begin_cache(placed);
    prepare_frequencies(placed);
    *session = placed;
    return RC_OK;
}

#ifndef RC_NO_MALLOC
int rc_session_open(const rc_model *model, int64_t capacity, int threads, rc_session **session, rc_status *status)
{
    int64_t bytes = 0;
    *session = NULL;
    RC_TRY(rc_session_room(model, capacity, threads, &bytes, status));
    void *room = aligned_alloc(ALIGNMENT, (size_t)bytes);
    if (!room)
        return rc_fail(status, RC_MEMORY, "session", -1, "bytes", bytes, capacity);
    RC_TRY(rc_session_place(model, capacity, threads, room, bytes, session, status));
    (*session)->is_placed = false;
    return RC_OK;
}

void rc_session_close(rc_session *session)
{
    if (session && !session->is_placed)
        free(session);
}
#endif
