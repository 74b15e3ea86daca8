#include "blake3.h"

#include "bytes.h"

#include <stdbool.h>

enum { ROUNDS = 7, LAST_BLOCK = 15 /* of a chunk */ };
enum { CHUNK_START = 1, CHUNK_END = 2, PARENT = 4, ROOT = 8 };

static const uint32_t initial[8] = {0x6a09e667u, 0xbb67ae85u, 0x3c6ef372u, 0xa54ff53au,
                                    0x510e527fu, 0x9b05688cu, 0x1f83d9abu, 0x5be0cd19u};

static uint32_t rotate_right(uint32_t word, int bits)
{
    return word >> bits | word << (32 - bits);
}

static void mix(uint32_t *v, int a, int b, int c, int d, uint32_t x, uint32_t y)
{
    v[a] += v[b] + x;
    v[d] = rotate_right(v[d] ^ v[a], 16);
    v[c] += v[d];
    v[b] = rotate_right(v[b] ^ v[c], 12);
    v[a] += v[b] + y;
    v[d] = rotate_right(v[d] ^ v[a], 8);
    v[c] += v[d];
    v[b] = rotate_right(v[b] ^ v[c], 7);
}

/* value (8,) = the first half of what BLAKE3 compresses a block (RC_BLAKE3_BLOCK,) to, whose input is value. */
static void compress(uint32_t *value, const uint8_t *block, uint32_t length, uint64_t counter, uint32_t flags)
{
    static const uint8_t order[16] = {2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8};
    uint32_t v[16], m[16], next[16];
    for (int i = 0; i < 8; i++)
        v[i] = value[i];
    for (int i = 0; i < 4; i++)
        v[8 + i] = initial[i];
    v[12] = (uint32_t)counter;
    v[13] = (uint32_t)(counter >> 32);
    v[14] = length;
    v[15] = flags;
    for (int i = 0; i < 16; i++)
        m[i] = (uint32_t)rc_load_i32(block + 4 * i);
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < 4; i++)
            mix(v, i, 4 + i, 8 + i, 12 + i, m[2 * i], m[2 * i + 1]);
        for (int i = 0; i < 4; i++)
            mix(v, i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4, m[8 + 2 * i], m[9 + 2 * i]);
        for (int i = 0; i < 16; i++)
            next[i] = m[order[i]];
        memcpy(m, next, sizeof m);
    }
    for (int i = 0; i < 8; i++)
        value[i] = v[i] ^ v[8 + i];
}

static void store_words(uint8_t *to, const uint32_t *words)
{
    for (int i = 0; i < 32; i++)
        to[i] = (uint8_t)(words[i / 4] >> 8 * (i % 4));
}

/* The block of a parent node. */
static void join(uint8_t *block, const uint32_t *left, const uint32_t *right)
{
    store_words(block, left);
    store_words(block + RC_BLAKE3_BLOCK / 2, right);
}

static void begin_chunk(rc_blake3 *h)
{
    memcpy(h->value, initial, sizeof initial);
    h->blocks = 0;
}

/* The chunk at hand, whose value stands, becomes the right child of each tree that it completes. */
static void add_chunk(rc_blake3 *h)
{
    uint8_t block[RC_BLAKE3_BLOCK];
    uint32_t value[8];
    memcpy(value, h->value, sizeof value);
    h->chunk++;
    for (uint64_t chunks = h->chunk; chunks % 2 == 0; chunks /= 2) {
        join(block, h->trees[--h->count], value);
        memcpy(value, initial, sizeof value);
        compress(value, block, RC_BLAKE3_BLOCK, 0, PARENT);
    }
    memcpy(h->trees[h->count++], value, sizeof value);
    begin_chunk(h);
}

static uint32_t flags_of(const rc_blake3 *h, bool last)
{
    return (h->blocks == 0 ? CHUNK_START : 0u) | (last ? CHUNK_END : 0u);
}

void rc_blake3_begin(rc_blake3 *h)
{
    h->count = 0;
    h->chunk = 0;
    h->filled = 0;
    begin_chunk(h);
}

void rc_blake3_add(rc_blake3 *h, const uint8_t *bytes, int64_t size)
{
    while (size > 0) {
        if (h->filled == RC_BLAKE3_BLOCK) {
            const bool last = h->blocks == LAST_BLOCK;
            compress(h->value, h->block, RC_BLAKE3_BLOCK, h->chunk, flags_of(h, last));
            h->blocks++;
            h->filled = 0;
            if (last)
                add_chunk(h);
        }
        const int64_t room = RC_BLAKE3_BLOCK - (int64_t)h->filled, taken = size < room ? size : room;
        memcpy(h->block + h->filled, bytes, (size_t)taken);
        h->filled += (uint32_t)taken;
        bytes += taken;
        size -= taken;
    }
}

void rc_blake3_end(const rc_blake3 *h, uint8_t *digest)
{
    uint8_t block[RC_BLAKE3_BLOCK] = {0};
    uint32_t value[8], length = h->filled, flags = flags_of(h, true);
    uint64_t counter = h->chunk;
    memcpy(block, h->block, h->filled);
    memcpy(value, h->value, sizeof value);
    for (int tree = h->count; tree > 0; tree--) {
        compress(value, block, length, counter, flags);
        join(block, h->trees[tree - 1], value);
        memcpy(value, initial, sizeof value);
        length = RC_BLAKE3_BLOCK;
        counter = 0;
        flags = PARENT;
    }
    compress(value, block, length, counter, flags | ROOT);
    store_words(digest, value);
}
