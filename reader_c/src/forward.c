/* All tokens of a call go through a layer together, in batches, which changes no bit: no sum in the model runs over
 * tokens but attention's, and that one runs over the cache in the order of positions. */
#include "fast_path.h"
#include "heads.h"
#include "layer.h"
#include "status.h"

#include <string.h>

static int check_options(const rc_session *s, const rc_options *o, rc_status *status)
{
    if (o->activations == RC_ACTIVATIONS_Q8 && !s->model->config.group_size)
        return rc_fail(status, RC_ARGUMENT, "group_size (q8 activations need a Q8_0 file)", -1, "at least", 1, 0);
    if (o->arithmetic == RC_FAST && !rc_fast_path(o->path))
        return rc_fail(status, RC_ARGUMENT, "path (this machine has no such instructions)", -1,
                       "a path of this machine, such as", rc_path_best(), o->path);
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
    return o && o->arithmetic == RC_FAST ? s->batch : s->batch < RC_MIRROR_BATCH ? s->batch : RC_MIRROR_BATCH;
}

/* The call's tokens from `start` on, as many as go through a layer together, for a team of one. */
static rc_batch batch_at(rc_session *s, const rc_options *o, void *const *trace, int64_t start, int64_t n,
                         int64_t position, float *x)
{
    const int64_t most = at_once(s, o);
    return (rc_batch){.s = s,
                   .o = o,
                   .fast = o && o->arithmetic == RC_FAST ? rc_fast_path(o->path) : NULL,
                   .trace = {.model = s->model, .at = trace, .token = start, .seen = position + n},
                   .n = n - start < most ? n - start : most,
                   .position = position + start,
                   .x = x,
                   .member = 0,
                   .members = 1};
}

/* A forward pass, which the members of a team share. */
typedef struct {
    rc_session *s;
    const rc_options *o;
    const int32_t *tokens; /* (n,) */
    int64_t n, position;
    float *logits; /* (n, vocab_size) */
} pass;

static void run_pass(void *work, rc_team *team, int member, int members)
{
    const pass *own = work;
    const rc_config *p = &own->s->model->config;
    for (int64_t start = 0; start < own->n; start += at_once(own->s, own->o)) {
        rc_batch b = batch_at(own->s, own->o, NULL, start, own->n, own->position, own->s->x);
        b.team = team;
        b.member = member;
        b.members = members;
        rc_embed(&b, own->tokens + start);
        rc_prepare_rope(&b);
        for (int64_t layer = 0; layer < p->n_layers; layer++)
            rc_run_layer(&b, layer);
        rc_classify(&b, own->logits + start * p->vocab_size);
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
        const rc_batch b = batch_at(session, NULL, trace, start, n, 0, x + start * session->model->config.dim);
        rc_embed(&b, tokens + start);
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
        const rc_batch b = batch_at(session, options, trace, start, n, position, x + start * p->dim);
        rc_prepare_rope(&b);
        rc_run_layer(&b, layer);
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
        const rc_batch b = batch_at(session, options, trace, start, n, 0, session->x);
        memcpy(b.x, x + start * p->dim, (size_t)(b.n * p->dim) * sizeof *x);
        rc_classify(&b, logits + start * p->vocab_size);
    }
    return RC_OK;
}
