/* Linked with the reader's sources, whose calls -Wl,--wrap leads here. */
#define _GNU_SOURCE
#include "refused_calls.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

const char *const names[REFUSALS] = {
    [MEMORY] = "memory",
    [THREAD] = "thread",
    [OPEN] = "open",
    [STAT] = "fstat",
    [READ] = "pread",
    [INTERRUPTED_READ] = "interrupted pread",
    [SHORT_READ] = "short pread",
    [ENDED_READ] = "pread of a shorter file",
    [ANOTHER_SIZE] = "fstat of another size",
    [ANOTHER_TIME] = "fstat of another time",
    [ANOTHER_CHANGE] = "fstat of a change that leaves the bytes as they are",
    [REWRITTEN] = "fstat of other bytes with their time put back",
    [ANOTHER_NAME] = "fstat of a name more or less",
    [MAP] = "mmap",
    [ADVICE] = "madvise",
};

struct plan plan;

/* Whether the call that is being made is to be refused. */
static bool refuses(enum refused what)
{
    if (what != plan.what || !plan.nth)
        return false;
    plan.seen++;
    const bool struck = plan.seen == plan.nth || (plan.all_after && plan.seen > plan.nth);
    plan.struck += struck;
    return struck;
}

void *__real_realloc(void *bytes, size_t size);
void *__real_aligned_alloc(size_t alignment, size_t size);
int __real_posix_memalign(void **bytes, size_t alignment, size_t size);
int __real_pthread_create(pthread_t *thread, const pthread_attr_t *how, void *(*run)(void *), void *own);
int __real_open(const char *path, int flags, ...);
int __real_fstat(int fd, struct stat *info);
ssize_t __real_pread(int fd, void *bytes, size_t size, off_t at);
void *__real_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset);
int __real_madvise(void *bytes, size_t size, int advice);

void *__wrap_malloc(size_t size)
{
    return refuses(MEMORY) ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    return refuses(MEMORY) ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *bytes, size_t size)
{
    return refuses(MEMORY) ? NULL : __real_realloc(bytes, size);
}

void *__wrap_aligned_alloc(size_t alignment, size_t size)
{
    return refuses(MEMORY) ? NULL : __real_aligned_alloc(alignment, size);
}

int __wrap_posix_memalign(void **bytes, size_t alignment, size_t size)
{
    return refuses(MEMORY) ? ENOMEM : __real_posix_memalign(bytes, alignment, size);
}

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *how, void *(*run)(void *), void *own)
{
    return refuses(THREAD) ? EAGAIN : __real_pthread_create(thread, how, run, own);
}

static int refuse(int error)
{
    errno = error;
    return -1;
}

int __wrap_open(const char *path, int flags, ...)
{
    return refuses(OPEN) ? refuse(EMFILE) : __real_open(path, flags);
}

int __wrap_fstat(int fd, struct stat *info)
{
    if (refuses(STAT))
        return refuse(EIO);
    const int code = __real_fstat(fd, info);
    info->st_size += refuses(ANOTHER_SIZE);
    /* no two of them alike */
    if (refuses(ANOTHER_TIME))
        *(plan.seen % 2 ? &info->st_mtim.tv_sec : &info->st_mtim.tv_nsec) ^= plan.seen;
    const bool another_name = refuses(ANOTHER_NAME);
    if (another_name || refuses(ANOTHER_CHANGE) || refuses(REWRITTEN))
        *(plan.seen % 2 ? &info->st_ctim.tv_sec : &info->st_ctim.tv_nsec) ^= plan.seen;
    if (another_name)
        info->st_nlink += (nlink_t)plan.seen;
    return code;
}

ssize_t __wrap_pread(int fd, void *bytes, size_t size, off_t at)
{
    if (refuses(READ))
        return refuse(EIO);
    if (refuses(INTERRUPTED_READ))
        return refuse(EINTR);
    if (refuses(ENDED_READ))
        return 0;
    const ssize_t read = __real_pread(fd, bytes, refuses(SHORT_READ) ? (size + 1) / 2 : size, at);
    /* what is read again after the second look at the file */
    if (plan.what == REWRITTEN && plan.nth && plan.struck && plan.seen > 1 && read > 0)
        *(unsigned char *)bytes ^= 1;
    return read;
}

void *__wrap_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset)
{
    if (refuses(MAP)) {
        errno = ENODEV;
        return MAP_FAILED;
    }
    return __real_mmap(at, size, protection, flags, fd, offset);
}

int __wrap_madvise(void *bytes, size_t size, int advice)
{
    return refuses(ADVICE) ? refuse(EINVAL) : __real_madvise(bytes, size, advice);
}
