#define _POSIX_C_SOURCE 200809L
#include "team.h"

#include <signal.h>
#include <unistd.h>

/* Turns of a loop before a thread that waits sleeps. Where each has a processor, some 50 microseconds, which others
 * rarely take; where there are more threads than processors, little: those who are waited for want this one. */
enum { PATIENCE = 4000, LITTLE_PATIENCE = 100 };

typedef struct {
    rc_task task;
    void *work;
    rc_team *team;
    int member;
} post;

/* Until *what is no longer `old`; its value. Whoever changes it calls wake afterwards. */
static int wait_for(rc_team *team, atomic_int *what, int old)
{
    int now = old;
    for (int i = 0; i < team->patience && now == old; i++) {
#if defined(__x86_64__)
        __builtin_ia32_pause();
#endif
        now = atomic_load_explicit(what, memory_order_acquire);
    }
    if (now != old)
        return now;
    pthread_mutex_lock(&team->bed);
    /* told before looking again, as wake looks for sleepers after the change: one of both sees the other */
    atomic_fetch_add(&team->asleep, 1);
    while ((now = atomic_load(what)) == old)
        pthread_cond_wait(&team->alarm, &team->bed);
    atomic_fetch_sub(&team->asleep, 1);
    pthread_mutex_unlock(&team->bed);
    return now;
}

static void wake(rc_team *team)
{
    if (!atomic_load(&team->asleep))
        return;
    pthread_mutex_lock(&team->bed);
    pthread_cond_broadcast(&team->alarm);
    pthread_mutex_unlock(&team->bed);
}

static void *serve(void *own)
{
    const post *p = own;
    p->task(p->work, p->team, p->member, wait_for(p->team, &p->team->members, 0));
    return NULL;
}

void rc_team_meet(rc_team *team, int members)
{
    if (members == 1)
        return;
    const int turn = atomic_load_explicit(&team->turn, memory_order_relaxed);
    if (atomic_fetch_add_explicit(&team->arrived, 1, memory_order_acq_rel) < members - 1) {
        wait_for(team, &team->turn, turn);
        return;
    }
    atomic_store_explicit(&team->arrived, 0, memory_order_relaxed);
    atomic_store(&team->turn, turn + 1);
    wake(team);
}

void rc_team_run(rc_task task, void *work, int members)
{
    rc_team team = {.patience = members <= sysconf(_SC_NPROCESSORS_ONLN) ? PATIENCE : LITTLE_PATIENCE,
                    .bed = PTHREAD_MUTEX_INITIALIZER,
                    .alarm = PTHREAD_COND_INITIALIZER};
    atomic_init(&team.members, 0);
    atomic_init(&team.arrived, 0);
    atomic_init(&team.turn, 0);
    atomic_init(&team.asleep, 0);
    post posts[RC_MOST_MEMBERS];
    pthread_t threads[RC_MOST_MEMBERS];
    int hired = 1;
    if (members > 1) {
        /* signals are the caller's: handlers of the host process must not run here */
        sigset_t all, before;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        for (; hired < members && hired < RC_MOST_MEMBERS; hired++) {
            posts[hired] = (post){task, work, &team, hired};
            if (pthread_create(&threads[hired], NULL, serve, &posts[hired]))
                break;
        }
        pthread_sigmask(SIG_SETMASK, &before, NULL);
    }
    atomic_store(&team.members, hired);
    wake(&team);
    task(work, &team, 0, hired);
    for (int i = 1; i < hired; i++)
        pthread_join(threads[i], NULL);
}
