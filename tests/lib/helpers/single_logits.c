/* single_logits FILE ACTIVATIONS ARITHMETIC ROPE N: the logits of tokens 0 .. N - 1 (modulo the vocabulary), raw, on
 * standard output: half of them together, the others one by one. By the single header, from buffers of this program. */
#define EXPORT_AND_VERIFY_IMPLEMENTATION
#include "export_and_verify.h"

#include <stdio.h>

static rc_status status;

static void must(int code)
{
    if (code) {
        fprintf(stderr, "%s: %s\n", status.field, status.rule);
        exit(1);
    }
}

/* Memory at a multiple of 64; the program's end frees it. */
static void *room_of(int64_t size)
{
    uint8_t *bytes = (uint8_t *)malloc((size_t)size + 64);
    return bytes + (64 - (uintptr_t)bytes % 64);
}

int main(int argc, char **argv)
{
    if (argc != 6)
        return 2;
    FILE *file = fopen(argv[1], "rb");
    fseek(file, 0, SEEK_END);
    const int64_t size = ftell(file);
    uint8_t *bytes = (uint8_t *)room_of(size);
    rewind(file);
    if (fread(bytes, 1, (size_t)size, file) != (size_t)size)
        return 3;
    rc_model *model;
    rc_session *session;
    must(rc_open_memory(bytes, size, room_of(rc_model_room()), &model, &status));
    const rc_config *c = rc_model_config(model);
#ifndef RC_NO_DIGESTS
    if (c->format == RC_V3)
        must(rc_check_digests(model, 1, &status));
#endif
    const int n = atoi(argv[5]), half = n / 2;
    const rc_options options = {atoi(argv[2]), atoi(argv[3]), atoi(argv[4]), RC_PATH_BEST};
    int64_t needed;
    must(rc_session_room(model, n, 2, &needed, &status));
    must(rc_session_place(model, n, 2, room_of(needed), needed, &session, &status));
    int32_t *tokens = (int32_t *)room_of(n * (int64_t)sizeof(int32_t));
    float *logits = (float *)room_of((int64_t)n * c->vocab_size * (int64_t)sizeof(float));
    for (int t = 0; t < n; t++)
        tokens[t] = t % c->vocab_size;
    must(rc_session_forward(session, tokens, half, &options, logits, &status));
    for (int t = half; t < n; t++)
        must(rc_session_forward(session, tokens + t, 1, &options, logits + (int64_t)t * c->vocab_size, &status));
    fwrite(logits, sizeof *logits, (size_t)n * (size_t)c->vocab_size, stdout);
    return 0;
}
