/* Threads that go through one piece of work together: each does its share of every step and waits for the others.
 *
 * They live as long as the call that wants them. Where fewer can be had than were asked for, fewer do all of it: how
 * many there are changes no bit. */
#ifndef EXPORT_AND_VERIFY_TEAM_H
#define EXPORT_AND_VERIFY_TEAM_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

enum { RC_MOST_MEMBERS = 256 };

typedef struct {
    atomic_int members; /* 0 until all that can be had are there */
    atomic_int arrived;
    atomic_int turn;
    int patience; /* turns of a loop that a member waits for the others before it lets them have its processor */
    atomic_int asleep;
    pthread_mutex_t bed;
    pthread_cond_t alarm;
} rc_team;

typedef void (*rc_task)(void *work, rc_team *team, int member, int members);

/* Run the task as members 0 to members - 1, of which the caller is one; returns when all are done. */
void rc_team_run(rc_task task, void *work, int members);

/* Wait until every member has come here. */
void rc_team_meet(rc_team *team, int members);

/* The part of `count` things that is this member's, in whole multiples: from *first up to *last. */
static inline void rc_share(int member, int members, int64_t count, int64_t multiple, int64_t *first, int64_t *last)
{
    const int64_t pieces = (count + multiple - 1) / multiple;
    const int64_t from = pieces * member / members * multiple, to = pieces * (member + 1) / members * multiple;
    *first = from < count ? from : count;
    *last = to < count ? to : count;
}

#endif
