/* The regular expressions, as the models publish them:
 *
 *   GPT-2    '(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
 *   Llama 3  (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|
 *            \s+(?!\S)|\s+
 *   Qwen 2   the same with \p{N} for \p{N}{1,3}
 *
 * One of the alternatives matches at every character, so that no text is left between pre-tokens. */
#include "scanner.h"

#include "unicode.h"

enum { OTHER = 0, KINDS = RC_LETTER | RC_NUMBER | RC_SPACE, LONG_S = 0x17f };

/* Which of letter, number, space or other the character at `at` is; nothing of them is behind the text. */
static int kind_at(const uint8_t *text, int64_t size, int64_t at, int32_t *width)
{
    if (at >= size) {
        *width = 0;
        return -1;
    }
    return rc_class_of(rc_character(text, size, at, width)) & KINDS;
}

static int64_t end_of_run(const uint8_t *text, int64_t size, int64_t at, int kind)
{
    int32_t width;
    while (kind_at(text, size, at, &width) == kind)
        at += width;
    return at;
}

static bool is_newline(uint8_t c)
{
    return c == '\r' || c == '\n';
}

/* \s+(?!\S)|\s+: all white space, without the last character where something follows and more than one is there. */
static int64_t end_of_space(const uint8_t *text, int64_t size, int64_t at)
{
    int32_t width = 0, last = 0;
    int64_t end = at;
    for (; kind_at(text, size, end, &width) == RC_SPACE; end += width)
        last = width;
    return end < size && end - last > at ? end - last : end;
}

/* The bytes of 's and its like at an apostrophe; 0 for none. `either`: capital letters, too. */
static int64_t contraction(const uint8_t *text, int64_t size, int64_t at, bool either)
{
    const uint8_t fold = either ? 0x20 : 0;
    const uint8_t first = at + 1 < size ? text[at + 1] | fold : 0, second = at + 2 < size ? text[at + 2] | fold : 0;
    if (first == 's' || first == 't' || first == 'm' || first == 'd')
        return 2;
    if ((first == 'l' && second == 'l') || ((first == 'v' || first == 'r') && second == 'e'))
        return 3;
    int32_t width = 0;
    /* the long s is a small s without regard to case */
    if (either && at + 1 < size && rc_character(text, size, at + 1, &width) == LONG_S)
        return 1 + width;
    return 0;
}

static int64_t gpt2(const uint8_t *text, int64_t size, int64_t at)
{
    if (text[at] == '\'') {
        const int64_t found = contraction(text, size, at, false);
        if (found)
            return at + found;
    }
    int32_t width;
    const int64_t from = at + (text[at] == ' ');
    const int kind = kind_at(text, size, from, &width);
    if (kind == RC_LETTER || kind == RC_NUMBER || kind == OTHER)
        return end_of_run(text, size, from + width, kind);
    return end_of_space(text, size, at);
}

/* \s*[\r\n]+: white space up to its last line end; 0 where it has none. */
static int64_t end_of_lines(const uint8_t *text, int64_t size, int64_t at)
{
    int64_t found = 0;
    int32_t width;
    for (; kind_at(text, size, at, &width) == RC_SPACE; at += width)
        if (is_newline(text[at]))
            found = at + 1;
    return found;
}

static int64_t end_of_others(const uint8_t *text, int64_t size, int64_t at)
{
    at = end_of_run(text, size, at, OTHER);
    while (at < size && is_newline(text[at]))
        at++;
    return at;
}

static int64_t llama3(const uint8_t *text, int64_t size, int64_t at, int most_numbers)
{
    if (text[at] == '\'') {
        const int64_t found = contraction(text, size, at, true);
        if (found)
            return at + found;
    }
    int32_t width, next_width;
    const int kind = kind_at(text, size, at, &width), next = kind_at(text, size, at + width, &next_width);
    if (kind == RC_LETTER)
        return end_of_run(text, size, at + width, RC_LETTER);
    if (kind == RC_NUMBER) {
        int64_t end = at;
        for (int n = 0; n < most_numbers && kind_at(text, size, end, &width) == RC_NUMBER; n++)
            end += width;
        return end;
    }
    if (next == RC_LETTER && !is_newline(text[at]))
        return end_of_run(text, size, at + width, RC_LETTER);
    if (kind == OTHER)
        return end_of_others(text, size, at);
    if (text[at] == ' ' && next == OTHER)
        return end_of_others(text, size, at + 1);
    const int64_t lines = end_of_lines(text, size, at);
    return lines ? lines : end_of_space(text, size, at);
}

int64_t rc_pretoken_end(int32_t pretokenizer, const uint8_t *text, int64_t size, int64_t at)
{
    switch (pretokenizer) {
    case RC_SPLIT_GPT2:
        return gpt2(text, size, at);
    case RC_SPLIT_LLAMA3:
        return llama3(text, size, at, 3);
    case RC_SPLIT_QWEN2:
        return llama3(text, size, at, 1);
    default:
        return size;
    }
}
