/* The tokens of a run, merged by rank. */
#ifndef EXPORT_AND_VERIFY_MERGE_RUN_H
#define EXPORT_AND_VERIFY_MERGE_RUN_H

#include "block.h"

/* Scratch for long runs; all zeros at first. */
typedef struct {
    void *memory;
    int64_t room; /* tokens that it is enough for */
} rc_merge_room;

/* Merge tokens (n,) in place, the pair of the smallest rank first, of equal ones the leftmost; *left are left. */
int rc_merge_run(const rc_block *b, rc_merge_room *room, int32_t *tokens, int64_t n, int64_t *left,
                 rc_status *status);

#endif
