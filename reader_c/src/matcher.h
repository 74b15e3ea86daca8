/* Finds added tokens in a text: the leftmost, and of those that begin there the longest. */
#ifndef EXPORT_AND_VERIFY_MATCHER_H
#define EXPORT_AND_VERIFY_MATCHER_H

#include "block.h"

typedef struct {
    int64_t at;
    int32_t token;
    int32_t length;
} rc_match;

typedef struct {
    rc_match *items; /* (count,) from the end of the text to its beginning; a longest match for each beginning */
    int64_t count;
    int64_t room;
} rc_matches;

/* A matcher with room for patterns of `bytes` together. */
int rc_matcher_open(int64_t bytes, rc_matcher **matcher, rc_status *status);
void rc_matcher_close(rc_matcher *m);

/* Of equal patterns, the first one counts; one without bytes is never found. */
void rc_matcher_add(rc_matcher *m, const uint8_t *bytes, int64_t size, int32_t token);

/* To be called once, after the last pattern. */
void rc_matcher_finish(rc_matcher *m);

/* Replace `found` by every place of a text (size,) where a pattern begins. */
int rc_matcher_find(const rc_matcher *m, const uint8_t *text, int64_t size, rc_matches *found, rc_status *status);

#endif
