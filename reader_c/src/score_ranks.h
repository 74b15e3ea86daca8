/* A block of scores: which tokens merge, in which order. */
#ifndef EXPORT_AND_VERIFY_SCORE_RANKS_H
#define EXPORT_AND_VERIFY_SCORE_RANKS_H

#include "block.h"

/* Check the scores, which stand at `at` of the block, and fill in its pairs: two tokens merge where their bytes
 * together are a piece, and the one with the larger score first. Added tokens and byte pieces are parts of no pair and
 * no result of one. */
int rc_rank_by_score(rc_block *b, int64_t at, rc_status *status);

#endif
