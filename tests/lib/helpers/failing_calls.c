/* System calls that fail as they are told to, for LD_PRELOAD: the n-th of one kind, on files in one directory. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* As in failing_calls.py. */
enum call { OPEN, CLOSE, READ, WRITE, SEEK, SYNC, TRUNCATE, STAT, LIST, ACCESS, LOCK, MKDIR, RENAME, LINK, UNLINK, RMDIR, CALLS };
enum how { ONCE, FROM_THEN_ON, HALF };

struct order {
    int32_t call, nth, how, error; /* nth: from 1; 0 for none */
    _Atomic int32_t seen[CALLS], failed;
    char under[PATH_MAX];
};

static struct order *order;

/* Memory that the caller shares with whoever wants to know what was seen. */
void failing_calls_begin(struct order *given)
{
    order = given;
}

static int within(const char *path)
{
    const size_t length = strlen(order->under);
    return !strncmp(path, order->under, length) && (path[length] == '/' || !path[length]);
}

static int at_descriptor(int fd)
{
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    const long length = syscall(SYS_readlinkat, AT_FDCWD, link, path, sizeof path - 1);
    if (length < 0)
        return 0;
    path[length] = 0;
    return within(path);
}

static int at_path(int directory, const char *path)
{
    return *path == '/' || directory == AT_FDCWD ? within(path) : at_descriptor(directory);
}

/* Counts a call, and says whether it is one to fail. */
static int strikes(enum call call)
{
    const int32_t number = atomic_fetch_add(&order->seen[call], 1) + 1;
    if ((int32_t)call != order->call || !order->nth || number < order->nth ||
        (order->how != FROM_THEN_ON && number > order->nth))
        return 0;
    atomic_fetch_add(&order->failed, 1);
    return 1;
}

static int fails(enum call call)
{
    if (!strikes(call))
        return 0;
    errno = order->error;
    return 1;
}

/* How much of a transfer is to be made: all, half, or -1 for an error. */
static ssize_t share(enum call call, int fd, size_t count)
{
    const int before = errno;
    if (!order || !at_descriptor(fd)) {
        errno = before;
        return (ssize_t)count;
    }
    errno = before;
    if (!strikes(call))
        return (ssize_t)count;
    if (order->how == HALF)
        return (ssize_t)(count + 1) / 2;
    errno = order->error;
    return -1;
}

static int fails_at(enum call call, int directory, const char *path)
{
    const int before = errno;
    const int ours = order && path && at_path(directory, path);
    errno = before;
    return ours && fails(call);
}

static int fails_on(enum call call, int fd)
{
    const int before = errno;
    const int ours = order && at_descriptor(fd);
    errno = before;
    return ours && fails(call);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

#define OPENING(name) \
    int name(const char *path, int flags, ...) \
    { \
        va_list more; \
        va_start(more, flags); \
        const mode_t mode = va_arg(more, mode_t); \
        va_end(more); \
        return fails_at(OPEN, AT_FDCWD, path) ? -1 : REAL(name)(path, flags, mode); \
    }
OPENING(open)
OPENING(open64)

#define OPENING_AT(name) \
    int name(int directory, const char *path, int flags, ...) \
    { \
        va_list more; \
        va_start(more, flags); \
        const mode_t mode = va_arg(more, mode_t); \
        va_end(more); \
        return fails_at(OPEN, directory, path) ? -1 : REAL(name)(directory, path, flags, mode); \
    }
OPENING_AT(openat)
OPENING_AT(openat64)

int close(int fd)
{
    /* Linux closes whatever it answers */
    const int failing = fails_on(CLOSE, fd), error = errno, done = REAL(close)(fd);
    if (failing)
        errno = error;
    return failing ? -1 : done;
}

#define TRANSFER(name, call, type) \
    ssize_t name(int fd, type *bytes, size_t count) \
    { \
        const ssize_t some = share(call, fd, count); \
        return some < 0 ? some : REAL(name)(fd, bytes, (size_t)some); \
    }
TRANSFER(read, READ, void)
TRANSFER(write, WRITE, const void)

#define TRANSFER_AT(name, call, type) \
    ssize_t name(int fd, type *bytes, size_t count, off_t offset) \
    { \
        const ssize_t some = share(call, fd, count); \
        return some < 0 ? some : REAL(name)(fd, bytes, (size_t)some, offset); \
    }
TRANSFER_AT(pread, READ, void)
TRANSFER_AT(pread64, READ, void)
TRANSFER_AT(pwrite, WRITE, const void)
TRANSFER_AT(pwrite64, WRITE, const void)

#define ON(name, call, more, given) \
    int name more \
    { \
        return fails_on(call, fd) ? -1 : REAL(name) given; \
    }
ON(fsync, SYNC, (int fd), (fd))
ON(fdatasync, SYNC, (int fd), (fd))
ON(ftruncate, TRUNCATE, (int fd, off_t size), (fd, size))
ON(ftruncate64, TRUNCATE, (int fd, off_t size), (fd, size))
ON(flock, LOCK, (int fd, int what), (fd, what))
ON(fstat, STAT, (int fd, struct stat *to), (fd, to))
ON(fstat64, STAT, (int fd, struct stat64 *to), (fd, to))

off_t lseek(int fd, off_t offset, int whence)
{
    return fails_on(SEEK, fd) ? -1 : REAL(lseek)(fd, offset, whence);
}

off_t lseek64(int fd, off_t offset, int whence)
{
    return fails_on(SEEK, fd) ? -1 : REAL(lseek64)(fd, offset, whence);
}

#define AT(name, call, directory, path, more, given) \
    int name more \
    { \
        return fails_at(call, directory, path) ? -1 : REAL(name) given; \
    }
AT(stat, STAT, AT_FDCWD, path, (const char *path, struct stat *to), (path, to))
AT(stat64, STAT, AT_FDCWD, path, (const char *path, struct stat64 *to), (path, to))
AT(lstat, STAT, AT_FDCWD, path, (const char *path, struct stat *to), (path, to))
AT(lstat64, STAT, AT_FDCWD, path, (const char *path, struct stat64 *to), (path, to))
AT(fstatat64, STAT, fd, path, (int fd, const char *path, struct stat64 *to, int flags), (fd, path, to, flags))
AT(access, ACCESS, AT_FDCWD, path, (const char *path, int mode), (path, mode))
AT(mkdir, MKDIR, AT_FDCWD, path, (const char *path, mode_t mode), (path, mode))
AT(mkdirat, MKDIR, fd, path, (int fd, const char *path, mode_t mode), (fd, path, mode))
AT(rename, RENAME, AT_FDCWD, path, (const char *path, const char *to), (path, to))
AT(renameat, RENAME, fd, path, (int fd, const char *path, int into, const char *to), (fd, path, into, to))
AT(link, LINK, AT_FDCWD, path, (const char *path, const char *to), (path, to))
AT(linkat, LINK, fd, path, (int fd, const char *path, int into, const char *to, int flags), (fd, path, into, to, flags))
AT(unlink, UNLINK, AT_FDCWD, path, (const char *path), (path))
AT(unlinkat, UNLINK, fd, path, (int fd, const char *path, int flags), (fd, path, flags))
AT(rmdir, RMDIR, AT_FDCWD, path, (const char *path), (path))

DIR *opendir(const char *path)
{
    return fails_at(LIST, AT_FDCWD, path) ? NULL : REAL(opendir)(path);
}

DIR *fdopendir(int fd)
{
    return fails_on(LIST, fd) ? NULL : REAL(fdopendir)(fd);
}

struct dirent64 *readdir64(DIR *entries)
{
    return fails_on(LIST, dirfd(entries)) ? NULL : REAL(readdir64)(entries);
}
