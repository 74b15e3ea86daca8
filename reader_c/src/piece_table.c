/* Tables of open addressing. A search looks at PROBES places and then, which a block that was made for it can cause and
 * others do in one of many thousands of cases, searches the sorted list: so that no block makes a search slow. */
#include "piece_table.h"

#include "status.h"

#include <stdlib.h>
#include <string.h>

enum { PROBES = 16 };

static uint64_t mixed(uint64_t h)
{
    h ^= h >> 32;
    h *= 0x9e3779b97f4a7c15u;
    return h ^ h >> 29;
}

uint64_t rc_hash(const uint8_t *bytes, int64_t size)
{
    uint64_t h = (uint64_t)size * 0xff51afd7ed558ccdu, word;
    for (; size >= 8; size -= 8, bytes += 8) {
        memcpy(&word, bytes, 8);
        h = mixed(h ^ word);
    }
    word = 0;
    for (int64_t i = 0; i < size; i++)
        word |= (uint64_t)bytes[i] << 8 * i;
    return mixed(mixed(h ^ word));
}

static uint64_t hash_of_pair(int32_t left, int32_t right)
{
    return mixed((uint64_t)(uint32_t)left << 32 | (uint32_t)right);
}

/* A power of two of which n take at most two thirds, less 1. */
static uint64_t mask_for(int64_t n)
{
    uint64_t places = PROBES;
    while (places < (uint64_t)n + (uint64_t)n / 2)
        places *= 2;
    return places - 1;
}

static int compare(const uint8_t *a, int64_t a_size, const uint8_t *b, int64_t b_size)
{
    const int order = memcmp(a, b, (size_t)(a_size < b_size ? a_size : b_size));
    return order ? order : (a_size > b_size) - (a_size < b_size);
}

typedef struct {
    const uint8_t *bytes;
    int32_t size;
    int32_t added;
    int32_t token;
} sortable;

static int by_bytes(const void *a, const void *b)
{
    const sortable *p = a, *q = b;
    const int order = compare(p->bytes, p->size, q->bytes, q->size);
    if (order)
        return order;
    return p->added != q->added ? p->added - q->added : (p->token > q->token) - (p->token < q->token);
}

static int check_order(rc_block *b, const sortable *all, rc_status *status)
{
    for (int32_t i = 0; i < b->sorted_count; i++) {
        b->sorted[i] = all[i].token;
        if (i && !all[i].added && !compare(all[i - 1].bytes, all[i - 1].size, all[i].bytes, all[i].size))
            return rc_fail(status, RC_INVALID, "token with this piece", all[i].bytes - b->copy, "only",
                           all[i - 1].token, all[i].token);
    }
    return RC_OK;
}

static void fill_piece_slots(rc_block *b)
{
    for (uint64_t i = 0; i <= b->piece_mask; i++)
        b->piece_slots[i].token = RC_NO_TOKEN;
    for (int32_t i = 0; i < b->sorted_count; i++) {
        const int32_t token = b->sorted[i], length = rc_length_of(b, token);
        /* of equal pieces, the first: the others are never found */
        if (i && !compare(rc_bytes_of(b, b->sorted[i - 1]), rc_length_of(b, b->sorted[i - 1]), rc_bytes_of(b, token),
                          length))
            continue;
        const uint64_t hash = rc_hash(rc_bytes_of(b, token), length);
        for (uint64_t k = 0; k < PROBES; k++) {
            rc_piece_slot *slot = &b->piece_slots[(hash + k) & b->piece_mask];
            if (slot->token == RC_NO_TOKEN) {
                *slot = (rc_piece_slot){.tag = (uint32_t)(hash >> 32), .token = token};
                break;
            }
        }
    }
}

int rc_index_pieces(rc_block *b, rc_status *status)
{
    const size_t count = (size_t)b->count;
    b->piece_mask = mask_for(b->count);
    b->sorted = malloc(count * sizeof *b->sorted);
    b->piece_slots = malloc((size_t)(b->piece_mask + 1) * sizeof *b->piece_slots);
    sortable *all = malloc(count * sizeof *all);
    int code = RC_OK;
    if (!b->sorted || !b->piece_slots || !all) {
        code = rc_fail(status, RC_MEMORY, "tokenizer", -1, "bytes", (int64_t)(count * sizeof *all), 0);
    } else {
        for (int32_t token = 0; token < b->count; token++)
            if (rc_length_of(b, token))
                all[b->sorted_count++] = (sortable){.bytes = rc_bytes_of(b, token),
                                                    .size = rc_length_of(b, token),
                                                    .added = b->added[token] ? 1 : 0,
                                                    .token = token};
        qsort(all, (size_t)b->sorted_count, sizeof *all, by_bytes);
        code = check_order(b, all, status);
    }
    if (!code)
        fill_piece_slots(b);
    free(all);
    return code;
}

static int32_t search_pieces(const rc_block *b, const uint8_t *bytes, int64_t size)
{
    int32_t low = 0, high = b->sorted_count;
    while (low < high) {
        const int32_t middle = low + (high - low) / 2, token = b->sorted[middle];
        if (compare(rc_bytes_of(b, token), rc_length_of(b, token), bytes, size) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == b->sorted_count)
        return RC_NO_TOKEN;
    const int32_t token = b->sorted[low];
    return compare(rc_bytes_of(b, token), rc_length_of(b, token), bytes, size) ? RC_NO_TOKEN : token;
}

int32_t rc_token_of(const rc_block *b, const uint8_t *bytes, int64_t size, uint64_t hash)
{
    for (uint64_t k = 0; k < PROBES; k++) {
        const rc_piece_slot *slot = &b->piece_slots[(hash + k) & b->piece_mask];
        if (slot->token == RC_NO_TOKEN)
            return RC_NO_TOKEN;
        if (slot->tag == (uint32_t)(hash >> 32) && rc_length_of(b, slot->token) == size &&
            !memcmp(rc_bytes_of(b, slot->token), bytes, (size_t)size))
            return slot->token;
    }
    return search_pieces(b, bytes, size);
}

static int order_of(int32_t left, int32_t right, const rc_pair *pair)
{
    if (left != pair->left)
        return left < pair->left ? -1 : 1;
    return (right > pair->right) - (right < pair->right);
}

static int by_pair(const void *a, const void *b)
{
    const rc_pair *p = a, *q = b;
    const int order = order_of(p->left, p->right, q);
    return order ? order : (p->rank > q->rank) - (p->rank < q->rank);
}

static void note_join(rc_block *b, const rc_pair *pair)
{
    const int bit = rc_bytes_of(b, pair->left)[rc_length_of(b, pair->left) - 1] * 256 + *rc_bytes_of(b, pair->right);
    b->joins[bit >> 3] |= (uint8_t)(1 << (bit & 7));
}

int rc_index_pairs(rc_block *b, int32_t *once, int32_t *twice, rc_status *status)
{
    *once = *twice = RC_NO_TOKEN;
    qsort(b->pairs, (size_t)b->pair_count, sizeof *b->pairs, by_pair);
    b->pair_mask = mask_for(b->pair_count);
    b->pair_slots = malloc((size_t)(b->pair_mask + 1) * sizeof *b->pair_slots);
    if (!b->pair_slots)
        return rc_fail(status, RC_MEMORY, "tokenizer", -1, "bytes",
                       (int64_t)((b->pair_mask + 1) * sizeof *b->pair_slots), 0);
    for (uint64_t i = 0; i <= b->pair_mask; i++)
        b->pair_slots[i].left = RC_NO_TOKEN;
    for (int64_t i = 0; i < b->pair_count; i++) {
        const rc_pair *pair = &b->pairs[i];
        if (i && !order_of(pair->left, pair->right, pair - 1)) {
            *once = pair[-1].rank;
            *twice = pair->rank;
            return RC_OK;
        }
        note_join(b, pair);
        const uint64_t hash = hash_of_pair(pair->left, pair->right);
        for (uint64_t k = 0; k < PROBES; k++) {
            rc_pair *slot = &b->pair_slots[(hash + k) & b->pair_mask];
            if (slot->left == RC_NO_TOKEN) {
                *slot = *pair;
                break;
            }
        }
    }
    return RC_OK;
}

const rc_pair *rc_pair_of(const rc_block *b, int32_t left, int32_t right)
{
    const uint64_t hash = hash_of_pair(left, right);
    for (uint64_t k = 0; k < PROBES; k++) {
        const rc_pair *slot = &b->pair_slots[(hash + k) & b->pair_mask];
        if (slot->left == RC_NO_TOKEN)
            return NULL;
        if (slot->left == left && slot->right == right)
            return slot;
    }
    int64_t low = 0, high = b->pair_count;
    while (low < high) {
        const int64_t middle = low + (high - low) / 2;
        if (order_of(left, right, &b->pairs[middle]) > 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low < b->pair_count && !order_of(left, right, &b->pairs[low]) ? &b->pairs[low] : NULL;
}
