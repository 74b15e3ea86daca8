/* shared FILE...: many threads on one handle, for ThreadSanitizer. Each has sessions of its own, with teams of its own
 * threads in them, looks up tensors, opens the file again; and gets the bits that one thread alone gets. Prints how
 * many passes were made and how many differ. */
#include "reader.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { THREADS = 12, ROUNDS = 24, TOKENS = 7 };

typedef struct {
    const char *path;
    const rc_model *model;
    const float *expected[2][2]; /* by activations, by arithmetic */
    int number;
    int kinds;
    long passes, wrong;
} caller;

static const int32_t TOKEN[TOKENS] = {1, 2, 0, 3, 1, 1, 2};

static int pass(const rc_model *model, int kind, int arithmetic, int path, int members, int64_t split, float *logits)
{
    const rc_options options = {kind, arithmetic, RC_ROPE_COMPUTED, path};
    const int64_t width = rc_model_config(model)->vocab_size;
    rc_session *session = NULL;
    rc_status status;
    int code = rc_session_open(model, TOKENS, members, &session, &status);
    if (!code && split)
        code = rc_session_forward(session, TOKEN, split, &options, logits, &status);
    if (!code)
        code = rc_session_forward(session, TOKEN + split, TOKENS - split, &options, logits + split * width, &status);
    rc_session_close(session);
    return code;
}

static void *work(void *own)
{
    caller *c = own;
    const int64_t width = rc_model_config(c->model)->vocab_size;
    const size_t size = (size_t)(TOKENS * width) * sizeof(float);
    float *logits = malloc(size);
    for (int round = 0; round < ROUNDS; round++) {
        const int kind = (round + c->number) % c->kinds, arithmetic = round / 2 % 2;
        int path = (round + c->number) % 4;
        if (!rc_path_is_here(path))
            path = RC_PATH_BEST;
        rc_model *again = NULL;
        rc_status status;
        const bool reopen = round % 6 == 5;
        if (reopen && rc_open(c->path, round % 4 == 1, &again, &status))
            c->wrong++;
        rc_tensor tensor;
        for (int kind_of = 0; kind_of < RC_KINDS; kind_of++)
            (void)rc_model_tensor(c->model, kind_of, 0, &tensor);
        const rc_model *model = again ? again : c->model;
        c->wrong += pass(model, kind, arithmetic, path, 1 + round % 4, round % TOKENS, logits) ||
                    memcmp(logits, c->expected[kind][arithmetic], size);
        c->passes++;
        rc_close(again);
    }
    free(logits);
    return NULL;
}

static int of_file(const char *path)
{
    rc_model *model = NULL;
    rc_status status;
    if (rc_open(path, 0, &model, &status)) {
        fprintf(stderr, "%s: refused for %s\n", path, status.field);
        return 1;
    }
    const size_t size = (size_t)(TOKENS * rc_model_config(model)->vocab_size) * sizeof(float);
    const int kinds = rc_model_config(model)->group_size ? 2 : 1;
    float *expected[2][2] = {{NULL}};
    int code = 0;
    for (int kind = 0; kind < kinds; kind++)
        for (int arithmetic = 0; arithmetic < 2; arithmetic++) {
            expected[kind][arithmetic] = malloc(size);
            code |= pass(model, kind, arithmetic, RC_PATH_SCALAR, 1, 0, expected[kind][arithmetic]);
        }
    caller callers[THREADS];
    pthread_t threads[THREADS];
    long passes = 0, wrong = code;
    for (int i = 0; i < THREADS; i++) {
        callers[i] = (caller){.path = path, .model = model, .number = i, .kinds = kinds};
        memcpy(callers[i].expected, expected, sizeof expected);
        if (pthread_create(&threads[i], NULL, work, &callers[i]))
            return 1;
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        passes += callers[i].passes;
        wrong += callers[i].wrong;
    }
    for (int kind = 0; kind < kinds; kind++)
        for (int arithmetic = 0; arithmetic < 2; arithmetic++)
            free(expected[kind][arithmetic]);
    rc_close(model);
    printf("%ld %ld\n", passes, wrong);
    return wrong != 0;
}

int main(int argc, char **argv)
{
    int wrong = 0;
    for (int i = 1; i < argc; i++)
        wrong |= of_file(argv[i]);
    return wrong;
}
