/* Opening, mapping and closing a file. */
#define _POSIX_C_SOURCE 200809L
#include "model.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "tensors are handed out without a copy, so the host must be little-endian like the files"
#endif

static int fail_system(rc_status *status, const char *field, int error)
{
    rc_fail(status, RC_SYSTEM, field, -1, "", 0, 0);
    status->system_error = error;
    return RC_SYSTEM;
}

/* Map an open descriptor; the caller closes it whatever happens. */
static int map_file(int fd, rc_model *model, rc_status *status)
{
    struct stat info;
    if (fstat(fd, &info))
        return fail_system(status, "file", errno);
    if (!S_ISREG(info.st_mode))
        return fail_system(status, "file", S_ISDIR(info.st_mode) ? EISDIR : ENODEV);
    /* An empty file cannot be mapped; rc_parse words the refusal. */
    if (info.st_size == 0)
        return rc_parse(NULL, 0, model, status);
    void *bytes = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (bytes == MAP_FAILED)
        return fail_system(status, "file", errno);
    model->bytes = bytes;
    const int code = rc_parse(bytes, info.st_size, model, status);
    if (code)
        munmap(bytes, (size_t)info.st_size);
    return code;
}

int rc_open(const char *path, rc_model **model, rc_status *status)
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
        code = map_file(fd, opened, status);
        if (code)
            free(opened);
        else
            *model = opened;
    }
    close(fd);
    return code;
}

void rc_close(rc_model *model)
{
    if (!model)
        return;
    munmap((void *)model->bytes, (size_t)model->config.file_size);
    free(model);
}

const rc_config *rc_model_config(const rc_model *model)
{
    return &model->config;
}

int rc_model_tensor(const rc_model *model, int kind, int64_t layer, rc_tensor *tensor)
{
    *tensor = (rc_tensor){0};
    if (kind < 0 || kind >= RC_KINDS || layer < 0)
        return 0;
    if (model->config.format == RC_V3)
        return rc_v3_tensor(model, kind, layer, tensor);
    const rc_stack *stack = &model->stacks[kind];
    if (stack->storage == RC_ABSENT || layer >= stack->layers)
        return 0;
    const bool q8 = stack->storage == RC_Q8;
    const int64_t elements = stack->rows * stack->cols;
    *tensor = (rc_tensor){.storage = stack->storage,
                          .group_size = q8 ? model->config.group_size : 0,
                          .rows = stack->rows,
                          .cols = stack->cols,
                          .offset = stack->offset + layer * stack->stride,
                          .length = elements * (q8 ? 1 : 4),
                          .scale_offset = q8 ? stack->scale_offset + layer * stack->scale_stride : 0,
                          .scale_length = q8 ? elements / model->config.group_size * 4 : 0};
    return 1;
}

const uint8_t *rc_model_bytes(const rc_model *model)
{
    return model->bytes;
}
