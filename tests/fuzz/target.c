/* libFuzzer's target: any bytes, as a file, through everything that the reader can do with it.
 *
 * What it holds the reader to, beside what the sanitizers see: a file is refused with a field, a rule and a known code,
 * or every tensor lies within it, and the logits of a walk are those of a pass, bit for bit. */
#define _GNU_SOURCE
#include "mutate.h"
#include "reader.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define HOLDS(condition) \
    do { \
        if (!(condition)) { \
            fprintf(stderr, "broken promise: %s\n", #condition); \
            abort(); \
        } \
    } while (0)

enum { MOST_WORK = 1 << 12, MOST_TOKENS = 3 };

static uint64_t digest(const uint8_t *data, size_t size)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < size; i += size > 512 ? size / 256 : 1)
        h = (h ^ data[i]) * 0x100000001b3u;
    return h ^ h >> 29;
}

/* so that a byte is read although nobody wants it */
static void touch(int byte)
{
    __asm__ volatile("" : : "r"(byte));
}

static void look_at(const rc_model *model, int kind, int64_t layer, int64_t expert)
{
    rc_tensor t;
    if (!(expert ? rc_model_expert_tensor(model, kind, layer, expert, &t) : rc_model_tensor(model, kind, layer, &t)))
        return;
    const int64_t size = rc_model_config(model)->file_size;
    const uint8_t *bytes = rc_model_bytes(model);
    HOLDS(t.rows > 0 && t.cols > 0);
    HOLDS(t.offset >= 0 && t.length > 0 && t.offset <= size - t.length);
    touch(bytes[t.offset] ^ bytes[t.offset + t.length - 1]);
    HOLDS((t.storage == RC_Q8) == (t.group_size > 0));
    if (t.storage == RC_Q8) {
        HOLDS(t.cols % t.group_size == 0 && t.scale_length == t.rows * (t.cols / t.group_size) * 4);
        HOLDS(t.scale_offset >= 0 && t.scale_offset <= size - t.scale_length);
        touch(bytes[t.scale_offset] ^ bytes[t.scale_offset + t.scale_length - 1]);
    }
}

static void look_at_all(const rc_model *model)
{
    const int64_t layers = rc_model_config(model)->n_layers, experts = rc_model_config(model)->n_experts;
    for (int kind = -1; kind <= RC_KINDS; kind++) {
        look_at(model, kind, -1, 0);
        for (int64_t layer = 0; layer < layers && layer < 8; layer++)
            for (int64_t expert = -1; expert <= experts && expert < 8; expert++)
                look_at(model, kind, layer, expert);
        look_at(model, kind, layers - 1, experts - 1);
        look_at(model, kind, layers, 0);
    }
}

/* The switches, of which no two contradict each other. */
static void look_at_switches(const rc_model *model)
{
    const rc_config *c = rc_model_config(model);
    bool windowed = false, local = false, experts = false, plain = false;
    for (int64_t layer = -1; layer <= c->n_layers; layer++) {
        rc_layer kind;
        HOLDS(rc_model_layer(model, layer, &kind) == (layer >= 0 && layer < c->n_layers));
        HOLDS(kind.windowed >= 0 && kind.windowed <= 1 && kind.rope >= RC_NO_ROPE && kind.rope <= RC_SECOND_ROPE);
        windowed |= kind.windowed;
        local |= kind.rope == RC_SECOND_ROPE;
        experts |= kind.experts;
        plain |= !kind.experts && layer >= 0 && layer < c->n_layers;
    }
    HOLDS(experts == (c->n_experts > 1) && experts == (c->n_active_experts > 0) && c->n_experts != 1);
    HOLDS(experts == (c->expert_hidden_dim > 0) && c->n_active_experts <= c->n_experts);
    HOLDS(plain || c->hidden_dim == c->expert_hidden_dim);
    HOLDS(windowed == (c->window > 0) && local == (c->local_theta > 0.0));
    HOLDS(c->rotary_dim >= 2 && c->rotary_dim <= c->head_dim && c->rotary_dim % 2 == 0);
    HOLDS((c->query_scale_beta > 0.0) == (c->query_scale_positions > 0));
    HOLDS(c->embedding_scale > 0.0 && c->residual_scale > 0.0 && c->logit_divisor > 0.0);
    HOLDS(c->tokenizer_size >= 0 && c->tokenizer_at + c->tokenizer_size <= c->head_size);
}

static double work_of(const rc_config *c)
{
    const double q = (double)c->n_heads * c->head_dim, kv = (double)c->n_kv_heads * c->head_dim;
    const double experts = c->n_experts + 3.0 * c->n_active_experts * c->expert_hidden_dim;
    const double feed_forward = 3.0 * c->hidden_dim + experts;
    return c->n_layers * (c->dim * (2 * q + 2 * kv) + c->dim * feed_forward) + (double)c->vocab_size * c->dim;
}

static void compare(const float *a, const float *b, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        HOLDS(!memcmp(&a[i], &b[i], sizeof *a) || (isnan(a[i]) && isnan(b[i])));
}

/* Layer by layer, everything recorded into arrays of exactly their size. */
static void walk(const rc_model *model, const int32_t *tokens, int64_t n, const rc_options *options,
                 const float *expected)
{
    const rc_config *c = rc_model_config(model);
    rc_session *session = NULL;
    rc_status status;
    int64_t bytes = 0;
    if (rc_session_room(model, n, 1, &bytes, &status))
        return;
    void *room = aligned_alloc(64, (size_t)bytes);
    HOLDS(room && !rc_session_place(model, n, 1, room, bytes, &session, &status));
    float *x = malloc((size_t)(n * c->dim) * sizeof *x);
    float *logits = malloc((size_t)(n * c->vocab_size) * sizeof *logits);
    void *trace[RC_POINTS];
    HOLDS(x && logits);
    for (int64_t layer = -1; layer <= c->n_layers; layer++) {
        const int64_t at = layer < 0 || layer == c->n_layers ? 0 : layer;
        for (int point = 0; point < RC_POINTS; point++) {
            const bool is_int8 = point >= RC_AT_Q_INT8 && point < RC_AT_Q_SCALE;
            trace[point] = malloc((size_t)(n * rc_trace_width(model, point, at, n)) * (is_int8 ? 1 : 4) + 1);
            HOLDS(trace[point]);
        }
        if (layer < 0)
            HOLDS(!rc_walk_embedding(session, tokens, n, trace, x, &status));
        else if (layer < c->n_layers)
            HOLDS(!rc_walk_layer(session, layer, n, options, trace, x, &status));
        else
            HOLDS(!rc_walk_classifier(session, n, options, trace, x, logits, &status));
        for (int point = 0; point < RC_POINTS; point++)
            free(trace[point]);
    }
    compare(logits, expected, n * c->vocab_size);
    free(logits);
    free(x);
    free(room);
}

static void run(const rc_model *model, uint64_t choice)
{
    const rc_config *c = rc_model_config(model);
    const int64_t n = c->max_seq_len < MOST_TOKENS ? c->max_seq_len : 1 + (int64_t)(choice % MOST_TOKENS);
    int32_t tokens[MOST_TOKENS];
    for (int64_t t = 0; t < n; t++)
        tokens[t] = (int32_t)((choice >> 8 * t & 0xff) % (uint64_t)c->vocab_size);
    const int path = (int)(choice >> 9 & 3);
    const rc_options options = {
        .activations = c->group_size && (choice >> 11 & 1) ? RC_ACTIVATIONS_Q8 : RC_ACTIVATIONS_FP32,
        .arithmetic = choice >> 12 & 1 ? RC_FAST : RC_MIRROR,
        .rope = c->format == RC_V0 && (choice >> 13 & 1) ? RC_ROPE_FROM_FILE : RC_ROPE_COMPUTED,
        .path = rc_path_is_here(path) ? path : RC_PATH_BEST,
    };
    rc_session *session = NULL;
    rc_status status;
    const int code = rc_session_open(model, n, choice >> 14 & 0xffff ? 1 : 2, &session, &status);
    HOLDS(!code || code == RC_MEMORY);
    if (code)
        return;
    float *logits = malloc((size_t)(n * c->vocab_size) * sizeof *logits);
    HOLDS(logits);
    const int64_t split = (int64_t)(choice >> 22) % n;
    if (split)
        HOLDS(!rc_session_forward(session, tokens, split, &options, logits, &status));
    HOLDS(!rc_session_forward(session, tokens + split, n - split, &options, logits + split * c->vocab_size, &status));
    HOLDS(rc_session_forward(session, tokens, 1, &options, logits, &status) == RC_ARGUMENT);
    walk(model, tokens, n, &options, logits);
    free(logits);
    rc_session_close(session);
}

/* In memory of its own size, the file is opened or refused as on disk; its digests are compared. */
static void open_in_memory(const uint8_t *data, size_t size, const rc_status *on_disk)
{
    uint8_t *bytes = malloc(size + !size);
    void *room = malloc((size_t)rc_model_room());
    HOLDS(bytes && room);
    memcpy(bytes, data, size);
    rc_model *model = NULL;
    rc_status status;
    HOLDS(rc_open_memory(bytes, (int64_t)size, room, &model, &status) == on_disk->code);
    HOLDS(status.offset == on_disk->offset && status.expected == on_disk->expected && status.found == on_disk->found);
    HOLDS(!on_disk->code || !strcmp(status.field, on_disk->field));
    if (!on_disk->code) {
        const int code = rc_check_digests(model, 1, &status);
        HOLDS(rc_model_config(model)->format == RC_V3 ? code == RC_OK || code == RC_INVALID : code == RC_ARGUMENT);
    }
    free(room);
    free(bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int fd = -1;
    static char path[64];
    if (fd < 0) {
        fd = memfd_create("model", 0);
        HOLDS(fd >= 0);
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    }
    HOLDS(!ftruncate(fd, (off_t)size) && pwrite(fd, data, size, 0) == (ssize_t)size);
    const uint64_t choice = digest(data, size);
    rc_model *model = NULL;
    rc_status status;
    const int code = rc_open(path, (int)(choice >> 30 & 1), &model, &status);
    if ((choice >> 34 & 7) == 0)
        open_in_memory(data, size, &status);
    if (code) {
        HOLDS(code == status.code && !model);
        HOLDS(code == RC_INVALID);
        HOLDS(status.field && status.rule && *status.field && status.offset >= -1 && status.offset < (int64_t)size);
        return 0;
    }
    HOLDS(rc_model_config(model)->file_size == (int64_t)size);
    look_at_all(model);
    look_at_switches(model);
    /* a pass costs a hundred times what it takes to refuse a file: of those that are not, some */
    if (work_of(rc_model_config(model)) <= MOST_WORK && (choice >> 32 & 3) == 0)
        run(model, choice);
    rc_close(model);
    return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned seed)
{
    return mutate(data, size, most, seed);
}
