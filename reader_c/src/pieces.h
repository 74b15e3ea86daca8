/* The vocabulary of a tokenizer.bin: each token's piece and score. */
#ifndef EXPORT_AND_VERIFY_PIECES_H
#define EXPORT_AND_VERIFY_PIECES_H

#include "reader.h"

#include <stdbool.h>

/* run.c's own ids */
enum { RC_BOS = 1, RC_EOS = 2, RC_FIRST_BYTE = 3 };

typedef struct {
    const uint8_t *bytes; /* (length,), none of them 0 */
    int32_t length;       /* at least 1 */
    int32_t token;
} rc_piece;

/* A merge of some left token with `right`. */
typedef struct {
    int32_t right;
    int32_t merged;
    float score; /* of merged */
} rc_merge;

typedef struct {
    int32_t count;
    uint8_t *file;    /* a copy, into which pieces point */
    rc_piece *pieces; /* (count,) by token */
    rc_piece *sorted; /* (count,) by bytes */
    float *scores;    /* (count,) */
    int32_t of_byte[256]; /* the token of each piece of one byte; -1 where there is none */

    int64_t *first_merge; /* (count + 1,) where the merges of each left token begin */
    rc_merge *merges;     /* (first_merge[count],), those of a left token by right token */
    /* bit a * 256 + b: some merge joins a piece that ends in byte a and one that begins with byte b */
    uint8_t joins[256 * 256 / 8];
} rc_vocabulary;

/* Check a whole tokenizer.bin (size,) for a model of vocab_size tokens, copy it, and fill in everything above the
 * merges. After an error, rc_free_pieces frees what there is. */
int rc_read_pieces(rc_vocabulary *t, const uint8_t *file, int64_t size, int64_t vocab_size, rc_status *status);

/* Free everything that a vocabulary points to. */
void rc_free_pieces(rc_vocabulary *t);

/* The token whose piece is these bytes, or -1. length is at least 1. */
int32_t rc_find_piece(const rc_vocabulary *t, const uint8_t *bytes, int32_t length);

#endif
