/* A tokenizer opened, a text encoded and decoded, while the system refuses memory: at the first call, the second, ...
 *
 *     refused_words FILE VOCAB_SIZE TEXT KIND
 *
 * FILE is a tokenizer.bin, or a tokenizer block where KIND is "block".
 *
 * Linked as refused.c is. A refusal must come out as its code with the bytes that were asked for, and leave nothing
 * allocated. Prints how many calls were refused; status 1 where a promise is broken. */
#include "tokenizer.h"
#include "refused_calls.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HOLDS(condition) \
    do { \
        if (!(condition)) { \
            fprintf(stderr, "call %d: broken promise: %s\n", plan.nth, #condition); \
            exit(1); \
        } \
    } while (0)

enum { ROOM = 12 };

typedef struct {
    const uint8_t *file;
    int64_t size, vocab_size;
    const uint8_t *text;
    int64_t length;
    bool is_block;
    int32_t *tokens; /* (room,) */
    int64_t count;
} words;

static int use(words *w, rc_status *status)
{
    rc_tokenizer *tokenizer = NULL;
    int (*open)(const uint8_t *, int64_t, int64_t, rc_tokenizer **, rc_status *) =
        w->is_block ? rc_tokenizer_open_block : rc_tokenizer_open;
    int code = open(w->file, w->size, w->vocab_size, &tokenizer, status);
    HOLDS(!code == !!tokenizer);
    if (code)
        return code;
    int64_t bytes = 0;
    HOLDS(rc_tokenizer_room(tokenizer, w->length) <= ROOM * (w->length + 1));
    code = rc_tokenizer_encode(tokenizer, w->text, w->length, 1, 1, 1, w->tokens, &w->count, status);
    if (!code)
        HOLDS(!rc_tokenizer_decode(tokenizer, -1, w->tokens, w->count - 1, 0, NULL, &bytes, status) &&
              (w->is_block || bytes == w->length));
    rc_tokenizer_config c;
    rc_tokenizer_describe(tokenizer, &c);
    const int32_t behind = c.token_count;
    rc_status other;
    /* the first id that only the model has */
    if (behind < w->vocab_size)
        HOLDS(!rc_tokenizer_decode(tokenizer, -1, &behind, 1, 0, NULL, &bytes, &other) && !bytes);
    rc_tokenizer_close(tokenizer);
    return code;
}

int main(int count, char **given)
{
    static uint8_t file[1 << 20];
    FILE *source = count == 5 ? fopen(given[1], "rb") : NULL;
    HOLDS(source);
    words w = {.file = file, .size = (int64_t)fread(file, 1, sizeof file, source), .vocab_size = atoi(given[2])};
    fclose(source);
    w.text = (const uint8_t *)given[3];
    w.length = (int64_t)strlen(given[3]);
    w.is_block = !strcmp(given[4], "block");
    const size_t room = (size_t)(ROOM * (w.length + 1)) * sizeof *w.tokens;
    w.tokens = __real_malloc(room);
    int32_t *expected = __real_malloc(room);
    memset(w.tokens, 0, room);
    rc_status status = {0};
    HOLDS(use(&w, &status) == RC_OK);
    const int64_t n = w.count;
    memcpy(expected, w.tokens, room);
    int refused = 0;
    for (int nth = 1;; nth++, refused++) {
        plan.what = MEMORY;
        plan.nth = nth;
        plan.seen = plan.struck = 0;
        const int code = use(&w, &status), struck = plan.struck;
        HOLDS(code == (struck ? RC_MEMORY : RC_OK));
        HOLDS(!struck || (status.code == RC_MEMORY && status.field && status.expected > 0));
        plan.nth = 0;
        HOLDS(use(&w, &status) == RC_OK && w.count == n && !memcmp(w.tokens, expected, (size_t)n * sizeof *expected));
        if (!struck)
            break;
    }
    free(w.tokens);
    free(expected);
    printf("memory: %d\n", refused);
    return 0;
}
