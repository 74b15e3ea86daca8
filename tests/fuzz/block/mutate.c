/* A mutator that keeps counts and places right most of the time. */
#include "model.h"

#include <string.h>

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t most);

static uint32_t roll(uint64_t *state, uint32_t sides)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 33) % sides;
}

/* parts of texts and pieces: letters, spaces, digits, marks, added tokens, half characters */
static const char *const parts[] = {
    "a", "b",     " ",       "  ",   "\n", "'s", "'\xc5\xbf", "1",    "23", "\xc3\xa9", "e\xcc\x81", "\xcc\xa7", "<s>",
    ".", "<0x41>", "\xe2\x96\x81", "\xe3\x80\x80", "\xe1\x84\x92\xe1\x85\xa1", "\xe1\x86\xab", "\xff", "\xe2\x96", "\xf0\x9f\x98\x80",
    "\t", "\r\n", "\xe0\xa5\x98",
};

static void set_piece(model *m, uint32_t token, uint64_t *dice)
{
    m->length[token] = 0;
    for (uint32_t n = 1 + roll(dice, 3); n > 0; n--) {
        const char *part = parts[roll(dice, sizeof parts / sizeof *parts)];
        const uint32_t size = (uint32_t)strlen(part);
        if (m->length[token] + size <= LONGEST)
            memcpy(m->bytes[token] + m->length[token], part, size);
        m->length[token] += m->length[token] + size <= LONGEST ? size : 0;
    }
}

/* A piece that is two others, and the merge of those. */
static void add_merge(model *m, uint64_t *dice)
{
    if (m->count >= MOST || m->merges >= MOST || !m->count)
        return;
    const uint32_t left = roll(dice, m->count), right = roll(dice, m->count);
    if (m->length[left] + m->length[right] > LONGEST)
        return;
    uint8_t *both = m->bytes[m->count];
    memcpy(both, m->bytes[left], m->length[left]);
    memcpy(both + m->length[left], m->bytes[right], m->length[right]);
    const uint32_t size = m->length[left] + m->length[right];
    bool is_new = true;
    for (uint32_t i = 0; i < m->count; i++)
        is_new = is_new && !(m->length[i] == size && !memcmp(m->bytes[i], both, size));
    if (is_new) {
        static const float scores[] = {0, -1, 1, 2, -5, 1e10f};
        m->score[m->count] = scores[roll(dice, 6)];
        m->length[m->count++] = size;
    }
    if (m->head[SCORED] == 1)
        return;
    m->left[m->merges] = left;
    m->right[m->merges++] = right;
}

static void add_added(model *m, uint64_t *dice)
{
    if (m->count >= MOST || m->added >= MOST)
        return;
    m->added_token[m->added] = m->count;
    m->added_flags[m->added++] = roll(dice, 32);
    set_piece(m, m->count++, dice);
}

static void change_head(model *m, uint64_t *dice)
{
    switch (roll(dice, 6)) {
    case 0:
        m->head[KIND] = 1 + roll(dice, 2);
        break;
    case 1:
        m->head[FLAGS] ^= 1u << roll(dice, 8);
        break;
    case 2:
        m->head[PRETOKENIZER] = roll(dice, 4);
        break;
    case 3:
        m->head[UNK] = m->count && m->head[KIND] == 2 ? roll(dice, m->count + 1) - 1 : UINT32_MAX;
        break;
    case 4:
        m->head[SCORED] ^= 1;
        m->head[KIND] = m->head[SCORED] ? 2 : m->head[KIND];
        m->head[PRETOKENIZER] = m->head[KIND] == 2 ? 0 : m->head[PRETOKENIZER];
        m->merges = m->head[SCORED] ? 0 : m->merges;
        break;
    default:
        m->head[BOS + 3 * roll(dice, 2)] = m->count ? roll(dice, m->count + 1) - 1 : 0;
    }
}

static size_t change_text(uint8_t *text, size_t size, size_t most, uint64_t *dice)
{
    if (roll(dice, 3) == 0 && most)
        return LLVMFuzzerMutate(text, size, most);
    const char *part = parts[roll(dice, sizeof parts / sizeof *parts)];
    const size_t length = strlen(part), at = size ? roll(dice, (uint32_t)size + 1) : 0;
    if (size + length > most)
        return size / 2;
    memmove(text + at + length, text + at, size - at);
    memcpy(text + at, part, length);
    return size + length;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned seed)
{
    static model m;
    static uint8_t text[1 << 16];
    uint64_t dice = seed;
    const size_t whole = block_size(data, size);
    const uint32_t choice = roll(&dice, 12);
    if (!read_model(&m, data, whole) || choice == 0 || size - whole > sizeof text)
        return LLVMFuzzerMutate(data, size, most);
    if (choice < 5)
        return whole + change_text(data + whole, size - whole, most - whole, &dice);
    const uint32_t token = m.count ? roll(&dice, m.count) : 0;
    if (choice < 8)
        add_merge(&m, &dice);
    else if (choice == 8)
        add_added(&m, &dice);
    else if (choice == 9)
        change_head(&m, &dice);
    else if (choice == 10 && m.count)
        set_piece(&m, token, &dice);
    else if (m.template_size < MOST_TEMPLATE)
        m.chat_template[m.template_size++] = (uint8_t)('a' + roll(&dice, 20));
    const size_t length = size - whole;
    memcpy(text, data + whole, length);
    const size_t written = write_model(&m, data, most);
    /* nothing was written where there is no room */
    if (!written)
        return size;
    const size_t kept = length < most - written ? length : most - written;
    memcpy(data + written, text, kept);
    return written + kept;
}
