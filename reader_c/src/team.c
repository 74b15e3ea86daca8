#define _POSIX_C_SOURCE 200809L
#include "team.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>

/* Turns of a loop before a thread that waits lets others have its processor. */
enum { PATIENCE = 4000 };

typedef struct {
    rc_task task;
    void *work;
    rc_team *team;
    int member;
} post;

static void pause_briefly(int *waited)
{
    if (++*waited < PATIENCE) {
#if defined(__x86_64__)
        __builtin_ia32_pause();
#endif
    } else {
        sched_yield();
    }
}

static void *serve(void *own)
{
    const post *p = own;
    int members, waited = 0;
    while ((members = atomic_load_explicit(&p->team->members, memory_order_acquire)) == 0)
        pause_briefly(&waited);
    p->task(p->work, p->team, p->member, members);
    return NULL;
}

void rc_team_meet(rc_team *team, int members)
{
    if (members == 1)
        return;
    const int turn = atomic_load_explicit(&team->turn, memory_order_relaxed);
    if (atomic_fetch_add_explicit(&team->arrived, 1, memory_order_acq_rel) == members - 1) {
        atomic_store_explicit(&team->arrived, 0, memory_order_relaxed);
        atomic_store_explicit(&team->turn, turn + 1, memory_order_release);
        return;
    }
    int waited = 0;
    while (atomic_load_explicit(&team->turn, memory_order_acquire) == turn)
        pause_briefly(&waited);
}

void rc_team_run(rc_task task, void *work, int members)
{
    rc_team team;
    atomic_init(&team.members, 0);
    atomic_init(&team.arrived, 0);
    atomic_init(&team.turn, 0);
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
    atomic_store_explicit(&team.members, hired, memory_order_release);
    task(work, &team, 0, hired);
    for (int i = 1; i < hired; i++)
        pthread_join(threads[i], NULL);
}
