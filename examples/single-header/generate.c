/* Continues a prompt by the model and the tokenizer of a v3 file, as `generate --arithmetic mirror` does.
 *
 *     make single && cc -O2 -I dist examples/single-header/generate.c -o generate -lm -lpthread
 *     ./generate MODEL.bin PROMPT STEPS TEMPERATURE SEED */
#define EXPORT_AND_VERIFY_IMPLEMENTATION
#include "export_and_verify.h"
#include <stdio.h>

static rc_status status;

static void must(int code)
{
    if (code)
        exit(fprintf(stderr, "error: %s: expected %s %lld\n", status.field, status.rule, (long long)status.expected) > 0);
}

static int64_t print(const rc_tokenizer *words, int32_t previous, int32_t token, uint8_t *text)
{
    int64_t size;
    must(rc_tokenizer_decode(words, previous, &token, 1, RC_WITHOUT_SPECIAL, text, &size, &status));
    fwrite(text, 1, (size_t)size, stdout);
    return size;
}

int main(int argc, char **argv)
{
    if (argc != 6)
        return 2;
    const rc_options how = {RC_ACTIVATIONS_FP32, RC_MIRROR, RC_ROPE_COMPUTED, RC_PATH_BEST};
    const rc_sampling sampling = {strtof(argv[4], NULL), 0.9f};
    int64_t size = (int64_t)strlen(argv[2]), steps = atoll(argv[3]), count, ends = 0;
    uint64_t seed = strtoull(argv[5], NULL, 10);
    rc_model *model;
    rc_tokenizer *words;
    rc_tokenizer_config said;
    rc_session *session;
    must(rc_open(argv[1], 0, &model, &status) || rc_check_digests(model, 1, &status));
    const rc_config *c = rc_model_config(model);
    const uint8_t *block = rc_model_bytes(model) + c->tokenizer_at;
    must(rc_tokenizer_open_block(block, c->tokenizer_size, c->vocab_size, &words, &status));
    rc_tokenizer_describe(words, &said);
    const size_t room = (size_t)(rc_tokenizer_room(words, size) + c->max_seq_len), vocabulary = (size_t)c->vocab_size;
    uint8_t *text = malloc((size_t)c->tokenizer_size); /* longer than any piece */
    int32_t *tokens = malloc(room * sizeof *tokens);   /* the prompt's, then those that are drawn */
    float *logits = malloc(vocabulary * sizeof *logits), *shares = malloc(vocabulary * sizeof *shares);
    rc_candidate *candidates = malloc(vocabulary * sizeof *candidates);
    must(rc_tokenizer_encode(words, (uint8_t *)argv[2], size, said.begins_with_bos, 0, 1, tokens, &count, &status));
    if (!count)
        tokens[count++] = said.bos < 0 ? said.eos_ids[0] : said.bos;
    steps -= print(words, -1, tokens[0], text) > 0;
    must(rc_session_open(model, steps, 1, &session, &status));
    for (int64_t at = 0; at < steps && !ends; at++) {
        must(rc_session_forward(session, &tokens[at], 1, &how, logits, &status));
        if (at + 1 == count) {
            must(rc_sample(logits, c->vocab_size, &sampling, &seed, shares, candidates, &tokens[count++], &status));
            for (int64_t i = 0; i < said.eos_count; i++)
                ends |= said.eos_ids[i] == tokens[at + 1];
        }
        if (!ends)
            print(words, tokens[at], tokens[at + 1], text);
    }
    return putchar('\n') == EOF;
}
