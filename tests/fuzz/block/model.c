#include "model.h"

#include <string.h>

enum { PIECE_BYTES_AT = 48 };

static uint32_t load(const uint8_t *at)
{
    uint32_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

static uint64_t piece_bytes(const uint8_t *block)
{
    uint64_t value;
    memcpy(&value, block + PIECE_BYTES_AT, sizeof value);
    return value;
}

static uint64_t aligned(uint64_t n, uint64_t to)
{
    return (n + to - 1) / to * to;
}

/* What the counts take; more than any size where they make no sense. */
static uint64_t counted(const uint8_t *data, size_t size)
{
    if (size < HEAD)
        return UINT64_MAX;
    uint64_t parts[FIELDS];
    for (int i = 0; i < FIELDS; i++)
        parts[i] = load(data + 4 * i);
    const uint64_t pieces = piece_bytes(data);
    if (pieces > size)
        return UINT64_MAX;
    uint64_t whole = HEAD + 4 * parts[TOKENS] + aligned(pieces, 4) + (parts[SCORED] == 1 ? 4 * parts[TOKENS] : 0);
    whole += 8 * parts[MERGES] + 8 * parts[ADDED] + 4 * parts[EOS_IDS] + parts[TEMPLATE];
    return aligned(whole, HEAD);
}

size_t block_size(const uint8_t *data, size_t size)
{
    const uint64_t whole = counted(data, size);
    return whole > size ? size : (size_t)whole;
}

bool read_model(model *m, const uint8_t *block, size_t size)
{
    memset(m, 0, sizeof *m);
    if (counted(block, size) != size)
        return false;
    for (int i = 0; i < FIELDS; i++)
        m->head[i] = load(block + 4 * i);
    m->count = m->head[TOKENS];
    m->merges = m->head[MERGES];
    m->added = m->head[ADDED];
    m->eos_ids = m->head[EOS_IDS];
    m->template_size = m->head[TEMPLATE];
    if (m->count > MOST || m->merges > MOST || m->added > MOST || m->eos_ids > MOST || m->template_size > MOST_TEMPLATE)
        return false;
    const uint8_t *pieces = block + HEAD + 4 * m->count, *at = pieces + aligned(piece_bytes(block), 4);
    for (uint32_t i = 0, begin = 0; i < m->count; i++) {
        const uint32_t end = load(block + HEAD + 4 * i);
        if (end < begin || end - begin > LONGEST || end > piece_bytes(block))
            return false;
        m->length[i] = end - begin;
        memcpy(m->bytes[i], pieces + begin, end - begin);
        begin = end;
    }
    for (uint32_t i = 0; i < m->count && m->head[SCORED] == 1; i++, at += 4)
        memcpy(&m->score[i], at, 4);
    for (uint32_t i = 0; i < m->merges; i++, at += 8) {
        m->left[i] = load(at);
        m->right[i] = load(at + 4);
    }
    for (uint32_t i = 0; i < m->added; i++, at += 8) {
        m->added_token[i] = load(at);
        m->added_flags[i] = load(at + 4);
        if (m->added_token[i] < m->count)
            m->is_added[m->added_token[i]] = true;
    }
    for (uint32_t i = 0; i < m->eos_ids; i++, at += 4)
        m->eos_id[i] = load(at);
    memcpy(m->chat_template, at, m->template_size);
    return true;
}

size_t write_model(const model *m, uint8_t *block, size_t most)
{
    uint64_t pieces = 0;
    for (uint32_t i = 0; i < m->count; i++)
        pieces += m->length[i];
    const size_t most_of_all = HEAD + 8 * m->count + pieces + 3 + 8 * (m->merges + m->added) + 4 * m->eos_ids +
                               m->template_size + HEAD;
    if (most_of_all > most)
        return 0;
    memset(block, 0, most_of_all);
    memcpy(block, m->head, sizeof m->head);
    const uint32_t counts[] = {m->count, m->merges, m->added};
    memcpy(block + 4 * TOKENS, counts, sizeof counts);
    memcpy(block + 4 * EOS_IDS, &m->eos_ids, 4);
    memcpy(block + 4 * TEMPLATE, &m->template_size, 4);
    memcpy(block + PIECE_BYTES_AT, &pieces, 8);
    uint8_t *at = block + HEAD + 4 * m->count;
    for (uint32_t i = 0, end = 0; i < m->count; i++) {
        memcpy(at + end, m->bytes[i], m->length[i]);
        end += m->length[i];
        memcpy(block + HEAD + 4 * i, &end, 4);
    }
    at += aligned(pieces, 4);
    for (uint32_t i = 0; i < m->count && m->head[SCORED] == 1; i++, at += 4)
        memcpy(at, &m->score[i], 4);
    for (uint32_t i = 0; i < m->merges; i++, at += 8) {
        memcpy(at, &m->left[i], 4);
        memcpy(at + 4, &m->right[i], 4);
    }
    for (uint32_t i = 0; i < m->added; i++, at += 8) {
        memcpy(at, &m->added_token[i], 4);
        memcpy(at + 4, &m->added_flags[i], 4);
    }
    for (uint32_t i = 0; i < m->eos_ids; i++, at += 4)
        memcpy(at, &m->eos_id[i], 4);
    memcpy(at, m->chat_template, m->template_size);
    return aligned((size_t)(at - block) + m->template_size, HEAD);
}
