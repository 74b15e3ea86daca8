/* Threads that go through one piece of work together: each does its share of every step and waits for the others.
 *
 * They live as long as the call that starts them. If the system gives fewer threads than a call asks for, those do all
 * of the work: their number changes no bit. */
#ifndef EXPORT_AND_VERIFY_TEAM_H
#define EXPORT_AND_VERIFY_TEAM_H

#include <stdint.h>

/* RC_NO_THREADS: a team is its caller alone. */
#ifndef RC_NO_THREADS
#include <pthread.h>
#include <stdatomic.h>
#endif

enum { RC_MOST_MEMBERS = 256 };

typedef struct {
#ifndef RC_NO_THREADS
    atomic_int members; /* 0 until the number of threads is known */
    atomic_int arrived; /* members at the barrier */
    atomic_int round;   /* barriers that all have passed */
    int spins;          /* turns of a loop that a member waits for the others before it sleeps */
    atomic_int sleepers;
    pthread_mutex_t lock; /* of those who go to sleep */
    pthread_cond_t wake_up;
#else
    int members;
#endif
} rc_team;

typedef void (*rc_task)(void *work, rc_team *team, int member, int members);

/* Run the task as members 0 to members - 1, of which the caller is one; returns when all are done. */
void rc_team_run(rc_task task, void *work, int members);

/* Wait until every member has come here. */
void rc_team_barrier(rc_team *team, int members);

/* This member's part of `count` things, in whole multiples: from *first up to *last. */
static inline void rc_share(int member, int members, int64_t count, int64_t multiple, int64_t *first, int64_t *last)
{
    const int64_t pieces = (count + multiple - 1) / multiple;
    const int64_t from = pieces * member / members * multiple, to = pieces * (member + 1) / members * multiple;
    *first = from < count ? from : count;
    *last = to < count ? to : count;
}

#endif
