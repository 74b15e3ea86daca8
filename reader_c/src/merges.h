/* Which two tokens merge into which third one. */
#ifndef EXPORT_AND_VERIFY_MERGES_H
#define EXPORT_AND_VERIFY_MERGES_H

#include "pieces.h"

/* Fill in the merges of a tokenizer whose pieces have been read. */
int rc_find_merges(rc_vocabulary *t, rc_status *status);

/* What the two tokens merge into; NULL where they do not. */
const rc_merge *rc_merge_of(const rc_vocabulary *t, int32_t left, int32_t right);

/* Whether some merge could ever join what ends with the left token and what begins with the right one. */
static inline bool rc_may_join(const rc_vocabulary *t, int32_t left, int32_t right)
{
    const rc_piece *a = &t->pieces[left], *b = &t->pieces[right];
    const int32_t bit = a->bytes[a->length - 1] * 256 + b->bytes[0];
    return t->joins[bit >> 3] >> (bit & 7) & 1;
}

#endif
