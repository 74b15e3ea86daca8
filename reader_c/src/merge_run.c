/* A short run is searched for its best pair again and again. A long one has a heap of its pairs, so that time grows
 * with the length of the run and its logarithm. */
#include "merge_run.h"

#include "piece_table.h"
#include "status.h"

#include <stdlib.h>
#include <string.h>

enum { SHORT = 32, DEAD = -2 };

static void merge_short(const rc_block *b, int32_t *tokens, int64_t n, int64_t *left)
{
    const rc_pair *pairs[SHORT];
    for (int64_t i = 0; i + 1 < n; i++)
        pairs[i] = rc_pair_of(b, tokens[i], tokens[i + 1]);
    for (;;) {
        int64_t best = -1;
        for (int64_t i = 0; i + 1 < n; i++)
            if (pairs[i] && (best < 0 || pairs[i]->rank < pairs[best]->rank))
                best = i;
        if (best < 0)
            break;
        tokens[best] = pairs[best]->merged;
        n--;
        memmove(tokens + best + 1, tokens + best + 2, (size_t)(n - best - 1) * sizeof *tokens);
        if (best + 1 < n)
            memmove(pairs + best + 1, pairs + best + 2, (size_t)(n - best - 2) * sizeof *pairs);
        if (best + 1 < n)
            pairs[best] = rc_pair_of(b, tokens[best], tokens[best + 1]);
        if (best > 0)
            pairs[best - 1] = rc_pair_of(b, tokens[best - 1], tokens[best]);
    }
    *left = n;
}

/* A pair that stood at this place when it was put into the heap. */
typedef struct {
    int32_t rank;
    int32_t at;
    int32_t merged;
} candidate;

typedef struct {
    const rc_block *b;
    int32_t *tokens; /* (n,) DEAD where a token has become part of the one before it */
    int64_t n;
    int32_t *before, *after; /* (n,) the places beside each; -1 and n at the ends */
    candidate *heap;         /* (2 * n,): each merge takes one out and puts at most two in */
    int64_t waiting;         /* in the heap */
} run;

static bool is_better(const candidate *a, const candidate *b)
{
    return a->rank < b->rank || (a->rank == b->rank && a->at < b->at);
}

static void push(run *r, candidate added)
{
    int64_t at = r->waiting++;
    while (at > 0 && is_better(&added, &r->heap[(at - 1) / 2])) {
        r->heap[at] = r->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    r->heap[at] = added;
}

static candidate pop(run *r)
{
    const candidate best = r->heap[0], last = r->heap[--r->waiting];
    int64_t at = 0;
    for (int64_t child = 1; child < r->waiting; child = 2 * at + 1) {
        if (child + 1 < r->waiting && is_better(&r->heap[child + 1], &r->heap[child]))
            child++;
        if (!is_better(&r->heap[child], &last))
            break;
        r->heap[at] = r->heap[child];
        at = child;
    }
    r->heap[at] = last;
    return best;
}

static void consider(run *r, int32_t at)
{
    const rc_pair *pair = rc_pair_of(r->b, r->tokens[at], r->tokens[r->after[at]]);
    if (pair)
        push(r, (candidate){.rank = pair->rank, .at = at, .merged = pair->merged});
}

/* Whether what stands there now still merges into the same token. */
static bool is_possible(const run *r, const candidate *c)
{
    const int32_t left = r->tokens[c->at], next = r->after[c->at];
    if (left == DEAD || next == r->n)
        return false;
    const rc_pair *pair = rc_pair_of(r->b, left, r->tokens[next]);
    return pair && pair->merged == c->merged;
}

static void merge_long(run *r)
{
    for (int32_t i = 0; i < r->n; i++) {
        r->before[i] = i - 1;
        r->after[i] = i + 1;
    }
    r->waiting = 0;
    for (int32_t i = 0; i + 1 < r->n; i++)
        consider(r, i);
    while (r->waiting) {
        const candidate best = pop(r);
        if (!is_possible(r, &best))
            continue;
        const int32_t gone = r->after[best.at], next = r->after[gone];
        r->tokens[best.at] = best.merged;
        r->tokens[gone] = DEAD;
        r->after[best.at] = next;
        if (next < r->n) {
            r->before[next] = best.at;
            consider(r, best.at);
        }
        if (r->before[best.at] >= 0)
            consider(r, r->before[best.at]);
    }
}

static int reserve(rc_merge_room *room, int64_t n, rc_status *status)
{
    if (n <= room->room)
        return RC_OK;
    const int64_t size = n * (int64_t)(2 * sizeof(candidate) + 2 * sizeof(int32_t));
    void *memory = malloc((size_t)size);
    if (!memory)
        return rc_fail(status, RC_MEMORY, "text", -1, "bytes", size, 0);
    free(room->memory);
    *room = (rc_merge_room){.memory = memory, .room = n};
    return RC_OK;
}

int rc_merge_run(const rc_block *b, rc_merge_room *room, int32_t *tokens, int64_t n, int64_t *left,
                 rc_status *status)
{
    if (n <= SHORT) {
        merge_short(b, tokens, n, left);
        return RC_OK;
    }
    RC_TRY(reserve(room, n, status));
    candidate *heap = room->memory;
    int32_t *before = (int32_t *)(heap + 2 * n);
    run r = {.b = b, .tokens = tokens, .n = n, .before = before, .after = before + n, .heap = heap};
    merge_long(&r);
    *left = 0;
    for (int64_t i = 0; i < n; i++)
        if (tokens[i] != DEAD)
            tokens[(*left)++] = tokens[i];
    return RC_OK;
}
