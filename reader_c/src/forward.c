/* A forward pass. All tokens of a call go through a layer together, in batches, which moves no bit: no sum in the
 * model runs over tokens but attention's, and that one runs over the cache in the order of positions.
 *
 * What happens inside can be recorded on the way. Where nobody asks, that is one test of a pointer an operation. */
#include "attention.h"
#include "fast_layer.h"

/* ---- one layer after the other ---- */

/* One batch on its way: tokens that stand at `position` and after. */
typedef struct {
    rc_session *s;
    const rc_options *o;
    const rc_fast *fast; /* NULL in mirror */
    rc_trace trace;
    int64_t n, position;
    float *x; /* (n, dim) the residual stream */
    /* of those who go through it together, each with a batch of its own over the same arrays */
    rc_team *team;
    int member, members;
} batch;

static void meet(const batch *b)
{
    rc_team_meet(b->team, b->members);
}

/* This member's tokens: from *first up to *last. */
static void my_tokens(const batch *b, int64_t *first, int64_t *last)
{
    rc_share(b->member, b->members, b->n, 1, first, last);
}

/* The same of (n, width) numbers that have nothing to do with each other, whatever their tokens. */
static void my_elements(const batch *b, int64_t width, int64_t *first, int64_t *last)
{
    rc_share(b->member, b->members, b->n * width, RC_LANES, first, last);
}

/* To elements `first` up to `last` of each token. */
static void add_bias(const batch *b, int kind, int64_t layer, float *out, int64_t first, int64_t last)
{
    const rc_matrix bias = rc_matrix_of(b->s->model, kind, layer);
    if (bias.storage == RC_ABSENT)
        return;
    const float *values = rc_matrix_row(&bias, 0, b->s->row_room + b->member * b->s->widest);
    for (int64_t t = 0; t < b->n; t++)
        for (int64_t i = first; i < last; i++)
            out[t * bias.cols + i] += values[i];
}

/* A product of some inputs with a weight matrix, and where it goes. bias: RC_KINDS where there can be none. point and
 * int8_point: where it and its int8 activations are recorded. */
typedef struct {
    int kind, bias, point, int8_point;
    float *out;
} projection;

/* int8 activations of x for matrices of this group size */
static void quantize(const batch *b, const float *x, int64_t cols, int64_t group_size)
{
    const rc_session *s = b->s;
    int64_t first, last;
    rc_share(b->member, b->members, b->n * (cols / group_size), 1, &first, &last);
    int8_t *act = s->act + first * group_size;
    const int64_t count = (last - first) * group_size;
    rc_quantize_activations(act, s->act_scale + first, x + first * group_size, count, group_size);
    if (b->fast)
        rc_fast_sum_groups(s->act_sum + first, act, count, group_size);
    meet(b);
}

/* Rows `first` up to `last` of a product. */
static void multiply(const batch *b, const float *x, const rc_matrix *w, bool int8, float *out, int64_t first,
                     int64_t last)
{
    const rc_session *s = b->s;
    if (b->fast && !int8) {
        rc_fast_matmul(s, b->fast, b->member, out, x, b->n, w, first, last);
    } else if (b->fast && w->group_size % RC_FAST_STEP == 0) {
        rc_fast_matmul_q8(s, b->fast, b->member, out, b->n, w, first, last);
    } else if (!int8) {
        rc_matmul(out, x, b->n, w, s->row_room, s->lane_room);
    } else if (b->member == 0) {
        /* groups that no path has steps for are left to mirror's product, which has the same bits */
        const int64_t groups = w->cols / w->group_size;
        for (int64_t t = 0; t < b->n; t += BATCH)
            rc_matmul_q8(out + t * w->rows, s->act + t * w->cols, s->act_scale + t * groups,
                         b->n - t < BATCH ? b->n - t : BATCH, w, s->row_room, s->lane_room);
    }
}

/* Products of the same inputs; int8 activations are made once for all matrices of one group size. */
static void project(const batch *b, const float *x, int64_t layer, int count, const projection *projections)
{
    const rc_session *s = b->s;
    int64_t group_size = 0; /* of the int8 activations at hand */
    for (int i = 0; i < count; i++) {
        const projection *to = &projections[i];
        const rc_matrix w = rc_matrix_of(s->model, to->kind, layer);
        const bool int8 = b->o->activations == RC_ACTIVATIONS_Q8 && w.storage == RC_Q8;
        int64_t first, last;
        rc_share(b->member, b->members, w.rows, RC_FAST_ROWS, &first, &last);
        if (int8) {
            if (group_size != w.group_size) {
                meet(b); /* nobody needs those of the last group size any more */
                quantize(b, x, w.cols, w.group_size);
            }
            group_size = w.group_size;
            rc_record(&b->trace, to->int8_point, layer, s->act, b->n);
            rc_record(&b->trace, to->int8_point - RC_AT_Q_INT8 + RC_AT_Q_SCALE, layer, s->act_scale, b->n);
        }
        multiply(b, x, &w, int8, to->out, first, last);
        if (int8 && b->fast && w.group_size % RC_FAST_STEP != 0)
            meet(b);
        add_bias(b, to->bias, layer, to->out, first, last);
        rc_record(&b->trace, to->point, layer, to->out, b->n);
    }
    meet(b);
}

/* of the residual stream, into h */
static void norm(const batch *b, int kind, int64_t layer, int point)
{
    const rc_session *s = b->s;
    const rc_config *p = &s->model->config;
    const rc_matrix w = rc_matrix_of(s->model, kind, layer);
    const float *weight = rc_matrix_row(&w, 0, s->row_room + b->member * s->widest);
    int64_t first, last;
    my_tokens(b, &first, &last);
    for (int64_t t = first; t < last; t++)
        (b->fast ? b->fast->norm : rc_rmsnorm)(s->h + t * p->dim, b->x + t * p->dim, weight, p->dim,
                                               (float)p->norm_eps);
    meet(b);
    rc_record(&b->trace, point, layer, s->h, b->n);
}

static void add_projected(const batch *b, int64_t layer, int point)
{
    int64_t first, last;
    my_elements(b, b->s->model->config.dim, &first, &last);
    for (int64_t i = first; i < last; i++)
        b->x[i] += b->s->projected[i];
    meet(b);
    rc_record(&b->trace, point, layer, b->x, b->n);
}

static void attend(const batch *b, int64_t layer)
{
    if (!b->fast) {
        rc_attend(b->s, &b->trace, layer, b->position, b->n);
        return;
    }
    rc_fast_gather(b->s, b->fast, b->member, b->members, layer, b->position + b->n);
    meet(b);
    rc_fast_attend(b->s, b->fast, &b->trace, b->member, b->members, layer, b->position, b->n);
    meet(b);
}

static void run_layer(const batch *b, int64_t layer)
{
    const rc_session *s = b->s;
    const rc_config *p = &s->model->config;
    const int64_t head_size = p->head_dim, kv_dim = head_size * p->n_kv_heads, q_dim = head_size * p->n_heads;
    float *keys = s->keys + (layer * s->capacity + b->position) * kv_dim;
    float *values = s->values + (layer * s->capacity + b->position) * kv_dim;

    norm(b, RC_ATTENTION_NORM, layer, RC_AT_ATTENTION_NORM);
    const projection into_attention[] = {{RC_WQ, RC_WQ_BIAS, RC_AT_Q, RC_AT_Q_INT8, s->q},
                                         {RC_WK, RC_WK_BIAS, RC_AT_K, RC_AT_K_INT8, keys},
                                         {RC_WV, RC_WV_BIAS, RC_AT_V, RC_AT_V_INT8, values}};
    project(b, s->h, layer, 3, into_attention);
    int64_t first, last;
    my_tokens(b, &first, &last);
    for (int64_t t = first; t < last; t++) {
        const float *cosine = s->cosine + t * (head_size / 2), *sine = s->sine + t * (head_size / 2);
        rc_rotate(s->q + t * q_dim, p->n_heads, head_size, cosine, sine);
        rc_rotate(keys + t * kv_dim, p->n_kv_heads, head_size, cosine, sine);
    }
    meet(b);
    rc_record(&b->trace, RC_AT_Q_ROTATED, layer, s->q, b->n);
    rc_record(&b->trace, RC_AT_K_ROTATED, layer, keys, b->n);
    attend(b, layer);
    rc_record(&b->trace, RC_AT_ATTENDED, layer, s->h, b->n);
    project(b, s->h, layer, 1, &(projection){RC_WO, RC_WO_BIAS, RC_AT_WO, RC_AT_WO_INT8, s->projected});
    add_projected(b, layer, RC_AT_ATTENTION_RESIDUAL);

    norm(b, RC_FFN_NORM, layer, RC_AT_FFN_NORM);
    const projection into_gate[] = {{RC_W1, RC_W1_BIAS, RC_AT_GATE, RC_AT_GATE_INT8, s->gate},
                                    {RC_W3, RC_W3_BIAS, RC_AT_UP, RC_AT_UP_INT8, s->up}};
    project(b, s->h, layer, 2, into_gate);
    my_elements(b, p->hidden_dim, &first, &last);
    (b->fast ? b->fast->gated : rc_gated)(s->gate + first, s->up + first, last - first, p->gate);
    meet(b);
    rc_record(&b->trace, RC_AT_GATED, layer, s->gate, b->n);
    project(b, s->gate, layer, 1, &(projection){RC_W2, RC_W2_BIAS, RC_AT_DOWN, RC_AT_DOWN_INT8, s->projected});
    add_projected(b, layer, RC_AT_FFN_RESIDUAL);
}

static void embed(const batch *b, const int32_t *tokens)
{
    const rc_config *p = &b->s->model->config;
    const rc_matrix embedding = rc_matrix_of(b->s->model, RC_TOK_EMBEDDINGS, 0);
    int64_t first, last;
    my_tokens(b, &first, &last);
    for (int64_t t = first; t < last; t++)
        memcpy(b->x + t * p->dim, rc_matrix_row(&embedding, tokens[t], b->s->row_room + b->member * b->s->widest),
               (size_t)p->dim * sizeof *b->x);
    meet(b);
    rc_record(&b->trace, RC_AT_EMBEDDING, 0, b->x, b->n);
}

/* cosine and sine of the batch's positions */
static void turn(const batch *b)
{
    const rc_session *s = b->s;
    const rc_config *p = &s->model->config;
    const int64_t half = p->head_dim / 2;
    const float factor = p->scaling.type == RC_YARN ? (float)p->scaling.attention_factor : 1.0f;
    rc_tensor cosines, sines;
    rc_model_tensor(s->model, RC_FREQS_COS, 0, &cosines);
    rc_model_tensor(s->model, RC_FREQS_SIN, 0, &sines);
    int64_t first, last;
    my_tokens(b, &first, &last);
    for (int64_t t = first; t < last; t++) {
        float *cosine = s->cosine + t * half, *sine = s->sine + t * half;
        if (b->o->rope == RC_ROPE_COMPUTED && b->fast) {
            rc_rope_row_fast(cosine, sine, b->position + t, s->frequency_fast, half, factor);
        } else if (b->o->rope == RC_ROPE_COMPUTED) {
            rc_rope_row(cosine, sine, b->position + t, s->frequency, half, factor);
        } else {
            const int64_t at = (b->position + t) * half * (int64_t)sizeof(float);
            memcpy(cosine, s->model->bytes + cosines.offset + at, (size_t)half * sizeof(float));
            memcpy(sine, s->model->bytes + sines.offset + at, (size_t)half * sizeof(float));
        }
    }
    meet(b);
    rc_record(&b->trace, RC_AT_COSINE, 0, s->cosine, b->n);
    rc_record(&b->trace, RC_AT_SINE, 0, s->sine, b->n);
}

static void classify(const batch *b, float *logits)
{
    norm(b, RC_NORM, 0, RC_AT_FINAL_NORM);
    const int kind = b->s->model->config.shared_classifier ? RC_TOK_EMBEDDINGS : RC_OUTPUT;
    project(b, b->s->h, 0, 1, &(projection){kind, RC_KINDS, RC_AT_LOGITS, RC_AT_LOGITS_INT8, logits});
}

/* ---- what a caller may ask for ---- */

static int check_options(const rc_session *s, const rc_options *o, rc_status *status)
{
    if (o->activations == RC_ACTIVATIONS_Q8 && !s->model->config.group_size)
        return rc_fail(status, RC_ARGUMENT, "group_size (q8 activations need a Q8_0 file)", -1, "at least", 1, 0);
    if (o->arithmetic == RC_FAST && !rc_fast_path(o->path))
        return rc_fail(status, RC_ARGUMENT, "path (this machine has no such instructions)", -1, "one of those here, as",
                       rc_path_best(), o->path);
    if (o->rope == RC_ROPE_FROM_FILE && s->model->config.format != RC_V0)
        return rc_fail(status, RC_ARGUMENT, "RoPE tables in the file (only v0 has them)", -1, "exactly", 1, 0);
    return RC_OK;
}

static int check_count(int64_t n, int64_t room, rc_status *status)
{
    if (n < 1)
        return rc_fail(status, RC_ARGUMENT, "number of tokens", -1, "at least", 1, n);
    if (n > room)
        return rc_fail(status, RC_ARGUMENT, "number of tokens", -1, "at most", room, n);
    return RC_OK;
}

static int check_tokens(const rc_session *s, const int32_t *tokens, int64_t n, rc_status *status)
{
    for (int64_t t = 0; t < n; t++) {
        if (tokens[t] < 0)
            return rc_fail(status, RC_ARGUMENT, "token", t, "at least", 0, tokens[t]);
        if (tokens[t] >= s->model->config.vocab_size)
            return rc_fail(status, RC_ARGUMENT, "token", t, "less than", s->model->config.vocab_size, tokens[t]);
    }
    return RC_OK;
}

/* How many tokens go through a layer together. */
static int64_t at_once(const rc_session *s, const rc_options *o)
{
    return o && o->arithmetic == RC_FAST ? s->batch : s->batch < BATCH ? s->batch : BATCH;
}

/* The call's tokens from `start` on, as many as go through a layer together, for one who works alone. */
static batch batch_at(rc_session *s, const rc_options *o, void *const *trace, int64_t start, int64_t n,
                      int64_t position, float *x)
{
    const int64_t most = at_once(s, o);
    return (batch){.s = s,
                   .o = o,
                   .fast = o && o->arithmetic == RC_FAST ? rc_fast_path(o->path) : NULL,
                   .trace = {.model = s->model, .at = trace, .token = start, .seen = position + n},
                   .n = n - start < most ? n - start : most,
                   .position = position + start,
                   .x = x,
                   .member = 0,
                   .members = 1};
}

/* A forward pass, as the members of a team share it. */
typedef struct {
    rc_session *s;
    const rc_options *o;
    const int32_t *tokens;
    int64_t n, position;
    float *logits; /* (n, vocab_size) */
} pass;

static void run_pass(void *work, rc_team *team, int member, int members)
{
    const pass *own = work;
    const rc_config *p = &own->s->model->config;
    for (int64_t start = 0; start < own->n; start += at_once(own->s, own->o)) {
        batch b = batch_at(own->s, own->o, NULL, start, own->n, own->position, own->s->x);
        b.team = team;
        b.member = member;
        b.members = members;
        embed(&b, own->tokens + start);
        turn(&b);
        for (int64_t layer = 0; layer < p->n_layers; layer++)
            run_layer(&b, layer);
        classify(&b, own->logits + start * p->vocab_size);
    }
}

int rc_session_forward(rc_session *session, const int32_t *tokens, int64_t n, const rc_options *options,
                       float *logits, rc_status *status)
{
    const rc_config *p = &session->model->config;
    const int64_t position = session->fed[0];
    *status = (rc_status){.code = RC_OK, .offset = -1};
    for (int64_t layer = 1; layer < p->n_layers; layer++)
        if (session->fed[layer] != position)
            return rc_fail(status, RC_ARGUMENT, "positions of a layer (a walk is not finished)", layer, "exactly",
                           position, session->fed[layer]);
    if (check_options(session, options, status) || check_count(n, session->capacity - position, status) ||
        check_tokens(session, tokens, n, status))
        return status->code;
    pass own = {session, options, tokens, n, position, logits};
    rc_team_run(run_pass, &own, options->arithmetic == RC_FAST ? session->threads : 1);
    for (int64_t layer = 0; layer < p->n_layers; layer++)
        session->fed[layer] = position + n;
    return RC_OK;
}

int rc_walk_embedding(rc_session *session, const int32_t *tokens, int64_t n, void *const *trace, float *x,
                      rc_status *status)
{
    *status = (rc_status){.code = RC_OK, .offset = -1};
    if (check_count(n, session->capacity, status) || check_tokens(session, tokens, n, status))
        return status->code;
    for (int64_t start = 0; start < n; start += at_once(session, NULL)) {
        const batch b = batch_at(session, NULL, trace, start, n, 0, x + start * session->model->config.dim);
        embed(&b, tokens + start);
    }
    return RC_OK;
}

int rc_walk_layer(rc_session *session, int64_t layer, int64_t n, const rc_options *options, void *const *trace,
                  float *x, rc_status *status)
{
    const rc_config *p = &session->model->config;
    *status = (rc_status){.code = RC_OK, .offset = -1};
    if (layer < 0)
        return rc_fail(status, RC_ARGUMENT, "layer", -1, "at least", 0, layer);
    if (layer >= p->n_layers)
        return rc_fail(status, RC_ARGUMENT, "layer", -1, "less than", p->n_layers, layer);
    const int64_t position = session->fed[layer];
    if (check_options(session, options, status) || check_count(n, session->capacity - position, status))
        return status->code;
    for (int64_t start = 0; start < n; start += at_once(session, options)) {
        const batch b = batch_at(session, options, trace, start, n, position, x + start * p->dim);
        turn(&b);
        run_layer(&b, layer);
    }
    session->fed[layer] += n;
    return RC_OK;
}

int rc_walk_classifier(rc_session *session, int64_t n, const rc_options *options, void *const *trace,
                       const float *x, float *logits, rc_status *status)
{
    const rc_config *p = &session->model->config;
    *status = (rc_status){.code = RC_OK, .offset = -1};
    if (check_options(session, options, status) || check_count(n, session->capacity, status))
        return status->code;
    for (int64_t start = 0; start < n; start += at_once(session, options)) {
        const batch b = batch_at(session, options, trace, start, n, 0, session->x);
        memcpy(b.x, x + start * p->dim, (size_t)(b.n * p->dim) * sizeof *x);
        classify(&b, logits + start * p->vocab_size);
    }
    return RC_OK;
}
