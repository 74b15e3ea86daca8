/* Everything that the reader does with a file, while the system refuses one call of it: the first, the second, ...
 *
 *     refused FILE...
 *
 * Linked with the reader's sources and refused_calls.c. A refusal must come out as a code with its
 * field, leave nothing allocated (the leak sanitizer looks at the end), and not change what comes after it. Prints
 * how many of each were refused; status 1 where a promise is broken. */
#include "reader.h"
#include "refused_calls.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TOKENS = 7, THREADS = 4, WAYS = 3 };

#define HOLDS(condition) \
    do { \
        if (!(condition)) { \
            fprintf(stderr, "%s %d: broken promise: %s\n", names[plan.what], plan.nth, #condition); \
            exit(1); \
        } \
    } while (0)

/* Layer by layer, with every point recorded. */
static int walk(rc_session *session, const rc_model *model, const int32_t *tokens, const rc_options *options,
                float *logits, rc_status *status)
{
    const rc_config *c = rc_model_config(model);
    float *x = __real_malloc((size_t)(TOKENS * c->dim) * sizeof *x);
    void *trace[RC_POINTS];
    int code = RC_OK;
    for (int64_t layer = -1; layer <= c->n_layers && !code; layer++) {
        for (int point = 0; point < RC_POINTS; point++) {
            const int64_t at = layer < 0 || layer == c->n_layers ? 0 : layer;
            trace[point] = __real_malloc((size_t)(TOKENS * rc_trace_width(model, point, at, TOKENS)) * 4 + 1);
        }
        code = layer < 0             ? rc_walk_embedding(session, tokens, TOKENS, trace, x, status)
               : layer < c->n_layers ? rc_walk_layer(session, layer, TOKENS, options, trace, x, status)
                                     : rc_walk_classifier(session, TOKENS, options, trace, x, logits, status);
        for (int point = 0; point < RC_POINTS; point++)
            free(trace[point]);
    }
    free(x);
    return code;
}

static int compute(const rc_model *model, const rc_options *options, float *forward, float *walked, rc_status *status)
{
    static const int32_t tokens[TOKENS] = {3, 1, 4, 1, 5, 9, 2};
    rc_session *session = NULL;
    int code = rc_session_open(model, TOKENS, THREADS, &session, status);
    HOLDS(!code == !!session);
    if (!code)
        code = rc_session_forward(session, tokens, TOKENS, options, forward, status);
    rc_session_close(session);
    if (code)
        return code;
    code = rc_session_open(model, TOKENS, THREADS, &session, status);
    HOLDS(!code == !!session);
    if (!code)
        code = walk(session, model, tokens, options, walked, status);
    rc_session_close(session);
    return code;
}

/* There is no such tensor, and nothing is left of what stood where one is asked for. */
static bool has_none(const rc_model *model, int kind, int64_t layer)
{
    rc_tensor tensor;
    memset(&tensor, 0xff, sizeof tensor);
    return !rc_model_tensor(model, kind, layer, &tensor) && !tensor.storage && !tensor.rows && !tensor.length;
}

/* Only what is Q8_0 has groups and their scales. */
static bool groups_hold(const rc_model *model, const rc_config *c)
{
    bool hold = true;
    for (int kind = 0; kind < RC_KINDS; kind++) {
        rc_tensor t;
        for (int64_t layer = 0; rc_model_tensor(model, kind, layer, &t); layer++)
            hold &= t.storage == RC_Q8 ? t.group_size == c->group_size && t.scale_offset > 0 && t.scale_length > 0
                                       : !t.group_size && !t.scale_offset && !t.scale_length;
    }
    return hold;
}

/* The logits of every way to compute, or a code; nothing stays open. */
static int use(const char *path, int mapped, float **logits, size_t *size, rc_status *status)
{
    rc_model *model = NULL;
    int code = rc_open(path, mapped, &model, status);
    HOLDS(!code == !!model);
    if (code)
        return code;
    const rc_config *c = rc_model_config(model);
    HOLDS(groups_hold(model, c));
    HOLDS(has_none(model, -1, 0) && has_none(model, RC_KINDS, 0) && has_none(model, 0, -1) && has_none(model, 0, 1));
    const rc_options ways[WAYS] = {
        {.arithmetic = RC_MIRROR},
        {.arithmetic = RC_FAST},
        {.arithmetic = RC_FAST, .activations = c->group_size ? RC_ACTIVATIONS_Q8 : RC_ACTIVATIONS_FP32},
    };
    const size_t each = (size_t)(TOKENS * c->vocab_size);
    *size = 2 * WAYS * each * sizeof **logits;
    *logits = __real_calloc(1, *size);
    for (int way = 0; way < WAYS && !code; way++)
        code = compute(model, &ways[way], *logits + 2 * way * each, *logits + (2 * way + 1) * each, status);
    rc_close(model);
    if (code)
        free(*logits);
    return code;
}

/* What a refusal of this must come out as. */
static int promised(enum refused what)
{
    switch (what) {
    case MEMORY: return RC_MEMORY;
    case OPEN:
    case STAT:
    case READ:
    case MAP: return RC_SYSTEM;
    case ENDED_READ:
    case ANOTHER_SIZE:
    case ANOTHER_TIME:
    case REWRITTEN: return RC_INVALID;
    default: return RC_OK; /* fewer threads, smaller pages, another read: the same bits */
    }
}

/* And the status that goes with it: the system's error, numbers, or a text. */
static bool status_holds(enum refused what, const rc_status *status)
{
    static const int errors[REFUSALS] = {[OPEN] = EMFILE, [STAT] = EIO, [READ] = EIO, [MAP] = ENODEV};
    if (status->system_error != errors[what] || !status->field || !*status->field || !status->rule)
        return false;
    switch (what) {
    case MEMORY: /* bytes; of a session, for so many positions */
        return status->expected > 0 && status->found == (strcmp(status->field, "session") ? 0 : TOKENS);
    case ANOTHER_TIME:
    case REWRITTEN: return status->found_text && !strcmp(status->found_text, "a write");
    default: return !errors[what] || (status->expected == 0 && status->found == 0);
    }
}

static int refuse_each(const char *path, int mapped, enum refused what, bool all_after, const float *expected, size_t size)
{
    int refused = 0;
    for (int nth = 1;; nth++, refused++) {
        rc_status status = {0};
        float *found = NULL;
        size_t found_size = 0;
        plan.what = what;
        plan.nth = nth;
        plan.all_after = all_after;
        plan.seen = plan.struck = 0;
        const int code = use(path, mapped, &found, &found_size, &status);
        const int struck = plan.struck;
        HOLDS(code == (struck ? promised(what) : RC_OK));
        if (code) {
            HOLDS(status.code == code && status_holds(what, &status));
        } else {
            HOLDS(found_size == size && !memcmp(found, expected, size));
            free(found);
        }
        /* and the same thing again, with nothing refused */
        plan.nth = 0;
        HOLDS(use(path, mapped, &found, &found_size, &status) == RC_OK);
        HOLDS(found_size == size && !memcmp(found, expected, size));
        free(found);
        if (!struck)
            return refused;
    }
}

int main(int count, char **paths)
{
    int refused[REFUSALS] = {0};
    for (int i = 1; i < count; i++) {
        for (int mapped = 0; mapped < 2; mapped++) {
            float *expected = NULL;
            size_t size = 0;
            rc_status status = {0};
            HOLDS(use(paths[i], mapped, &expected, &size, &status) == RC_OK);
            for (int what = 0; what < REFUSALS; what++)
                for (int all_after = 0; all_after < (what == INTERRUPTED_READ ? 1 : 2); all_after++)
                    refused[what] += refuse_each(paths[i], mapped, what, all_after, expected, size);
            free(expected);
        }
    }
    for (int what = 0; what < REFUSALS; what++)
        printf("%s: %d\n", names[what], refused[what]);
    return 0;
}
