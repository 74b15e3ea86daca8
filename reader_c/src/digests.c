/* v3's digests, compared with the bytes that they cover. */
#include "blake3.h"
#include "model.h"
#include "shape.h"
#include "status.h"

#include <string.h>

/* The model's digest covers the hyper-parameters, and what lies between fixed header and metadata. */
enum { MODEL_DIGEST_AT = 160, MODEL_FIELDS = 128 };

/* Bytes from `begin` up to `end`, of the head or of the file. */
typedef struct {
    const uint8_t *bytes;
    int64_t begin, end;
} span;

static int check(const rc_model *model, const char *field, int64_t at, const span *spans, int count,
                 rc_status *status)
{
    uint8_t digest[RC_BLAKE3_BYTES];
    rc_blake3 h;
    rc_blake3_begin(&h);
    for (int i = 0; i < count; i++)
        rc_blake3_add(&h, spans[i].bytes + spans[i].begin, spans[i].end - spans[i].begin);
    rc_blake3_end(&h, digest);
    if (memcmp(digest, model->head + at, sizeof digest))
        return rc_fail_text(status, field, at, "BLAKE3 of the bytes that it covers", "another digest");
    return RC_OK;
}

int rc_check_digests(const rc_model *model, int tensors, rc_status *status)
{
    const rc_config *c = &model->config;
    const int64_t head_end = c->head_size - RC_DIGEST_BYTES;
    *status = (rc_status){.code = RC_OK, .offset = -1};
    if (c->format != RC_V3)
        return rc_fail(status, RC_ARGUMENT, "format (only v3 has digests)", -1, "exactly", RC_V3, c->format);
    const span head = {model->head, 0, head_end};
    const span fields[] = {{model->head, 0, MODEL_FIELDS}, {model->head, RC_HEADER, c->metadata_at}};
    RC_TRY(check(model, "head digest", head_end, &head, 1, status));
    RC_TRY(check(model, "model digest", MODEL_DIGEST_AT, fields, 2, status));
    for (int64_t layer = 0; tensors && layer < c->n_layers; layer++)
        for (int kind = 0; kind < RC_KINDS; kind++) {
            rc_tensor t;
            if (!rc_model_tensor(model, kind, layer, &t))
                continue;
            const span extent = {model->bytes, t.offset, t.offset + t.extent};
            RC_TRY(check(model, rc_shape_of(c, kind).name, t.digest_at, &extent, 1, status));
        }
    return RC_OK;
}
