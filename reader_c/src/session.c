/* Opening and closing a session: how much scratch a model needs, in one allocation. */
#define _ISOC11_SOURCE
#include "session.h"

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

int rc_session_open(const rc_model *model, int64_t capacity, rc_session **session, rc_status *status)
{
    const rc_config *p = &model->config;
    *session = NULL;
    *status = (rc_status){.code = RC_OK, .offset = -1};
    if (capacity < 1)
        return rc_fail(status, RC_ARGUMENT, "positions", -1, "at least", 1, capacity);
    if (capacity > p->max_seq_len)
        return rc_fail(status, RC_ARGUMENT, "positions", -1, "at most", p->max_seq_len, capacity);

    const int64_t half = p->head_dim / 2, f = sizeof(float);
    const int64_t q_dim = (int64_t)p->n_heads * p->head_dim, kv_dim = (int64_t)p->n_kv_heads * p->head_dim;
    const int64_t stream = p->dim > q_dim ? p->dim : q_dim, widest = stream > p->hidden_dim ? stream : p->hidden_dim;
    const int64_t group_size = p->group_size ? p->group_size : widest;
    const int64_t padded = round_up(capacity, RC_LANES), padded_head = round_up(p->head_dim, RC_LANES);
    int64_t cache = 0;
    measure m = {0};
    m.overflow = __builtin_mul_overflow(capacity, kv_dim, &cache);
    const int64_t x = reserve(&m, BATCH, p->dim, f), h = reserve(&m, BATCH, stream, f);
    const int64_t projected = reserve(&m, BATCH, p->dim, f), q = reserve(&m, BATCH, q_dim, f);
    const int64_t gate = reserve(&m, BATCH, p->hidden_dim, f), up = reserve(&m, BATCH, p->hidden_dim, f);
    const int64_t scores = reserve(&m, padded, RC_ROWS, f), key_room = reserve(&m, padded, p->head_dim, f);
    const int64_t value_room = reserve(&m, capacity, padded_head, f);
    const int64_t frequency = reserve(&m, half, 1, f);
    const int64_t cosine = reserve(&m, BATCH, half, f), sine = reserve(&m, BATCH, half, f);
    const int64_t row_room = reserve(&m, widest, RC_ROWS, f);
    const int64_t lane_room = reserve(&m, widest + widest / group_size, BATCH, f);
    const int64_t keys = reserve(&m, cache, p->n_layers, f), values = reserve(&m, cache, p->n_layers, f);
    const int64_t act_scale = reserve(&m, BATCH, widest / group_size, f), act = reserve(&m, BATCH, widest, 1);
    const int64_t fed = reserve(&m, p->n_layers, 1, sizeof(int64_t));
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
        .fed = (int64_t *)(void *)(arena + fed),
        .arena = arena,
    };
#undef AT
    memset(opened->fed, 0, (size_t)p->n_layers * sizeof *opened->fed);
    rc_rope_frequencies(opened->frequency, p);
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
