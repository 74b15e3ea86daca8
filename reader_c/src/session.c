/* Opening and closing a session: how much scratch a model needs, in one allocation. */
#define _ISOC11_SOURCE
#include "session.h"
#include "team.h"

#include <stdlib.h>

typedef struct {
    int64_t size;
    bool overflow;
} measure;

static int64_t round_up(int64_t count, int64_t multiple)
{
    return (count + multiple - 1) / multiple * multiple;
}

/* Reserve count * width * depth bytes and return where they start. */
static int64_t reserve(measure *m, int64_t count, int64_t width, int64_t depth)
{
    const int64_t start = m->size;
    int64_t bytes = 0;
    m->overflow |= __builtin_mul_overflow(count, width, &bytes);
    m->overflow |= __builtin_mul_overflow(bytes, depth, &bytes);
    m->overflow |= __builtin_add_overflow(bytes, ALIGNMENT - 1, &bytes);
    m->overflow |= __builtin_add_overflow(m->size, bytes & ~(int64_t)(ALIGNMENT - 1), &m->size);
    return start;
}

int rc_session_open(const rc_model *model, int64_t capacity, int threads, rc_session **session, rc_status *status)
{
    const rc_config *p = &model->config;
    *session = NULL;
    *status = (rc_status){.code = RC_OK, .offset = -1};
    if (capacity < 1)
        return rc_fail(status, RC_ARGUMENT, "positions", -1, "at least", 1, capacity);
    if (capacity > p->max_seq_len)
        return rc_fail(status, RC_ARGUMENT, "positions", -1, "at most", p->max_seq_len, capacity);
    if (threads < 1 || threads > RC_MOST_MEMBERS)
        return rc_fail(status, RC_ARGUMENT, "threads", -1, threads < 1 ? "at least" : "at most",
                       threads < 1 ? 1 : RC_MOST_MEMBERS, threads);

    const int64_t half = p->head_dim / 2, f = sizeof(float);
    const int64_t q_dim = (int64_t)p->n_heads * p->head_dim, kv_dim = (int64_t)p->n_kv_heads * p->head_dim;
    const int64_t stream = p->dim > q_dim ? p->dim : q_dim, widest = stream > p->hidden_dim ? stream : p->hidden_dim;
    const int64_t group_size = p->group_size ? p->group_size : widest;
    const int64_t padded = round_up(capacity, RC_LANES), padded_head = round_up(p->head_dim, RC_LANES);
    const int64_t batch = capacity < FAST_BATCH ? capacity : FAST_BATCH;
    int64_t cache = 0, share = 0;
    measure m = {0};
    m.overflow = __builtin_mul_overflow(capacity, kv_dim, &cache);
    m.overflow |= __builtin_mul_overflow(padded, (int64_t)threads, &share);
    const int64_t x = reserve(&m, batch, p->dim, f), h = reserve(&m, batch, stream, f);
    const int64_t projected = reserve(&m, batch, p->dim, f), q = reserve(&m, batch, q_dim, f);
    const int64_t gate = reserve(&m, batch, p->hidden_dim, f), up = reserve(&m, batch, p->hidden_dim, f);
    const int64_t scores = reserve(&m, padded, RC_ROWS, f), key_room = reserve(&m, padded, p->head_dim, f);
    const int64_t value_room = reserve(&m, capacity, padded_head, f);
    const int64_t frequency = reserve(&m, half, 1, f);
    const int64_t cosine = reserve(&m, batch, half, f), sine = reserve(&m, batch, half, f);
    const int64_t row_room = reserve(&m, widest, threads > RC_ROWS ? threads : RC_ROWS, f);
    const int64_t lane_room = reserve(&m, widest + widest / group_size, BATCH, f);
    const int64_t keys = reserve(&m, cache, p->n_layers, f), values = reserve(&m, cache, p->n_layers, f);
    const int64_t act_scale = reserve(&m, batch, widest / group_size, f), act = reserve(&m, batch, widest, 1);
    const int64_t fed = reserve(&m, p->n_layers, 1, sizeof(int64_t));
    const int64_t act_sum = reserve(&m, batch, widest / group_size, sizeof(int32_t));
    const int64_t frequency_fast = reserve(&m, half, 1, f);
    const int64_t all_keys = reserve(&m, padded, kv_dim, f);
    const int64_t all_values = reserve(&m, capacity, p->n_kv_heads * padded_head, f);
    const int64_t own_rows = reserve(&m, (int64_t)threads * RC_FAST_ROWS, widest, f);
    const int64_t own_scales = reserve(&m, (int64_t)threads * RC_FAST_ROWS, widest / group_size, f);
    const int64_t own_scores = reserve(&m, share, RC_FAST_LOOKS, f);
    if (m.overflow || (uint64_t)m.size > SIZE_MAX)
        return rc_fail(status, RC_MEMORY, "session", -1, "bytes", INT64_MAX, capacity);

    rc_session *opened = calloc(1, sizeof *opened);
    uint8_t *arena = aligned_alloc(ALIGNMENT, (size_t)m.size);
    if (!opened || !arena) {
        free(opened);
        free(arena);
        return rc_fail(status, RC_MEMORY, "session", -1, "bytes", m.size, capacity);
    }
#define AT(offset) ((float *)(void *)(arena + (offset)))
    *opened = (rc_session){
        .model = model,
        .capacity = capacity,
        .x = AT(x),
        .h = AT(h),
        .projected = AT(projected),
        .q = AT(q),
        .gate = AT(gate),
        .up = AT(up),
        .padded = padded,
        .scores = AT(scores),
        .key_room = AT(key_room),
        .value_room = AT(value_room),
        .frequency = AT(frequency),
        .cosine = AT(cosine),
        .sine = AT(sine),
        .row_room = AT(row_room),
        .lane_room = AT(lane_room),
        .keys = AT(keys),
        .values = AT(values),
        .act_scale = AT(act_scale),
        .act = (int8_t *)(arena + act),
        .threads = threads,
        .widest = widest,
        .scales_a_row = widest / group_size,
        .batch = batch,
        .act_sum = (int32_t *)(void *)(arena + act_sum),
        .frequency_fast = AT(frequency_fast),
        .all_keys = AT(all_keys),
        .all_values = AT(all_values),
        .own_rows = AT(own_rows),
        .own_scales = AT(own_scales),
        .own_scores = AT(own_scores),
        .fed = (int64_t *)(void *)(arena + fed),
        .arena = arena,
    };
#undef AT
    memset(opened->fed, 0, (size_t)p->n_layers * sizeof *opened->fed);
    rc_rope_frequencies(opened->frequency, p);
    rc_rope_frequencies_fast(opened->frequency_fast, p);
    *session = opened;
    return RC_OK;
}

void rc_session_close(rc_session *session)
{
    if (!session)
        return;
    free(session->arena);
    free(session);
}
