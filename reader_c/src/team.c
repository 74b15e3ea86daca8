#define _POSIX_C_SOURCE 200809L
#include "team.h"

#ifndef RC_NO_THREADS

#include <signal.h>
#include <unistd.h>

/* Turns of a loop before a waiting thread sleeps. MANY is some 50 microseconds, which the others rarely take where each
 * thread has a processor. FEW is for more threads than processors: the others need this one's. */
enum { MANY_SPINS = 4000, FEW_SPINS = 100 };

typedef struct {
    rc_task task;
    void *work;
    rc_team *team;
    int member;
} start;

/* Wait until *what is no longer `old`, and return its value. A thread that changes it calls wake afterwards. */
static int wait_for(rc_team *team, atomic_int *what, int old)
{
    int now = old;
    for (int i = 0; i < team->spins && now == old; i++) {
#if defined(__x86_64__)
        __builtin_ia32_pause();
#endif
        now = atomic_load_explicit(what, memory_order_acquire);
    }
    if (now != old)
        return now;
    pthread_mutex_lock(&team->lock);
    /* counted before the test below, as wake tests for sleepers after the change: one of both sees the other */
    atomic_fetch_add(&team->sleepers, 1);
    while ((now = atomic_load(what)) == old)
        pthread_cond_wait(&team->wake_up, &team->lock);
    atomic_fetch_sub(&team->sleepers, 1);
    pthread_mutex_unlock(&team->lock);
    return now;
}

static void wake(rc_team *team)
{
    if (!atomic_load(&team->sleepers))
        return;
    pthread_mutex_lock(&team->lock);
    pthread_cond_broadcast(&team->wake_up);
    pthread_mutex_unlock(&team->lock);
}

static void *run_member(void *own)
{
    const start *s = own;
    s->task(s->work, s->team, s->member, wait_for(s->team, &s->team->members, 0));
    return NULL;
}

void rc_team_barrier(rc_team *team, int members)
{
    if (members == 1)
        return;
    const int round = atomic_load_explicit(&team->round, memory_order_relaxed);
    if (atomic_fetch_add_explicit(&team->arrived, 1, memory_order_acq_rel) < members - 1) {
        wait_for(team, &team->round, round);
        return;
    }
    atomic_store_explicit(&team->arrived, 0, memory_order_relaxed);
    atomic_store(&team->round, round + 1);
    wake(team);
}

void rc_team_run(rc_task task, void *work, int members)
{
    rc_team team = {.spins = members <= sysconf(_SC_NPROCESSORS_ONLN) ? MANY_SPINS : FEW_SPINS,
                    .lock = PTHREAD_MUTEX_INITIALIZER,
                    .wake_up = PTHREAD_COND_INITIALIZER};
    atomic_init(&team.members, 0);
    atomic_init(&team.arrived, 0);
    atomic_init(&team.round, 0);
    atomic_init(&team.sleepers, 0);
    start starts[RC_MOST_MEMBERS];
    pthread_t threads[RC_MOST_MEMBERS];
    int started = 1; /* with the caller */
    if (members > 1) {
        /* signals go to the caller's thread: handlers of the host process must not run in these */
        sigset_t all, before;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        for (; started < members && started < RC_MOST_MEMBERS; started++) {
            starts[started] = (start){task, work, &team, started};
            if (pthread_create(&threads[started], NULL, run_member, &starts[started]))
                break;
        }
        pthread_sigmask(SIG_SETMASK, &before, NULL);
    }
    atomic_store(&team.members, started);
    wake(&team);
    task(work, &team, 0, started);
    for (int i = 1; i < started; i++)
        pthread_join(threads[i], NULL);
}

#else

void rc_team_barrier(rc_team *team, int members)
{
    (void)team;
    (void)members;
}

void rc_team_run(rc_task task, void *work, int members)
{
    rc_team team = {.members = 1};
    (void)members;
    task(work, &team, 0, 1);
}

#endif
