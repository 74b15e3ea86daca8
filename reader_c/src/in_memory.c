/* A model of a file that is in memory already, and what a model hands out. */
#include "parse.h"
#include "shape.h"
#include "status.h"

#include <stddef.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "tensors are handed out as the file has them, so the host must be little-endian like the files"
#endif

int64_t rc_model_room(void)
{
    return sizeof(rc_model);
}

int rc_open_memory(const uint8_t *bytes, int64_t size, void *room, rc_model **model, rc_status *status)
{
    rc_model *placed = room;
    *model = NULL;
    *status = (rc_status){.code = RC_OK, .offset = -1};
    /* fp32 is read where it stands */
    if ((uintptr_t)bytes % sizeof(float))
        return rc_fail(status, RC_ARGUMENT, "address of the file", -1, "a multiple of", sizeof(float),
                       (int64_t)((uintptr_t)bytes % sizeof(float)));
    *placed = (rc_model){.head = bytes, .bytes = bytes, .is_placed = true};
    RC_TRY(rc_parse(bytes, size, placed, status));
    RC_TRY(rc_check_padding(placed, status));
    *model = placed;
    return RC_OK;
}

const rc_config *rc_model_config(const rc_model *model)
{
    return &model->config;
}

const uint8_t *rc_model_bytes(const rc_model *model)
{
    return model->bytes;
}
