/* libFuzzer's target for tokenizer blocks: any bytes as a block, then any text through the tokenizer that it makes.
 *
 * The input is the block, whose size its counts give, and the text behind it. What it holds the reader to, beside what
 * the sanitizers see: a block is refused with a field, a rule and a known code; tokens are in the vocabulary and no
 * more than there is room for; a second call gives them again; where every byte has a piece and nothing else happens to
 * the text, their pieces are the text; and where only merges happen, they are those of a plain loop, written here. */
#include "model.h"
#include "tokenizer.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HOLDS(condition) \
    do { \
        if (!(condition)) { \
            fprintf(stderr, "broken promise: %s\n", #condition); \
            abort(); \
        } \
    } while (0)

enum { MOST_TEXT = 200, WHOLE = 1, BEGINS = 2, ENDS = 4, DIGITS = 16 };

static int32_t piece_of(const model *m, const uint8_t *bytes, uint32_t size)
{
    int32_t found = -1;
    for (uint32_t i = 0; i < m->count; i++)
        if (m->length[i] == size && !memcmp(m->bytes[i], bytes, size) && (found < 0 || !m->is_added[i]))
            if (found < 0 || m->is_added[found])
                found = (int32_t)i;
    return found;
}

/* The merge of the smallest rank, of equal ones the leftmost, again and again. */
static int64_t plain_merge(const model *m, int32_t *tokens, int64_t n)
{
    for (;;) {
        int64_t best = -1;
        uint32_t rank = m->merges;
        for (int64_t i = 0; i + 1 < n; i++)
            for (uint32_t k = 0; k < rank; k++)
                if (m->left[k] == (uint32_t)tokens[i] && m->right[k] == (uint32_t)tokens[i + 1]) {
                    best = i;
                    rank = k;
                }
        if (best < 0)
            return n;
        uint8_t both[2 * LONGEST];
        const uint32_t a = m->length[m->left[rank]], b = m->length[m->right[rank]];
        memcpy(both, m->bytes[m->left[rank]], a);
        memcpy(both + a, m->bytes[m->right[rank]], b);
        tokens[best] = piece_of(m, both, a + b);
        memmove(tokens + best + 1, tokens + best + 2, (size_t)(n - best - 2) * sizeof *tokens);
        n--;
    }
}

static void compare(const model *m, const uint8_t *text, int64_t size, const int32_t *tokens, int64_t count)
{
    int32_t expected[MOST_TEXT];
    int64_t n = 0;
    for (int64_t i = 0; i < size; i++) {
        const int32_t token = piece_of(m, text + i, 1);
        if (token >= 0)
            expected[n++] = token;
    }
    n = plain_merge(m, expected, n);
    HOLDS(count == n && !memcmp(tokens, expected, (size_t)n * sizeof *tokens));
}

static bool has_all_bytes(const model *m, const uint8_t *text, int64_t size)
{
    bool has = true;
    for (int64_t i = 0; i < size; i++)
        has = has && piece_of(m, text + i, 1) >= 0;
    return has;
}

static void use(const rc_tokenizer *tokenizer, const model *m, const uint8_t *text, int64_t size, int special)
{
    const int64_t room = rc_tokenizer_room(tokenizer, size);
    int32_t *tokens = malloc((size_t)room * sizeof *tokens), *again = malloc((size_t)room * sizeof *again);
    HOLDS(tokens && again);
    int64_t count = 0, same = 0, length = 0, written = 0;
    rc_status status;
    HOLDS(!rc_tokenizer_encode(tokenizer, text, size, 0, 0, special, tokens, &count, &status));
    HOLDS(!rc_tokenizer_encode(tokenizer, text, size, 0, 0, special, again, &same, &status));
    HOLDS(count <= room && count == same && !memcmp(tokens, again, (size_t)count * sizeof *tokens));
    for (int64_t i = 0; i < count; i++)
        HOLDS(tokens[i] >= 0 && (uint32_t)tokens[i] < m->count);
    HOLDS(!rc_tokenizer_decode(tokenizer, -1, tokens, count, 0, NULL, &length, &status));
    uint8_t *back = malloc((size_t)length + 1);
    HOLDS(back);
    HOLDS(!rc_tokenizer_decode(tokenizer, -1, tokens, count, 0, back, &written, &status) && written == length);
    const bool is_plain = m->head[KIND] == 1 && !(m->head[FLAGS] & ~(uint32_t)(WHOLE | BEGINS | ENDS | DIGITS));
    if (is_plain && !m->added && has_all_bytes(m, text, size))
        HOLDS(length == size && !memcmp(back, text, (size_t)size));
    if (is_plain && !m->added && !(m->head[FLAGS] & (WHOLE | DIGITS)) && !m->head[PRETOKENIZER])
        compare(m, text, size, tokens, count);
    HOLDS(!rc_tokenizer_decode(tokenizer, -1, tokens, count, RC_WITHOUT_SPECIAL, back, &written, &status));
    HOLDS(written <= length);
    free(back);
    free(tokens);
    free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const size_t whole = block_size(data, size);
    /* a copy of its own size, so that a sanitizer sees a byte too far */
    uint8_t *block = malloc(whole + 1);
    HOLDS(block);
    memcpy(block, data, whole);
    rc_tokenizer *tokenizer = NULL;
    rc_status status;
    const int64_t vocab_size = whole > 12 && data[12] ? data[12] : 1;
    const int code = rc_tokenizer_open_block(block, (int64_t)whole, vocab_size, &tokenizer, &status);
    if (code) {
        HOLDS(code == RC_INVALID && code == status.code && !tokenizer);
        HOLDS(status.field && status.rule && *status.field && status.offset >= -1 && status.offset <= (int64_t)whole);
        free(block);
        return 0;
    }
    static model m;
    const bool is_read = read_model(&m, block, whole);
    free(block);
    const size_t length = size - whole < MOST_TEXT ? size - whole : MOST_TEXT;
    uint8_t *text = malloc(length + 1);
    HOLDS(text);
    memcpy(text, data + whole, length);
    if (is_read) {
        use(tokenizer, &m, text, (int64_t)length, 1);
        use(tokenizer, &m, text, (int64_t)length, 0);
        use(tokenizer, &m, text, 0, 1);
    }
    rc_tokenizer_close(tokenizer);
    free(text);
    return 0;
}
