/* libFuzzer's target for tokenizer.bin: any bytes as a file, then any text through the tokenizer that it makes.
 *
 * The input is the file; its last 64 bytes are the text too, and the vocabulary's size is what the entries from the
 * start on can be, or nearly. What it holds the reader to, beside what the sanitizers see: a file is refused with a
 * field, a rule and a known code; tokens are in the vocabulary; their pieces are the text; and they are those of the
 * plain loop of run.c, which is written here once more. */
#include "tokenizer.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t most);

#define HOLDS(condition) \
    do { \
        if (!(condition)) { \
            fprintf(stderr, "broken promise: %s\n", #condition); \
            abort(); \
        } \
    } while (0)

enum { MOST_TEXT = 64, MOST_TOKENS = 200 };

static int32_t load(const uint8_t *at)
{
    int32_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

/* ---- run.c's loop, on a file that the reader took ---- */

typedef struct {
    const uint8_t *bytes;
    int32_t length;
    float score;
} entry;

static int32_t find(const entry *entries, int32_t count, const uint8_t *bytes, int32_t length)
{
    for (int32_t i = 0; i < count; i++)
        if (entries[i].length == length && !memcmp(entries[i].bytes, bytes, (size_t)length))
            return i;
    return -1;
}

static int32_t find_both(const entry *entries, int32_t count, int32_t left, int32_t right)
{
    const entry *a = &entries[left], *b = &entries[right];
    for (int32_t i = 0; i < count; i++)
        if (entries[i].length == a->length + b->length && !memcmp(entries[i].bytes, a->bytes, (size_t)a->length) &&
            !memcmp(entries[i].bytes + a->length, b->bytes, (size_t)b->length))
            return i;
    return -1;
}

static int32_t plain_start(const entry *entries, int32_t count, const uint8_t *text, size_t size, int32_t *tokens)
{
    int32_t n = 0;
    tokens[n++] = 1;
    if (size)
        tokens[n++] = find(entries, count, (const uint8_t *)" ", 1);
    uint8_t room[5];
    int32_t length = 0;
    for (size_t i = 0; i < size; i++) {
        room[length++] = text[i];
        if (i + 1 < size && (text[i + 1] & 0xc0) == 0x80 && length < 4)
            continue;
        const int32_t token = find(entries, count, room, length);
        if (token >= 0)
            tokens[n++] = token;
        else
            for (int32_t k = 0; k < length; k++)
                tokens[n++] = room[k] + 3;
        length = 0;
    }
    return n;
}

static int32_t plain_merge(const entry *entries, int32_t count, int32_t *tokens, int32_t n)
{
    for (;;) {
        float best_score = -1e10f;
        int32_t best = -1, at = -1;
        for (int32_t i = 0; i + 1 < n; i++) {
            const int32_t token = find_both(entries, count, tokens[i], tokens[i + 1]);
            if (token >= 0 && entries[token].score > best_score) {
                best_score = entries[token].score;
                best = token;
                at = i;
            }
        }
        if (at < 0)
            return n;
        tokens[at] = best;
        memmove(tokens + at + 1, tokens + at + 2, (size_t)(n - at - 2) * sizeof *tokens);
        n--;
    }
}

static void compare(const uint8_t *file, int32_t count, const uint8_t *text, size_t size, const int32_t *tokens,
                    int64_t found)
{
    entry *entries = malloc((size_t)count * sizeof *entries);
    HOLDS(entries);
    for (int32_t i = 0, at = 4; i < count; i++) {
        memcpy(&entries[i].score, file + at, 4);
        entries[i].length = load(file + at + 4);
        entries[i].bytes = file + at + 8;
        at += 8 + entries[i].length;
    }
    int32_t expected[MOST_TEXT + 3];
    const int32_t n = plain_merge(entries, count, expected, plain_start(entries, count, text, size, expected));
    HOLDS(found == n + 1 && !memcmp(expected, tokens, (size_t)n * sizeof *tokens) && tokens[n] == 2);
    free(entries);
}

/* ---- the reader ---- */

static void use(const rc_tokenizer *tokenizer, const uint8_t *file, int32_t count, const uint8_t *text, size_t size)
{
    int32_t *tokens = malloc((size + 3) * sizeof *tokens);
    HOLDS(tokens);
    int64_t found = 0, length = 0, again = 0;
    rc_status status;
    const int code = rc_tokenizer_encode(tokenizer, text, (int64_t)size, 1, 1, 0, tokens, &found, &status);
    if (code) {
        HOLDS(code == RC_ARGUMENT || code == RC_INVALID);
        HOLDS(status.field && status.rule && status.offset < (int64_t)size);
        free(tokens);
        return;
    }
    HOLDS(found <= (int64_t)size + 3);
    for (int64_t i = 0; i < found; i++)
        HOLDS(tokens[i] >= 0 && tokens[i] < count);
    /* the plain loop takes a hundred times as long: of large vocabularies, some */
    if (count <= 16 || (size && (text[0] & 7) == (text[size - 1] & 7)))
        compare(file, count, text, size, tokens, found);
    HOLDS(!rc_tokenizer_decode(tokenizer, -1, tokens, found, 0, NULL, &length, &status));
    uint8_t *back = malloc((size_t)length + 1);
    HOLDS(back);
    HOLDS(!rc_tokenizer_decode(tokenizer, -1, tokens, found, 0, back, &again, &status) && again == length);
    HOLDS(!rc_tokenizer_decode(tokenizer, -1, tokens, found, 1, back, &again, &status) && again <= length);
    free(back);
    free(tokens);
}

/* As many tokens as the file begins with, whatever the last of them is. */
static int32_t count_entries(const uint8_t *file, size_t size)
{
    int32_t count = 0;
    for (size_t at = 4; count < MOST_TOKENS && at + 8 <= size; count++) {
        const int32_t length = load(file + at + 4);
        if (length < 0 || (size_t)length > size - at - 8)
            break;
        at += 8 + (size_t)length;
    }
    return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const int32_t count = count_entries(data, size) + (size && data[size - 1] == 7);
    rc_tokenizer *tokenizer = NULL;
    rc_status status;
    const int code = rc_tokenizer_open(data, (int64_t)size, count, &tokenizer, &status);
    if (code) {
        HOLDS(code == status.code && !tokenizer);
        HOLDS(code == RC_INVALID || (code == RC_ARGUMENT && count < 3));
        HOLDS(status.field && status.rule && *status.field && status.offset >= -1 && status.offset <= (int64_t)size);
        return 0;
    }
    /* a copy of its own size, so that a sanitizer sees a byte too far */
    const size_t length = size < MOST_TEXT ? size : MOST_TEXT;
    uint8_t *text = malloc(length + 1);
    HOLDS(text);
    memcpy(text, data + size - length, length);
    for (size_t i = 0; i < length; i++)
        text[i] = text[i] ? text[i] : ' ';
    use(tokenizer, data, count, text, length);
    use(tokenizer, data, count, text, 0);
    free(text);
    rc_tokenizer_close(tokenizer);
    return 0;
}

/* ---- a mutator that keeps the lengths right most of the time ---- */

static uint32_t roll(uint64_t *state, uint32_t sides)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 33) % sides;
}

/* Put a piece of few letters behind the last entry: joined of two earlier ones where there are some. */
static size_t append(uint8_t *data, size_t size, size_t most, uint64_t *dice)
{
    uint8_t piece[32];
    const uint32_t length = 1 + roll(dice, roll(dice, 4) ? 4 : 31);
    for (uint32_t i = 0; i < length; i++)
        piece[i] = (uint8_t)"ab \xc3\xa9<0x41>"[roll(dice, roll(dice, 3) ? 3 : 11)];
    if (size + 8 + length > most)
        return size;
    static const float scores[] = {0.0f, -0.0f, 1.0f, -1.0f, -1e10f, 3.0f, 2.0f, -5.0f};
    const float score = scores[roll(dice, 8)];
    memcpy(data + size, &score, 4);
    memcpy(data + size + 4, &length, 4);
    memcpy(data + size + 8, piece, length);
    return size + 8 + length;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned seed)
{
    uint64_t dice = seed;
    const uint32_t choice = roll(&dice, 8);
    if (size < 4 || choice == 0)
        return LLVMFuzzerMutate(data, size, most);
    size_t at = 4;
    const uint32_t skipped = roll(&dice, (uint32_t)count_entries(data, size) + 1);
    for (uint32_t i = 0; i < skipped; i++)
        at += 8 + (size_t)load(data + at + 4);
    if (choice < 5)
        return append(data, size, most, &dice);
    if (choice < 7 && at + 8 < size) {
        /* within one entry */
        const size_t length = (size_t)load(data + at + 4);
        if (length && length <= size - at - 8)
            data[at + 8 + roll(&dice, (uint32_t)length)] = (uint8_t)(1 + roll(&dice, 255));
        else
            LLVMFuzzerMutate(data + at, 8, 8);
        return size;
    }
    LLVMFuzzerMutate(data + at, size - at < 8 ? size - at : 8, size - at < 8 ? size - at : 8);
    return size;
}
