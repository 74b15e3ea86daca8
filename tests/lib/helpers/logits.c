/* logits FILE PATH THREADS ACTIVATIONS N: the logits of tokens 0 .. N - 1 (modulo the vocabulary) by `fast`, raw, on
 * standard output. Built by tests for compilers and processors that have no Python of their own here. */
#include "reader.h"

#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    rc_status status;
    rc_model *model;
    rc_session *session;
    if (argc != 6)
        return 2;
    const int n = atoi(argv[5]);
    const rc_options options = {
        .activations = atoi(argv[4]), .arithmetic = RC_FAST, .rope = RC_ROPE_COMPUTED, .path = atoi(argv[2])};
    if (rc_open(argv[1], 0, &model, &status) || rc_session_open(model, n, atoi(argv[3]), &session, &status)) {
        fprintf(stderr, "%s\n", status.field ? status.field : "?");
        return 1;
    }
    const int vocab_size = rc_model_config(model)->vocab_size;
    int32_t *tokens = malloc(sizeof *tokens * (size_t)n);
    float *logits = malloc(sizeof *logits * (size_t)n * (size_t)vocab_size);
    for (int t = 0; t < n; t++)
        tokens[t] = t % vocab_size;
    if (rc_session_forward(session, tokens, n, &options, logits, &status)) {
        fprintf(stderr, "%s\n", status.field ? status.field : "?");
        return 1;
    }
    fwrite(logits, sizeof *logits, (size_t)n * (size_t)vocab_size, stdout);
    rc_session_close(session);
    rc_close(model);
    free(tokens);
    free(logits);
    return 0;
}
