/* BLAKE3 with its default length, by which v3's digests are made. Plain C, one block after the other. */
#ifndef EXPORT_AND_VERIFY_BLAKE3_H
#define EXPORT_AND_VERIFY_BLAKE3_H

#include <stdint.h>

enum {
    RC_BLAKE3_BYTES = 32,
    RC_BLAKE3_BLOCK = 64,
    RC_BLAKE3_DEEPEST = 54, /* 2^64 bytes are 2^54 chunks */
};

/* On the way through some bytes. */
typedef struct {
    uint32_t trees[RC_BLAKE3_DEEPEST][8]; /* values of finished subtrees, the largest first */
    int count;                            /* of them */
    uint64_t chunk;                       /* number of the chunk at hand */
    uint32_t value[8];                    /* of its blocks so far */
    int blocks;                           /* of them */
    uint8_t block[RC_BLAKE3_BLOCK];       /* the block at hand */
    uint32_t filled;                      /* bytes of it; compressed only once more bytes follow */
} rc_blake3;

void rc_blake3_begin(rc_blake3 *h);
/* Append bytes (size,). */
void rc_blake3_add(rc_blake3 *h, const uint8_t *bytes, int64_t size);
/* digest (RC_BLAKE3_BYTES,) of all bytes so far. */
void rc_blake3_end(const rc_blake3 *h, uint8_t *digest);

#endif
