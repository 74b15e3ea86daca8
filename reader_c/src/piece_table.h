/* From bytes to the token whose piece they are, and from two tokens to the one that they merge into. */
#ifndef EXPORT_AND_VERIFY_PIECE_TABLE_H
#define EXPORT_AND_VERIFY_PIECE_TABLE_H

#include "block.h"

/* Of a pre-token's bytes. */
uint64_t rc_hash(const uint8_t *bytes, int64_t size);

/* Sort the pieces and fill in the table; refuses two pieces of the same bytes, unless one is an added token. */
int rc_index_pieces(rc_block *b, rc_status *status);
/* The token with this piece, RC_NO_TOKEN for none; of several, the one that is not an added token. */
int32_t rc_token_of(const rc_block *b, const uint8_t *bytes, int64_t size, uint64_t hash);

/* Sort the pairs and fill in their table. A pair that stands there twice is *twice, of which the first is *once;
 * else they are RC_NO_TOKEN. */
int rc_index_pairs(rc_block *b, int32_t *once, int32_t *twice, rc_status *status);
/* What two tokens merge into, NULL where they do not. */
const rc_pair *rc_pair_of(const rc_block *b, int32_t left, int32_t right);

#endif
