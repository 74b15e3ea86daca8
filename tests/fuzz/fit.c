/* The sizes that headers imply, written apart from the reader's: in 128 bits, where nothing wraps. */
#include "mutate.h"

#include <float.h>
#include <string.h>

typedef __int128 wide;

enum { HEADER = 256, LAYERS = 512, ENTRY = 192 };

static int32_t load(const uint8_t *at)
{
    int32_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

static void store32(uint8_t *at, uint32_t value)
{
    memcpy(at, &value, sizeof value);
}

static void store64(uint8_t *at, uint64_t value)
{
    memcpy(at, &value, sizeof value);
}

static void fill(uint8_t *data, size_t from, size_t to, dice *d)
{
    /* floats of a sensible size, so that most models compute something */
    for (size_t at = from; at < to; at++)
        data[at] = at % 4 == 3 ? 0x3d : (uint8_t)roll(d, 256);
}

int64_t fit_legacy(uint8_t *data, size_t size, size_t most, dice *d)
{
    const bool versioned = load(data) == 0x616b3432;
    const uint8_t *shape = data + (versioned ? 8 : 0);
    wide n[7];
    for (int i = 0; i < 7; i++)
        n[i] = load(shape + 4 * i);
    bool shared = versioned ? data[36] : n[5] > 0;
    n[5] = n[5] < 0 ? -n[5] : n[5];
    for (int i = 0; i < 7; i++)
        if (n[i] < 1 || n[i] > (wide)most)
            return -1;
    const wide dim = n[0], hidden = n[1], layers = n[2], heads = n[3], kv = n[4], vocab = n[5], length = n[6];
    const wide kv_dim = dim / heads * kv;
    const wide matrices = vocab * dim * (shared ? 1 : 2) + layers * (2 * dim * dim + 2 * kv_dim * dim + 3 * hidden * dim);
    const wide norms = 4 * dim * (2 * layers + 1);
    wide total;
    if (!versioned) {
        total = 28 + norms + 4 * matrices + 4 * length * (dim / heads / 2) * 2;
    } else {
        const int32_t group = load(data + 37);
        const bool q8 = load(data + 4) == 2 || group != 0;
        if (q8 && group < 1)
            return -1;
        total = HEADER + norms + (q8 ? matrices + matrices / group * 4 : 4 * matrices);
    }
    if (total > (wide)most)
        return -1;
    if ((size_t)total > size)
        fill(data, size, (size_t)total, d);
    return (int64_t)total;
}

int64_t fit_ajc1(uint8_t *data, size_t size, size_t most, dice *d)
{
    wide n[10];
    for (int i = 0; i < 10; i++)
        n[i] = load(data + 8 + 4 * i);
    for (int i = 0; i < 10; i++)
        if (i != 8 && (n[i] < 1 || n[i] > (wide)most))
            return -1;
    const wide dim = n[0], hidden = n[1], layers = n[2], q = n[3] * n[7], kv = n[4] * n[7], vocab = n[5], group = n[9];
    const wide matrices = vocab * dim * (n[8] ? 1 : 2) + layers * (2 * dim * q + 2 * dim * kv + 3 * hidden * dim);
    const wide total = HEADER + 4 * (dim * (2 * layers + 1) + 2 * layers * n[7]) + matrices + matrices / group * 4;
    if (total > (wide)most)
        return -1;
    if ((size_t)total > size)
        fill(data, size, (size_t)total, d);
    return (int64_t)total;
}

/* ---- v3 ---- */

typedef struct {
    uint8_t *data;
    size_t size, most;
    dice *d;
    int64_t start;       /* where the table begins */
    int64_t number, end; /* of entries, and of the payload's bytes so far */
    int64_t alignment;
    bool too_large;
} table;

static int64_t aligned(int64_t n, int64_t alignment)
{
    return (n + alignment - 1) / alignment * alignment;
}

/* The entry of the same matrix of the layer's expert 0; NULL for one that stands for itself. */
static const uint8_t *first_expert(const table *t, const char *name)
{
    const char *expert = strstr(name, "experts.");
    if (!expert || expert[8] == '0')
        return NULL;
    return t->data + t->start + (t->number - 3 * (expert[8] - '0')) * ENTRY;
}

static void add(table *t, const char *name, int64_t rows, int64_t cols)
{
    const int64_t at = t->start + t->number * ENTRY;
    if (t->too_large || at + ENTRY > (int64_t)t->most || rows * cols > (int64_t)t->most) {
        t->too_large = true;
        return;
    }
    uint8_t *entry = t->data + at;
    const bool is_vector = rows == 0, had = at + ENTRY <= (int64_t)t->size;
    /* as it was, where that can be */
    int32_t storage = had ? load(entry + 68) : 0, group = had ? load(entry + 104) : 0;
    static const int32_t storages[] = {1, 2, 3, 8};
    if (storage < 1 || storage > 8 || (storage > 3 && storage < 8) || (is_vector && storage == 8))
        storage = storages[roll(t->d, is_vector ? 3 : 4)];
    if (storage == 8 && (group < 1 || cols % group))
        for (group = 1 + (int32_t)roll(t->d, (uint64_t)cols); cols % group; group--)
            ;
    if (storage == 8 && strstr(name, "router"))
        storage = 1;
    const uint8_t *first = first_expert(t, name);
    if (first) {
        storage = load(first + 68);
        group = load(first + 104);
    }
    if (storage != 8)
        group = 0;
    const int64_t count = (is_vector ? 1 : rows) * cols, width = storage == 1 ? 4 : storage == 8 ? 1 : 2;
    const int64_t scales = group ? count / group * 4 : 0;
    const int64_t scale_at = group ? aligned(t->end + count * width, t->alignment) : 0;
    memset(entry, 0, ENTRY);
    memcpy(entry, name, strlen(name));
    store32(entry + 64, is_vector ? 1 : 2);
    store32(entry + 68, (uint32_t)storage);
    store64(entry + 72, (uint64_t)(is_vector ? cols : rows));
    store64(entry + 80, is_vector ? 0 : (uint64_t)cols);
    store32(entry + 104, (uint32_t)group);
    store64(entry + 112, (uint64_t)t->end);
    store64(entry + 120, (uint64_t)(count * width));
    store64(entry + 128, (uint64_t)scale_at);
    store64(entry + 136, (uint64_t)scales);
    t->end = aligned(group ? scale_at + scales : t->end + count * width, t->alignment);
    t->number++;
}

static void in_layer(table *t, int64_t layer, const char *rest, int64_t rows, int64_t cols)
{
    char name[64] = "layers.0.";
    if (layer > 9) {
        t->too_large = true;
        return;
    }
    name[7] = (char)('0' + layer);
    strcpy(name + 9, rest);
    add(t, name, rows, cols);
}

/* The router of a layer, and all experts, of which there are at most nine. */
static void add_experts(table *t, int64_t layer, int64_t dim)
{
    const int64_t count = load(t->data + 344), wide = load(t->data + 352);
    in_layer(t, layer, "feed_forward.router.weight", count, dim);
    for (int64_t expert = 0; expert < count; expert++)
        for (int matrix = 1; matrix <= 3; matrix++) {
            char name[] = "feed_forward.experts.0.w0.weight";
            name[21] = (char)('0' + expert);
            name[24] = (char)('0' + matrix);
            in_layer(t, layer, name, matrix == 2 ? dim : wide, matrix == 2 ? wide : dim);
        }
}

static int64_t add_metadata(uint8_t *at, dice *d)
{
    static const char *const keys[] = {"a", "b.c", "d_9-", "zz"};
    int64_t size = 0;
    for (int i = 0; i < 4; i++)
        if (roll(d, 2)) {
            const uint32_t key = (uint32_t)strlen(keys[i]), value = (uint32_t)roll(d, 9);
            static const char text[] = "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80";
            store32(at + size, key);
            store32(at + size + 4, value == 2 || value == 5 || !value ? value : 9);
            memcpy(at + size + 8, keys[i], key);
            memcpy(at + size + 8 + key, text, 9);
            size += 8 + key + (value == 2 || value == 5 || !value ? value : 9);
        }
    return size;
}

/* An entry for each tensor, in the order of the format. */
static void add_all(table *t, int64_t vocab, int64_t dim, int64_t hidden, int64_t layers, int64_t q, int64_t kv,
                    int32_t flags)
{
    const int32_t place = load(t->data + 256), qk_norm = load(t->data + 264), head_dim = load(t->data + 36);
    const bool before = place != 1, after = place != 0;
    add(t, "tok_embeddings.weight", vocab, dim);
    for (int64_t layer = 0; layer < layers && !t->too_large; layer++) {
        const bool experts = load(t->data + LAYERS + 4 * layer) & 8, plain = !experts;
        const struct {
            const char *name;
            int64_t rows, cols; /* no rows: a vector */
            bool there;
        } kinds[] = {
            {"attention_norm.weight", 0, dim, before},     {"attention.wq.weight", q, dim, true},
            {"attention.wq.bias", 0, q, flags & 2},        {"attention.wk.weight", kv, dim, true},
            {"attention.wk.bias", 0, kv, flags & 2},       {"attention.wv.weight", kv, dim, true},
            {"attention.wv.bias", 0, kv, flags & 2},
            {"attention.q_norm.weight", 0, qk_norm == 1 ? head_dim : q, qk_norm},
            {"attention.k_norm.weight", 0, qk_norm == 1 ? head_dim : kv, qk_norm},
            {"attention.wo.weight", dim, q, true},         {"attention.wo.bias", 0, dim, flags & 4},
            {"attention_post_norm.weight", 0, dim, after}, {"ffn_norm.weight", 0, dim, before},
            {"feed_forward.w1.weight", hidden, dim, plain}, {"feed_forward.w1.bias", 0, hidden, flags & 8},
            {"feed_forward.w2.weight", dim, hidden, plain}, {"feed_forward.w2.bias", 0, dim, flags & 8},
            {"feed_forward.w3.weight", hidden, dim, plain}, {"feed_forward.w3.bias", 0, hidden, flags & 8},
        };
        for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
            if (kinds[i].there)
                in_layer(t, layer, kinds[i].name, kinds[i].rows, kinds[i].cols);
        if (experts)
            add_experts(t, layer, dim);
        if (after)
            in_layer(t, layer, "ffn_post_norm.weight", 0, dim);
    }
    add(t, "norm.weight", 0, dim);
    if (!(flags & 1))
        add(t, "output.weight", vocab, dim);
}

/* Zeros between values and scales, and between tensors, of a payload that begins at `head`. */
static void clear_padding(const table *t, int64_t head)
{
    for (int64_t i = 0; i < t->number; i++) {
        const uint8_t *entry = t->data + t->start + i * ENTRY;
        int64_t place[4];
        memcpy(place, entry + 112, sizeof place);
        const int64_t next = i + 1 < t->number ? load(entry + ENTRY + 112) : t->end;
        const int64_t after = place[0] + place[1];
        memset(t->data + head + after, 0, (size_t)((place[3] ? place[2] : next) - after));
        if (place[3])
            memset(t->data + head + place[2] + place[3], 0, (size_t)(next - place[2] - place[3]));
    }
}

/* A number of the block, as it was where it may be so; else one from `least` on. */
static uint32_t fit_number(uint8_t *at, uint32_t least, uint32_t most, dice *d)
{
    const uint32_t value = (uint32_t)load(at);
    const uint32_t fitting = value >= least && value <= most ? value : least + (uint32_t)roll(d, most - least + 1);
    store32(at, fitting);
    return fitting;
}

/* A real number of the block: positive, or 0 where that may be. */
static void fit_real(uint8_t *at, bool zero, bool positive, dice *d)
{
    static const double some[] = {1.0, 0.5, 3.0, 30.0, 1e-3};
    double value;
    memcpy(&value, at, sizeof value);
    if (!(value >= (double)FLT_MIN && value <= (double)FLT_MAX) || !positive)
        value = !positive || (zero && roll(d, 2)) ? 0.0 : some[roll(d, 5)];
    memcpy(at, &value, sizeof value);
}

/* The numbers of experts, of a file that has some or none. */
static void fit_experts(uint8_t *data, bool some, bool everywhere, dice *d)
{
    memset(data + 360, 0, LAYERS - 360);
    if (!some) {
        memset(data + 344, 0, 16);
        return;
    }
    const uint32_t count = fit_number(data + 344, 2, 9, d);
    fit_number(data + 348, 1, count, d);
    const uint32_t hidden = (uint32_t)load(data + 12);
    fit_number(data + 352, everywhere ? hidden : 1, everywhere ? hidden : 16, d);
    fit_number(data + 356, 0, 1, d);
    store32(data + 40, (uint32_t)load(data + 40) & 7);
}

/* The architecture block and the layer table of a file that has some of them, or none. Returns where they end. */
static int64_t fit_architecture(uint8_t *data, size_t size, int64_t layers, dice *d)
{
    const int64_t end = LAYERS + (layers * 4 + 63) / 64 * 64;
    if ((int64_t)size < end)
        memset(data + (size < HEADER ? HEADER : size), 0, (size_t)(end - (int64_t)(size < HEADER ? HEADER : size)));
    bool windowed = false, local = false, experts = false, plain = false;
    const bool some = load(data + 344) > 1;
    for (int64_t layer = 0; layer < layers; layer++) {
        uint32_t kind = fit_number(data + LAYERS + 4 * layer, 0, some ? 13 : 5, d);
        if ((kind >> 1 & 3) == 3)
            store32(data + LAYERS + 4 * layer, kind &= ~6u);
        windowed |= kind & 1;
        local |= (kind >> 1 & 3) == 2;
        experts |= kind >> 3;
        plain |= !(kind >> 3);
    }
    memset(data + LAYERS + 4 * layers, 0, (size_t)(end - LAYERS - 4 * layers));
    const uint32_t head_dim = (uint32_t)load(data + 36);
    fit_number(data + 256, 0, 2, d);
    fit_number(data + 260, 0, 1, d);
    fit_number(data + 264, 0, 2, d);
    if (fit_number(data + 268, 2, head_dim < 2 ? 2 : head_dim, d) % 2)
        store32(data + 268, 2);
    fit_number(data + 272, windowed, windowed ? 4 : 0, d);
    for (int at = 280; at < 344; at += 8)
        fit_real(data + at, at == 288 || (at > 304 && at < 336), at != 336 || local, d);
    double beta;
    memcpy(&beta, data + 328, sizeof beta);
    fit_number(data + 276, beta > 0.0, beta > 0.0 ? 3 : 0, d);
    fit_experts(data, experts, !plain, d);
    return end;
}

int64_t fit_v3(uint8_t *data, size_t size, size_t most, dice *d)
{
    const int64_t dim = load(data + 8), hidden = load(data + 12), layers = load(data + 16), heads = load(data + 20);
    const int64_t kv_heads = load(data + 24), vocab = load(data + 28), head_dim = load(data + 36);
    int64_t alignment = load(data + 124);
    if (alignment < 64 || alignment > 4096 || alignment & (alignment - 1))
        store32(data + 124, (uint32_t)(alignment = 64));
    const int64_t numbers[] = {dim, hidden, layers, heads, kv_heads, vocab, head_dim};
    for (int i = 0; i < 7; i++)
        if (numbers[i] < 1 || numbers[i] > 1024)
            return -1;
    if (LAYERS + layers * 4 + 64 > (int64_t)most)
        return -1;
    const int64_t start = fit_architecture(data, size, layers, d);
    const int32_t flags = load(data + 40);
    table t = {.data = data, .size = size, .most = most, .d = d, .alignment = alignment, .start = start};
    const int64_t q = heads * head_dim, kv = kv_heads * head_dim;
    add_all(&t, vocab, dim, hidden, layers, q, kv, flags);
    const int64_t at = start + t.number * ENTRY;
    if (t.too_large || at + 256 + 64 + 4096 + t.end > (int64_t)most)
        return -1;
    const int64_t metadata = add_metadata(data + at, d), tokenizer = roll(d, 4) ? 0 : 64;
    const int64_t behind = at + metadata + tokenizer;
    const int64_t head = aligned(behind + 32, alignment), total = head + t.end;
    if (total > (int64_t)most)
        return -1;
    memset(data + behind, 0, (size_t)(head - behind));
    memset(data + 192, 0, 64);
    store64(data + 192, (uint64_t)tokenizer);
    store64(data + 128, (uint64_t)total);
    store64(data + 136, (uint64_t)head);
    store32(data + 144, (uint32_t)metadata);
    /* their number is told by their sizes alone */
    uint32_t pairs = 0;
    for (int64_t seen = 0; seen < metadata; pairs++)
        seen += 8 + load(data + at + seen) + load(data + at + seen + 4);
    store32(data + 148, pairs);
    store32(data + 152, (uint32_t)t.number);
    store32(data + 156, ENTRY);
    fill(data, (size_t)head, (size_t)total, d);
    clear_padding(&t, head);
    return total;
}
