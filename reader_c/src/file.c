/* Opening, reading and closing a file. */
/* for madvise, which POSIX does not have */
#define _DEFAULT_SOURCE
#include "parse.h"
#include "shape.h"
#include "status.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    LARGEST_READ = 1 << 30, /* the system's own limit is slightly larger */
    SMALL_PAGE = 4096,
    HUGE_PAGE = 2 << 20,
};

static int fail_system(rc_status *status, const char *field, int error)
{
    rc_fail(status, RC_SYSTEM, field, -1, "", 0, 0);
    status->system_error = error;
    return RC_SYSTEM;
}

static int fail_size(rc_status *status, int64_t at_open, int64_t found)
{
    return rc_fail(status, RC_INVALID, "file size", -1, "unchanged since it was opened:", at_open, found);
}

/* Read bytes `from` up to `to` into bytes (to,), to the same place. Refuses a file that has become shorter. */
static int read_span(int fd, uint8_t *bytes, int64_t from, int64_t to, rc_status *status)
{
    while (from < to) {
        const int64_t rest = to - from;
        const ssize_t n = pread(fd, bytes + from, (size_t)(rest < LARGEST_READ ? rest : LARGEST_READ), (off_t)from);
        if (n == 0)
            return fail_size(status, to, from);
        if (n > 0)
            from += n;
        else if (errno != EINTR)
            return fail_system(status, "file", errno);
    }
    return RC_OK;
}

/* Memory for a file. Every pass reads all weights: with huge pages the processor looks up fewer addresses. */
static uint8_t *allocate(int64_t size)
{
    void *bytes = NULL;
    const size_t alignment = size < 2 * HUGE_PAGE ? SMALL_PAGE : HUGE_PAGE;
    if ((uint64_t)size > PTRDIFF_MAX || posix_memalign(&bytes, alignment, (size_t)size))
        return NULL;
    /* only advice: without huge pages, small ones do */
    if (alignment == HUGE_PAGE)
        (void)madvise(bytes, (size_t)size, MADV_HUGEPAGE);
    return (uint8_t *)bytes;
}

/* Read and check the head before asking for memory for the rest. It is always a copy, so that the places of tensors
 * cannot change. */
static int load_head(int fd, int64_t size, rc_model *model, rc_status *status)
{
    uint8_t start[RC_HEADER];
    const int64_t first = size < RC_HEADER ? size : RC_HEADER;
    int code = read_span(fd, start, 0, first, status);
    if (code)
        return code;
    const int64_t head = rc_head_bytes(start, size);
    uint8_t *bytes = malloc((size_t)head + !head);
    if (!bytes)
        return rc_fail(status, RC_MEMORY, "head", -1, "bytes", head, 0);
    model->head = bytes;
    memcpy(bytes, start, (size_t)(first < head ? first : head));
    code = read_span(fd, bytes, first, head, status);
    return code ? code : rc_parse(model->head, size, model, status);
}

static int load_whole(int fd, int64_t size, rc_model *model, rc_status *status)
{
    uint8_t *bytes = allocate(size);
    if (!bytes)
        return rc_fail(status, RC_MEMORY, "file", -1, "bytes", size, 0);
    model->bytes = bytes;
    const int64_t head = model->config.head_size;
    memcpy(bytes, model->head, (size_t)head);
    return read_span(fd, bytes, head, size, status);
}

static int map_whole(int fd, int64_t size, rc_model *model, rc_status *status)
{
    void *bytes = mmap(NULL, (size_t)size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (bytes == MAP_FAILED)
        return fail_system(status, "file", errno);
    model->bytes = (const uint8_t *)bytes;
    model->mapped = size;
    return RC_OK;
}

static bool same_time(struct timespec a, struct timespec b)
{
    return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

/* Whether the file still has the bytes that were read: those of its head, where the rest is a map. */
static bool has_bytes(int fd, const rc_model *model, int64_t size)
{
    uint8_t part[SMALL_PAGE];
    const uint8_t *bytes = model->mapped ? model->head : model->bytes;
    const int64_t end = model->mapped ? model->config.head_size : size;
    for (int64_t at = 0; at < end; at += SMALL_PAGE) {
        const int64_t n = end - at < SMALL_PAGE ? end - at : SMALL_PAGE;
        if (pread(fd, part, (size_t)n, (off_t)at) != n || memcmp(part, bytes + at, (size_t)n))
            return false;
    }
    return true;
}

/* A writer can put mtime back, but not ctime. ctime also changes when the file gets or loses a name: a file that
 * replaces another one, or that another one replaces meanwhile, is whole. */
static bool was_written(int fd, const rc_model *model, const struct stat *before, const struct stat *after)
{
    if (!same_time(before->st_mtim, after->st_mtim))
        return true;
    if (same_time(before->st_ctim, after->st_ctim) || before->st_nlink != after->st_nlink)
        return false;
    return !has_bytes(fd, model, before->st_size);
}

/* Load an open descriptor, which the caller closes in any case. */
static int load_file(int fd, bool mapped, rc_model *model, rc_status *status)
{
    struct stat info, after;
    if (fstat(fd, &info))
        return fail_system(status, "file", errno);
    if (!S_ISREG(info.st_mode))
        return fail_system(status, "file", S_ISDIR(info.st_mode) ? EISDIR : ENODEV);
    int code = load_head(fd, info.st_size, model, status);
    if (!code)
        code = (mapped ? map_whole : load_whole)(fd, info.st_size, model, status);
    if (!code)
        code = rc_check_padding(model, status);
    if (code)
        return code;
    if (fstat(fd, &after))
        return fail_system(status, "file", errno);
    /* part of the old content and part of the new would be neither */
    if (after.st_size != info.st_size)
        return fail_size(status, info.st_size, after.st_size);
    if (was_written(fd, model, &info, &after))
        return rc_fail_text(status, "file", -1, "no writes while it is read", "a write");
    return RC_OK;
}

int rc_open(const char *path, int mapped, rc_model **model, rc_status *status)
{
    *model = NULL;
    *status = (rc_status){.code = RC_OK, .offset = -1};
    /* O_NONBLOCK: opening a FIFO must not wait for a writer. */
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return fail_system(status, "file", errno);
    rc_model *opened = calloc(1, sizeof *opened);
    int code;
    if (!opened) {
        code = rc_fail(status, RC_MEMORY, "model", -1, "bytes", sizeof *opened, 0);
    } else {
        code = load_file(fd, mapped, opened, status);
        if (code)
            rc_close(opened);
        else
            *model = opened;
    }
    close(fd);
    return code;
}

void rc_close(rc_model *model)
{
    if (!model || model->is_placed)
        return;
    if (model->mapped)
        munmap((void *)model->bytes, (size_t)model->mapped);
    else
        free((void *)model->bytes);
    free((void *)model->head);
    free(model);
}
