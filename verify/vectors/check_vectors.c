/* Compares an engine with golden vectors (docs/golden-vectors.md). C11, no dependencies; little-endian machines.
 *
 *     cc -O2 -DTESTING -DENGINE check_vectors.c run.c -lm && ./a.out VECTORS MODEL.bin     an engine's three functions
 *     cc -O2 check_vectors.c && ./a.out VECTORS LOGITS                                     logits in a file, float32
 *
 * -8 before VECTORS: the engine rounds activations to int8, as runq.c does. Exit status: 0 pass, 1 fail, 2 neither. */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef ENGINE
/* llama2.c's own functions. The Transformer is the engine's business: it gets 64 KiB of zeros. */
typedef union { char room[1 << 16]; long double aligned; } Transformer;
void build_transformer(Transformer *t, char *path);
float *forward(Transformer *t, int token, int pos);
static Transformer engine;
#endif

typedef struct { char magic[8]; uint32_t vocab_size, windows, kept, int8; double limit; char rest[224]; } Header;
typedef struct { uint32_t position, first; float margin; uint32_t zero; } At;
typedef struct { uint32_t id; float sigma; double logit; } Kept;
typedef struct { const uint8_t *at, *end; long long compared, positions; double worst; } State;

static int refuse(const char *what)
{
    fprintf(stderr, "error: %s\n", what);
    return 2;
}

static uint8_t *read_whole(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    uint8_t *bytes = NULL;
    if (file && !fseek(file, 0, SEEK_END) && ftell(file) > 0) {
        *size = (size_t)ftell(file);
        rewind(file);
        bytes = malloc(*size);
        if (bytes && fread(bytes, 1, *size, file) != *size) {
            free(bytes);
            bytes = NULL;
        }
    }
    if (file)
        fclose(file);
    return bytes;
}

/* The next `count` records of `size` bytes, or NULL where the file ends before them. */
static const uint8_t *take(State *s, uint64_t count, uint64_t size)
{
    const uint8_t *here = s->at;
    if (count > (uint64_t)(s->end - s->at) / size)
        return NULL;
    s->at += count * size;
    return here;
}

/* One position: 0 where all of its kept logits are within the limit, 1 where one is not, 2 for a token of no model. */
static int compare(State *s, const Header *h, uint32_t window, uint32_t position, const float *logits,
                   const uint8_t *records, const uint8_t *exact)
{
    for (uint32_t i = 0; i < h->kept; i++) {
        Kept kept;
        memcpy(&kept, records + i * sizeof kept, sizeof kept);
        if (kept.id >= h->vocab_size)
            return refuse("VECTORS: expected tokens of the vocabulary");
        float found = logits[kept.id], bits = 0.0f;
        if (exact)
            memcpy(&bits, exact + i * sizeof bits, sizeof bits);
        const double far = fabs(found - kept.logit) / kept.sigma;
        s->compared++;
        s->worst = far > s->worst ? far : s->worst;
        if (exact ? memcmp(&found, &bits, sizeof bits) != 0 : !(far <= h->limit)) {
            printf("fail: window %u, position %u, token %u: expected %.9g, found %.9g: ", window, position, kept.id,
                   exact ? bits : kept.logit, found);
            exact ? printf("expected the same bits\n") : printf("%.3g standard deviations\n", far);
            return 1;
        }
    }
    s->positions++;
    return 0;
}

int main(int argc, char **argv)
{
    const int int8 = argc == 4 && !strcmp(argv[1], "-8");
    if (argc != 3 + int8)
        return refuse("usage: check_vectors [-8] VECTORS MODEL.bin, or LOGITS in a build without -DENGINE");
    size_t size = 0;
    uint8_t *const bytes = read_whole(argv[1 + int8], &size);
    Header h = {.vocab_size = 0};
    if (bytes && size >= sizeof h)
        memcpy(&h, bytes, sizeof h);
    if (memcmp(h.magic, "gvec\1\0\0\0", sizeof h.magic) != 0 || !h.vocab_size)
        return refuse("VECTORS: expected golden vectors of version 1");
    if (int8 && !h.int8)
        return refuse("VECTORS: expected those of a Q8_0 file, which have int8 logits");
#ifdef ENGINE
    build_transformer(&engine, argv[2 + int8]);
#else
    size_t all_size = 0, row = 0, row_size = h.vocab_size * sizeof(float);
    const uint8_t *const all = read_whole(argv[2 + int8], &all_size);
    float *const logits = malloc(row_size);
#endif
    State s = {bytes + sizeof h, bytes + size, 0, 0, 0.0};
    for (uint32_t w = 0; w < h.windows; w++) {
        uint32_t counts[2] = {0, 0}; /* tokens, positions */
        const uint8_t *sizes = take(&s, 1, sizeof counts);
        if (sizes)
            memcpy(counts, sizes, sizeof counts);
        const uint64_t logits_kept = (uint64_t)counts[1] * h.kept;
        const uint8_t *tokens = take(&s, counts[0], 4), *positions = take(&s, counts[1], sizeof(At));
        const uint8_t *records = take(&s, logits_kept, sizeof(Kept)), *exact = take(&s, h.int8 ? logits_kept : 0, 4);
        if (!sizes || !tokens || !positions || !records || !exact)
            return refuse("VECTORS: the file ends too early");
        for (uint32_t p = 0, next = 0; p < counts[0]; p++) {
            At at = {.position = UINT32_MAX};
            if (next < counts[1])
                memcpy(&at, positions + next * sizeof at, sizeof at);
#ifdef ENGINE
            int32_t token;
            memcpy(&token, tokens + (size_t)p * sizeof token, sizeof token);
            const float *logits = forward(&engine, token, (int)p);
#else
            if (!all || !logits || all_size / row_size <= row)
                return refuse("LOGITS: expected vocab_size float32 for each token of each window");
            memcpy(logits, all + row++ * row_size, row_size);
#endif
            if (at.position != p)
                continue;
            const size_t first = (size_t)next++ * h.kept;
            const int code = compare(&s, &h, w, p, logits, records + first * sizeof(Kept), int8 ? exact + first * 4 : NULL);
            if (code)
                return code;
        }
    }
    printf("pass: %lld logits at %lld positions, ", s.compared, s.positions);
    int8 ? printf("the same bits\n") : printf("at most %.2f of %g standard deviations\n", s.worst, h.limit);
    return 0;
}
