/* A forward pass: Config -> scratch -> logits. All tokens of a call go through a layer together, in
 * batches, which moves no bit: no sum in the model runs over tokens but attention's, and that one runs over
 * the cache in the order of positions. */
#define _ISOC11_SOURCE
#include "kernels.h"

#include <math.h>
#include <stdlib.h>

enum {
    BATCH = 64,     /* tokens that share one pass over the weights */
    ALIGNMENT = 64, /* of every scratch array */
};

struct rc_session {
    const rc_model *model;
    int64_t capacity; /* positions that the cache holds */
    int64_t position; /* tokens fed so far */
    float *x;         /* (BATCH, dim) the residual stream */
    float *h;         /* (BATCH, max(dim, q_dim)) normed, and later attention's output */
    float *projected; /* (BATCH, dim) what goes back into the stream */
    float *q;         /* (BATCH, q_dim) queries */
    float *gate;      /* (BATCH, hidden_dim) */
    float *up;        /* (BATCH, hidden_dim) */
    float *scores;    /* (capacity,) of one head at one position */
    float *frequency; /* (head_dim / 2,) of RoPE */
    float *cosine;    /* (BATCH, head_dim / 2) */
    float *sine;      /* (BATCH, head_dim / 2) */
    float *row_room;  /* (widest,) a row as float; widest is max(dim, q_dim, hidden_dim) */
    float *lane_room; /* (widest, RC_LANES) */
    float *keys;      /* (n_layers, capacity, kv_dim) */
    float *values;    /* (n_layers, capacity, kv_dim) */
    float *act_scale; /* (BATCH, widest / group_size) int8 activations' scales, of the smallest groups */
    int8_t *act;      /* (BATCH, widest) int8 activations */
    void *arena;      /* all of the above */
};

typedef struct {
    int64_t size;
    bool overflow;
} measure;

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
    int64_t cache = 0;
    measure m = {0};
    m.overflow = __builtin_mul_overflow(capacity, kv_dim, &cache);
    const int64_t x = reserve(&m, BATCH, p->dim, f), h = reserve(&m, BATCH, stream, f);
    const int64_t projected = reserve(&m, BATCH, p->dim, f), q = reserve(&m, BATCH, q_dim, f);
    const int64_t gate = reserve(&m, BATCH, p->hidden_dim, f), up = reserve(&m, BATCH, p->hidden_dim, f);
    const int64_t scores = reserve(&m, capacity, 1, f);
    const int64_t frequency = reserve(&m, half, 1, f);
    const int64_t cosine = reserve(&m, BATCH, half, f), sine = reserve(&m, BATCH, half, f);
    const int64_t row_room = reserve(&m, widest, 1, f), lane_room = reserve(&m, widest, RC_LANES, f);
    const int64_t keys = reserve(&m, cache, p->n_layers, f), values = reserve(&m, cache, p->n_layers, f);
    const int64_t act_scale = reserve(&m, BATCH, widest / group_size, f), act = reserve(&m, BATCH, widest, 1);
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
        .scores = AT(scores),
        .frequency = AT(frequency),
        .cosine = AT(cosine),
        .sine = AT(sine),
        .row_room = AT(row_room),
        .lane_room = AT(lane_room),
        .keys = AT(keys),
        .values = AT(values),
        .act_scale = AT(act_scale),
        .act = (int8_t *)(arena + act),
        .arena = arena,
    };
#undef AT
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

/* ---- one layer after the other ---- */

typedef struct {
    int activations; /* enum rc_activations */
    int arithmetic;  /* enum rc_arithmetic */
    int rope;        /* enum rc_rope */
} options;

static void add_bias(rc_session *s, int kind, int64_t layer, int64_t n, float *out)
{
    const rc_matrix bias = rc_matrix_of(s->model, kind, layer);
    if (bias.storage == RC_ABSENT)
        return;
    const float *values = rc_matrix_row(&bias, 0, s->row_room);
    for (int64_t t = 0; t < n; t++)
        for (int64_t i = 0; i < bias.cols; i++)
            out[t * bias.cols + i] += values[i];
}

/* A product of some inputs with a weight matrix, and where it goes. bias: RC_KINDS where there can be none. */
typedef struct {
    int kind, bias;
    float *out;
} projection;

/* Products of the same inputs; int8 activations are made once for all matrices of one group size. */
static void project(rc_session *s, const options *o, const float *x, int64_t n, int64_t layer, int count,
                    const projection *projections)
{
    int64_t group_size = 0; /* of the int8 activations at hand */
    for (int i = 0; i < count; i++) {
        const projection *to = &projections[i];
        const rc_matrix w = rc_matrix_of(s->model, to->kind, layer);
        if (o->activations == RC_ACTIVATIONS_FP32 || w.storage != RC_Q8) {
            rc_matmul(to->out, x, n, &w, o->arithmetic, s->row_room, s->lane_room);
        } else {
            if (group_size != w.group_size)
                rc_quantize_activations(s->act, s->act_scale, x, n * w.cols, w.group_size);
            group_size = w.group_size;
            rc_matmul_q8(to->out, s->act, s->act_scale, n, &w);
        }
        add_bias(s, to->bias, layer, n, to->out);
    }
}

static void norm(rc_session *s, int kind, int64_t layer, int64_t n)
{
    const rc_config *p = &s->model->config;
    const rc_matrix w = rc_matrix_of(s->model, kind, layer);
    const float *weight = rc_matrix_row(&w, 0, s->row_room);
    for (int64_t t = 0; t < n; t++)
        rc_rmsnorm(s->h + t * p->dim, s->x + t * p->dim, weight, p->dim, (float)p->norm_eps);
}

static void add_projected(rc_session *s, int64_t n)
{
    for (int64_t i = 0; i < n * s->model->config.dim; i++)
        s->x[i] += s->projected[i];
}

static void attend(rc_session *s, const options *o, int64_t layer, int64_t n)
{
    const rc_config *p = &s->model->config;
    const int64_t head_size = p->head_dim, kv_dim = head_size * p->n_kv_heads, q_dim = head_size * p->n_heads;
    const int64_t queries_per_kv = p->n_heads / p->n_kv_heads;
    const float *keys = s->keys + layer * s->capacity * kv_dim;
    const float *values = s->values + layer * s->capacity * kv_dim;
    const float root = sqrtf((float)head_size);
    for (int64_t t = 0; t < n; t++) {
        const int64_t seen = s->position + t + 1;
        for (int64_t head = 0; head < p->n_heads; head++) {
            const float *q = s->q + t * q_dim + head * head_size;
            const int64_t kv_at = head / queries_per_kv * head_size;
            for (int64_t past = 0; past < seen; past++) {
                const float *k = keys + past * kv_dim + kv_at;
                s->scores[past] = (o->arithmetic == RC_MIRROR ? rc_dot_mirror(q, k, head_size)
                                                              : rc_dot_fast(q, k, head_size)) /
                                  root;
            }
            rc_softmax(s->scores, seen);
            float *out = s->h + t * q_dim + head * head_size;
            memset(out, 0, (size_t)head_size * sizeof *out);
            for (int64_t past = 0; past < seen; past++) {
                const float *v = values + past * kv_dim + kv_at;
                for (int64_t i = 0; i < head_size; i++)
                    out[i] += s->scores[past] * v[i];
            }
        }
    }
}

static void run_layer(rc_session *s, const options *o, int64_t layer, int64_t n)
{
    const rc_config *p = &s->model->config;
    const int64_t head_size = p->head_dim, kv_dim = head_size * p->n_kv_heads, q_dim = head_size * p->n_heads;
    float *keys = s->keys + (layer * s->capacity + s->position) * kv_dim;
    float *values = s->values + (layer * s->capacity + s->position) * kv_dim;

    norm(s, RC_ATTENTION_NORM, layer, n);
    const projection into_attention[] = {
        {RC_WQ, RC_WQ_BIAS, s->q}, {RC_WK, RC_WK_BIAS, keys}, {RC_WV, RC_WV_BIAS, values}};
    project(s, o, s->h, n, layer, 3, into_attention);
    for (int64_t t = 0; t < n; t++) {
        const float *cosine = s->cosine + t * (head_size / 2), *sine = s->sine + t * (head_size / 2);
        rc_rotate(s->q + t * q_dim, p->n_heads, head_size, cosine, sine);
        rc_rotate(keys + t * kv_dim, p->n_kv_heads, head_size, cosine, sine);
    }
    attend(s, o, layer, n);
    project(s, o, s->h, n, layer, 1, &(projection){RC_WO, RC_WO_BIAS, s->projected});
    add_projected(s, n);

    norm(s, RC_FFN_NORM, layer, n);
    project(s, o, s->h, n, layer, 2, (projection[]){{RC_W1, RC_W1_BIAS, s->gate}, {RC_W3, RC_W3_BIAS, s->up}});
    rc_gated(s->gate, s->up, n * p->hidden_dim, p->gate);
    project(s, o, s->gate, n, layer, 1, &(projection){RC_W2, RC_W2_BIAS, s->projected});
    add_projected(s, n);
}

/* cosine and sine of n positions from the next one on */
static void turn(rc_session *s, const options *o, int64_t n)
{
    const rc_config *p = &s->model->config;
    const int64_t half = p->head_dim / 2;
    const float factor = p->scaling.type == RC_YARN ? (float)p->scaling.attention_factor : 1.0f;
    rc_tensor cosines, sines;
    rc_model_tensor(s->model, RC_FREQS_COS, 0, &cosines);
    rc_model_tensor(s->model, RC_FREQS_SIN, 0, &sines);
    for (int64_t t = 0; t < n; t++) {
        float *cosine = s->cosine + t * half, *sine = s->sine + t * half;
        if (o->rope == RC_ROPE_COMPUTED) {
            rc_rope_row(cosine, sine, s->position + t, s->frequency, half, factor);
        } else {
            const int64_t at = (s->position + t) * half * (int64_t)sizeof(float);
            memcpy(cosine, s->model->bytes + cosines.offset + at, (size_t)half * sizeof(float));
            memcpy(sine, s->model->bytes + sines.offset + at, (size_t)half * sizeof(float));
        }
    }
}

static void run_batch(rc_session *s, const options *o, const int32_t *tokens, int64_t n, float *logits)
{
    const rc_model *model = s->model;
    const rc_config *p = &model->config;
    const rc_matrix embedding = rc_matrix_of(model, RC_TOK_EMBEDDINGS, 0);
    for (int64_t t = 0; t < n; t++)
        memcpy(s->x + t * p->dim, rc_matrix_row(&embedding, tokens[t], s->row_room), (size_t)p->dim * sizeof *s->x);
    turn(s, o, n);
    for (int64_t layer = 0; layer < p->n_layers; layer++)
        run_layer(s, o, layer, n);
    norm(s, RC_NORM, 0, n);
    project(s, o, s->h, n, 0, 1,
            &(projection){p->shared_classifier ? RC_TOK_EMBEDDINGS : RC_OUTPUT, RC_KINDS, logits});
    s->position += n;
}

int rc_session_forward(rc_session *session, const int32_t *tokens, int64_t n, int activations, int arithmetic,
                       int rope, float *logits, rc_status *status)
{
    const rc_config *p = &session->model->config;
    *status = (rc_status){.code = RC_OK, .offset = -1};
    if (activations == RC_ACTIVATIONS_Q8 && !p->group_size)
        return rc_fail(status, RC_ARGUMENT, "group_size (q8 activations need a Q8_0 file)", -1, "at least", 1, 0);
    if (rope == RC_ROPE_FROM_FILE && p->format != RC_V0)
        return rc_fail(status, RC_ARGUMENT, "RoPE tables in the file (only v0 has them)", -1, "exactly", 1, 0);
    if (n < 1)
        return rc_fail(status, RC_ARGUMENT, "number of tokens", -1, "at least", 1, n);
    if (n > session->capacity - session->position)
        return rc_fail(status, RC_ARGUMENT, "number of tokens", -1, "at most",
                       session->capacity - session->position, n);
    for (int64_t t = 0; t < n; t++) {
        if (tokens[t] < 0)
            return rc_fail(status, RC_ARGUMENT, "token", t, "at least", 0, tokens[t]);
        if (tokens[t] >= p->vocab_size)
            return rc_fail(status, RC_ARGUMENT, "token", t, "less than", p->vocab_size, tokens[t]);
    }
    const options o = {activations, arithmetic, rope};
    for (int64_t start = 0; start < n; start += BATCH)
        run_batch(session, &o, tokens + start, n - start < BATCH ? n - start : BATCH,
                  logits + start * p->vocab_size);
    return RC_OK;
}
