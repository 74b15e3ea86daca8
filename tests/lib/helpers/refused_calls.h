/* Calls of the system that the reader makes and that can be refused: the first, the second, ... of one kind. */
#ifndef EXPORT_AND_VERIFY_REFUSED_CALLS_H
#define EXPORT_AND_VERIFY_REFUSED_CALLS_H

#include <stdbool.h>
#include <stddef.h>

enum refused {
    MEMORY,
    THREAD,
    OPEN,
    STAT,
    READ,
    INTERRUPTED_READ,
    SHORT_READ,
    ENDED_READ,
    ANOTHER_SIZE,
    ANOTHER_TIME,
    ANOTHER_CHANGE,
    REWRITTEN,
    ANOTHER_NAME,
    MAP,
    ADVICE,
    REFUSALS
};
extern const char *const names[REFUSALS];

/* Which call is to be refused, and how many of its kind were made and refused. */
extern struct plan {
    enum refused what;
    int nth; /* from 1; 0: none */
    bool all_after;
    int seen, struck;
} plan;

/* The system's own, which is never refused. */
void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);

#endif
