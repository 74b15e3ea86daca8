/* The automaton of Aho and Corasick over patterns that are read backwards: walked from the end of a text to its
 * beginning, the longest pattern that ends the walk so far is the longest that begins at this place. So time grows with
 * the length of the text alone, whatever the patterns are. */
#include "matcher.h"

#include "status.h"

#include <stdlib.h>

enum { ROOT = 0, NONE = 0 };

/* What has been read. The root has read nothing; as a child or sibling, it stands for none. */
typedef struct {
    int32_t child, sibling; /* the first longer one, by one byte; the next with the same beginning */
    int32_t shorter;        /* the longest one that this one ends in */
    int32_t token;          /* of the longest pattern that this one ends in, RC_NO_TOKEN for none */
    int32_t length;         /* of that pattern */
    uint8_t byte;           /* the last one read */
} state;

struct rc_matcher {
    state *states;
    int32_t *queue; /* (count,) scratch of rc_matcher_finish */
    int32_t count;
    int32_t first[256]; /* children of the root */
};

int rc_matcher_open(int64_t bytes, rc_matcher **matcher, rc_status *status)
{
    *matcher = NULL;
    rc_matcher *m = NULL;
    if (bytes < INT32_MAX)
        m = calloc(1, sizeof *m);
    if (!m)
        return rc_fail(status, RC_MEMORY, "added tokens", -1, "bytes", sizeof *m, 0);
    m->states = malloc((size_t)(bytes + 1) * sizeof *m->states);
    m->queue = malloc((size_t)(bytes + 1) * sizeof *m->queue);
    if (!m->states || !m->queue) {
        rc_matcher_close(m);
        return rc_fail(status, RC_MEMORY, "added tokens", -1, "bytes",
                       (bytes + 1) * (int64_t)(sizeof *m->states + sizeof *m->queue), 0);
    }
    m->states[ROOT] = (state){.token = RC_NO_TOKEN};
    m->count = 1;
    *matcher = m;
    return RC_OK;
}

void rc_matcher_close(rc_matcher *m)
{
    if (!m)
        return;
    free(m->states);
    free(m->queue);
    free(m);
}

static int32_t child_of(const rc_matcher *m, int32_t at, uint8_t byte)
{
    if (at == ROOT)
        return m->first[byte];
    int32_t child = m->states[at].child;
    while (child != NONE && m->states[child].byte != byte)
        child = m->states[child].sibling;
    return child;
}

void rc_matcher_add(rc_matcher *m, const uint8_t *bytes, int64_t size, int32_t token)
{
    int32_t at = ROOT;
    for (int64_t i = size - 1; i >= 0; i--) {
        int32_t next = child_of(m, at, bytes[i]);
        if (next == NONE) {
            next = m->count++;
            m->states[next] = (state){.sibling = m->states[at].child, .token = RC_NO_TOKEN, .byte = bytes[i]};
            m->states[at].child = next;
            if (at == ROOT)
                m->first[bytes[i]] = next;
        }
        at = next;
    }
    if (at != ROOT && m->states[at].token == RC_NO_TOKEN) {
        m->states[at].token = token;
        m->states[at].length = (int32_t)size;
    }
}

void rc_matcher_finish(rc_matcher *m)
{
    int32_t waiting = 0;
    m->queue[waiting++] = ROOT;
    for (int32_t done = 0; done < waiting; done++) {
        const int32_t at = m->queue[done];
        for (int32_t child = m->states[at].child; child != NONE; child = m->states[child].sibling) {
            state *s = &m->states[child];
            int32_t shorter = ROOT;
            if (at != ROOT) {
                int32_t from = m->states[at].shorter;
                while (from != ROOT && child_of(m, from, s->byte) == NONE)
                    from = m->states[from].shorter;
                shorter = child_of(m, from, s->byte);
            }
            s->shorter = shorter;
            if (s->token == RC_NO_TOKEN) {
                s->token = m->states[shorter].token;
                s->length = m->states[shorter].length;
            }
            m->queue[waiting++] = child;
        }
    }
    free(m->queue);
    m->queue = NULL;
}

static int add_match(rc_matches *found, rc_match match, rc_status *status)
{
    if (found->count == found->room) {
        const int64_t room = 2 * found->room + 16;
        rc_match *items = realloc(found->items, (size_t)room * sizeof *items);
        if (!items)
            return rc_fail(status, RC_MEMORY, "text", -1, "bytes", room * (int64_t)sizeof *items, 0);
        found->items = items;
        found->room = room;
    }
    found->items[found->count++] = match;
    return RC_OK;
}

int rc_matcher_find(const rc_matcher *m, const uint8_t *text, int64_t size, rc_matches *found, rc_status *status)
{
    found->count = 0;
    int32_t at = ROOT;
    for (int64_t i = size - 1; i >= 0; i--) {
        int32_t next = child_of(m, at, text[i]);
        while (next == NONE && at != ROOT) {
            at = m->states[at].shorter;
            next = child_of(m, at, text[i]);
        }
        at = next;
        const state *s = &m->states[at];
        if (s->token != RC_NO_TOKEN)
            RC_TRY(add_match(found, (rc_match){.at = i, .token = s->token, .length = s->length}, status));
    }
    return RC_OK;
}
