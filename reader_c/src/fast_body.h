/* The arithmetic `fast`, once, over whatever V and I the including file has. Every sum stands here in its one order:
 * tiles, blocks and registers are about speed alone. */
#include "fast.h"

#include <math.h>

#define INLINE static inline TARGET __attribute__((always_inline))

#ifndef OWN_TREE
INLINE float v_tree(V v)
{
    float four[4];
    const V all[4] = {v, v, v, v};
    v_trees(four, all);
    return four[0];
}
#endif

/* ---- products ---- */

/* Sums of R rows with T tokens, 16 lanes each. A rest of columns goes through zeros. */
INLINE void sum_tile(const int R, const int T, V sum[], const float *x, const float *w, int64_t cols)
{
    for (int i = 0; i < R * T; i++)
        sum[i] = v_zero();
    const int64_t whole = cols / 16 * 16;
    for (int64_t j = 0; j < whole; j += 16) {
        V of_rows[ONE_ROWS];
        for (int r = 0; r < R; r++)
            of_rows[r] = v_load(w + r * cols + j);
        /* of the rows after these: a single token is as fast as memory answers, which this makes a third faster */
        if (T == 1)
            for (int r = 0; r < R; r++)
                __builtin_prefetch((const void *)((uintptr_t)(w + r * cols + j) + (uintptr_t)(R * cols * 4)), 0, 2);
        for (int t = 0; t < T; t++) {
            const V of_token = v_load(x + t * cols + j);
            for (int r = 0; r < R; r++)
                sum[t * R + r] = v_fma(of_rows[r], of_token, sum[t * R + r]);
        }
    }
    if (whole == cols)
        return;
    const size_t rest = (size_t)(cols - whole) * sizeof(float);
    for (int t = 0; t < T; t++) {
        float of_token[16] = {0.0f};
        memcpy(of_token, x + t * cols + whole, rest);
        for (int r = 0; r < R; r++) {
            float of_row[16] = {0.0f};
            memcpy(of_row, w + r * cols + whole, rest);
            sum[t * R + r] = v_fma(v_load(of_row), v_load(of_token), sum[t * R + r]);
        }
    }
}

INLINE void tile(const int R, const int T, float *out, int64_t stride, const float *x, const float *w, int64_t cols)
{
    enum { MOST = TILE_ROWS * TILE_TOKENS > ONE_ROWS ? TILE_ROWS * TILE_TOKENS : ONE_ROWS };
    V sum[MOST];
    sum_tile(R, T, sum, x, w, cols);
    if (R % 4 != 0) {
        for (int i = 0; i < R * T; i++)
            out[i / R * stride + i % R] = v_tree(sum[i]);
        return;
    }
    for (int t = 0; t < T; t++)
        for (int r = 0; r < R; r += 4)
            v_trees(out + t * stride + r, sum + t * R + r);
}

/* some tokens with all rows */
INLINE void tiles(const int T, float *out, int64_t stride, const float *x, const float *rows, int64_t count,
                  int64_t cols)
{
    int64_t r = 0;
    if (T == 1)
        for (; r + ONE_ROWS <= count; r += ONE_ROWS)
            tile(ONE_ROWS, 1, out + r, stride, x, rows + r * cols, cols);
    for (; r + TILE_ROWS <= count; r += TILE_ROWS)
        tile(TILE_ROWS, T, out + r, stride, x, rows + r * cols, cols);
    for (; r < count; r++)
        tile(1, T, out + r, stride, x, rows + r * cols, cols);
}

/* Rows inside, tokens outside: the few rows stay near while the tokens pass. */
TARGET static void products(float *out, int64_t stride, const float *x, int64_t n, const float *rows, int64_t count,
                            int64_t cols)
{
    int64_t t = 0;
    for (; t + TILE_TOKENS <= n; t += TILE_TOKENS)
        tiles(TILE_TOKENS, out + t * stride, stride, x + t * cols, rows, count, cols);
    for (; t < n; t++)
        tiles(1, out + t * stride, stride, x + t * cols, rows, count, cols);
}

/* ---- int8 products: integers are exact in any order, then group by group ---- */

TARGET static void pack_int8(uint8_t *packed, float *scales, const int8_t *const *rows,
                             const uint8_t *const *of_rows, int64_t cols, int64_t groups)
{
    pack_rows(packed, rows, cols);
    for (int64_t g = 0; g < groups; g++)
        for (int r = 0; r < RC_FAST_ROWS; r++)
            scales[g * RC_FAST_ROWS + r] = rc_load_f32(of_rows[r] + g * (int64_t)sizeof(float));
}

INLINE void int8_tile(const int T, float *out, int64_t stride, const int8_t *q, const float *scale,
                      const int32_t *correction, const uint8_t *packed, const float *scales, int64_t count,
                      int64_t cols, int64_t group_size)
{
    const int64_t groups = cols / group_size, bytes = 64; /* of 16 rows in one step */
    V value[INT8_TOKENS];
    for (int t = 0; t < T; t++)
        value[t] = v_zero();
    for (int64_t g = 0; g < groups; g++) {
        I sum[INT8_TOKENS];
        for (int t = 0; t < T; t++)
            sum[t] = i_less(correction[t * groups + g]);
        for (int64_t j = g * group_size; j < (g + 1) * group_size; j += INT8_STEP)
            for (int t = 0; t < T; t++)
                sum[t] = i_step(sum[t], packed + j / INT8_STEP * bytes, q + t * cols + j);
        const V of_rows = v_load(scales + g * RC_FAST_ROWS);
        for (int t = 0; t < T; t++)
            value[t] = v_add(value[t],
                             v_mul(v_mul(v_from_integers(sum[t]), of_rows), v_set(scale[t * groups + g])));
    }
    for (int t = 0; t < T; t++) {
        float all[16];
        v_store(all, value[t]);
        memcpy(out + t * stride, all, (size_t)count * sizeof(float));
    }
}

TARGET static void products_int8(float *out, int64_t stride, const int8_t *q, const float *scale,
                                 const int32_t *correction, int64_t n, const uint8_t *packed, const float *scales,
                                 int64_t count, int64_t cols, int64_t group_size)
{
    const int64_t groups = cols / group_size;
    int64_t t = 0;
    for (; t + INT8_TOKENS <= n; t += INT8_TOKENS)
        int8_tile(INT8_TOKENS, out + t * stride, stride, q + t * cols, scale + t * groups, correction + t * groups,
                  packed, scales, count, cols, group_size);
    for (; t < n; t++)
        int8_tile(1, out + t * stride, stride, q + t * cols, scale + t * groups, correction + t * groups, packed,
                  scales, count, cols, group_size);
}

/* ---- one row as floats ---- */

TARGET static void widen(float *room, const rc_matrix *w, int64_t row)
{
    const int64_t at = row * w->cols;
    if (w->storage != RC_Q8) {
        rc_matrix_row(w, row, room);
        return;
    }
    const int8_t *q = (const int8_t *)w->values + at;
    const uint8_t *scales = w->scales + at / w->group_size * (int64_t)sizeof(float);
    for (int64_t start = 0; start < w->cols; start += w->group_size, scales += sizeof(float)) {
        const float scale = rc_load_f32(scales);
        for (int64_t j = start; j < start + w->group_size; j++)
            room[j] = (float)q[j] * scale;
    }
}

/* ---- sums over one array: lane l takes the elements whose index is l modulo 16 ---- */

INLINE V load_rest(const float *from, int64_t count)
{
    float all[16] = {0.0f};
    memcpy(all, from, (size_t)count * sizeof(float));
    return v_load(all);
}

TARGET static void norm(float *out, const float *x, const float *weight, int64_t dim, float eps)
{
    V sum = v_zero();
    int64_t j = 0;
    for (; j + 16 <= dim; j += 16)
        sum = v_fma(v_load(x + j), v_load(x + j), sum);
    if (j < dim)
        sum = v_fma(load_rest(x + j, dim - j), load_rest(x + j, dim - j), sum);
    const float scale = 1.0f / sqrtf(v_tree(sum) / (float)dim + eps);
    for (j = 0; j < dim; j++)
        out[j] = weight[j] * (scale * x[j]);
}

/* ---- e^x, and what is made of it ---- */

/* e^x = 2^n e^r with n the integer nearest to x log2(e): r by two fused steps from a ln 2 in two parts, e^r by Taylor's
 * polynomial, 2^n as two factors so that a subnormal result is rounded once. Every branch is a choice between two
 * values, so that a loop over it is the vector unit's. */
INLINE float exp_fast(float x)
{
    const float bounded = x < -150.0f ? -150.0f : x > 130.0f ? 130.0f : x;
    const float shifted = fmaf(bounded, 0x1.715476p+0f, 0x1.8p+23f);
    const float n = shifted - 0x1.8p+23f;
    float r = fmaf(n, -0x1.62e4p-1f, bounded);
    r = fmaf(n, -0x1.7f7d1cp-20f, r);
    float p = 0x1.a01a02p-13f; /* 1 / 5040 */
    p = fmaf(p, r, 0x1.6c16c2p-10f); /* 1 / 720 */
    p = fmaf(p, r, 0x1.111112p-7f);
    p = fmaf(p, r, 0x1.555556p-5f);
    p = fmaf(p, r, 0x1.555556p-3f);
    p = fmaf(p, r, 0.5f);
    p = fmaf(p, r, 1.0f);
    p = fmaf(p, r, 1.0f);
    uint32_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    const int32_t whole = (int32_t)(bits << 9) >> 9; /* of the integer in the lowest bits of shifted */
    const int32_t half = whole >> 1;
    const uint32_t first = (uint32_t)(half + 127) << 23, second = (uint32_t)(whole - half + 127) << 23;
    float a, b;
    memcpy(&a, &first, sizeof a);
    memcpy(&b, &second, sizeof b);
    return p * a * b;
}

INLINE float sigmoid_fast(float x)
{
    return 1.0f / (1.0f + exp_fast(-x));
}

TARGET static void powers(float *x, int64_t n, float largest)
{
    for (int64_t i = 0; i < n; i++)
        x[i] = exp_fast(x[i] - largest);
}

/* In lanes, because a maximum is the same in any order (a NaN gives what it gives to every power). */
INLINE float largest_of(const float *x, int64_t n)
{
    float lane[16];
    for (int l = 0; l < 16; l++)
        lane[l] = x[0];
    int64_t i = 0;
    for (; i + 16 <= n; i += 16)
        for (int l = 0; l < 16; l++)
            lane[l] = x[i + l] > lane[l] ? x[i + l] : lane[l];
    for (; i < n; i++)
        lane[0] = x[i] > lane[0] ? x[i] : lane[0];
    for (int l = 1; l < 16; l++)
        lane[0] = lane[l] > lane[0] ? lane[l] : lane[0];
    return lane[0];
}

TARGET static void softmax(float *x, int64_t n)
{
    powers(x, n, largest_of(x, n));
    V sum = v_zero();
    int64_t i = 0;
    for (; i + 16 <= n; i += 16)
        sum = v_add(sum, v_load(x + i));
    if (i < n)
        sum = v_add(sum, load_rest(x + i, n - i));
    const float whole = v_tree(sum);
    for (i = 0; i < n; i++)
        x[i] /= whole;
}

TARGET static void gated(float *gate, const float *up, int64_t n, int activation)
{
    if (activation == RC_SILU)
        for (int64_t i = 0; i < n; i++)
            gate[i] = gate[i] * sigmoid_fast(gate[i]) * up[i];
    else if (activation == RC_GELU_TANH)
        for (int64_t i = 0; i < n; i++)
            gate[i] = gate[i] * sigmoid_fast(0x1.988454p+0f * (gate[i] + 0x1.6e4e26p-5f * gate[i] * gate[i] * gate[i])) *
                      up[i];
    else
        rc_gated(gate, up, n, activation);
}

/* ---- attention: lanes are positions in scores and elements of the head in mixtures, each sum in index order ---- */

/* Scores of all looks with so many blocks of 16 positions. */
INLINE void score_blocks(const int B, float *const *out, const float *const *query, const float *keys, int64_t block,
                         int64_t head_dim, float root)
{
    V sum[SCORE_BLOCKS * RC_FAST_LOOKS];
    for (int i = 0; i < B * RC_FAST_LOOKS; i++)
        sum[i] = v_zero();
    for (int64_t j = 0; j < head_dim; j++) {
        V key[SCORE_BLOCKS];
        for (int b = 0; b < B; b++)
            key[b] = v_load(keys + 16 * (b * head_dim + j));
        for (int r = 0; r < RC_FAST_LOOKS; r++) {
            const V element = v_set(query[r][j]);
            for (int b = 0; b < B; b++)
                sum[r * B + b] = v_fma(element, key[b], sum[r * B + b]);
        }
    }
    for (int r = 0; r < RC_FAST_LOOKS; r++)
        for (int b = 0; b < B; b++) {
            float all[16];
            v_store(all, sum[r * B + b]);
            for (int l = 0; l < 16; l++)
                out[r][16 * (block + b) + l] = all[l] / root;
        }
}

TARGET static void scores(float *const *out, const float *const *query, const float *keys, int64_t blocks,
                          int64_t head_dim, float root)
{
    int64_t block = 0;
    for (; block + SCORE_BLOCKS <= blocks; block += SCORE_BLOCKS)
        score_blocks(SCORE_BLOCKS, out, query, keys + 16 * block * head_dim, block, head_dim, root);
    for (; block < blocks; block++)
        score_blocks(1, out, query, keys + 16 * block * head_dim, block, head_dim, root);
}

#ifndef OWN_SIDE_BY_SIDE
TARGET static void side_by_side(float *to, const float *from, int64_t stride, int64_t size)
{
    for (int64_t j = 0; j < size; j++)
        for (int l = 0; l < 16; l++)
            to[j * 16 + l] = from[l * stride + j];
}
#endif

/* So many vectors of the head's elements, from `start` on. */
INLINE void mix_parts(const int P, float *const *out, const float *const *shares, const int64_t *seen,
                      const float *values, int64_t stride, int64_t start, int64_t head_dim)
{
    V sum[SCORE_BLOCKS * RC_FAST_LOOKS];
    for (int i = 0; i < P * RC_FAST_LOOKS; i++)
        sum[i] = v_zero();
    for (int64_t past = 0; past < seen[0]; past++) {
        V value[SCORE_BLOCKS];
        for (int p = 0; p < P; p++)
            value[p] = v_load(values + past * stride + start + 16 * p);
        for (int r = 0; r < RC_FAST_LOOKS; r++) {
            const V share = v_set(shares[r][past]);
            for (int p = 0; p < P; p++)
                sum[r * P + p] = v_fma(share, value[p], sum[r * P + p]);
        }
    }
    for (int r = 0; r < RC_FAST_LOOKS; r++)
        for (int p = 0; p < P; p++) {
            const int64_t at = start + 16 * p;
            for (int64_t past = seen[0]; past < seen[r]; past++)
                sum[r * P + p] = v_fma(v_set(shares[r][past]), v_load(values + past * stride + at), sum[r * P + p]);
            float all[16];
            v_store(all, sum[r * P + p]);
            memcpy(out[r] + at, all, (size_t)(head_dim - at < 16 ? head_dim - at : 16) * sizeof(float));
        }
}

TARGET static void mix(float *const *out, const float *const *shares, const int64_t *seen, const float *values,
                       int64_t stride, int64_t head_dim, int64_t padded_head)
{
    int64_t start = 0;
    for (; start + 16 * SCORE_BLOCKS <= padded_head; start += 16 * SCORE_BLOCKS)
        mix_parts(SCORE_BLOCKS, out, shares, seen, values, stride, start, head_dim);
    for (; start < padded_head; start += 16)
        mix_parts(1, out, shares, seen, values, stride, start, head_dim);
}

const rc_fast RC_FAST_TABLE = {
    .products = products,
    .pack_int8 = pack_int8,
    .products_int8 = products_int8,
#ifdef OWN_ONE_INT8
    .one_int8 = one_int8,
#endif
    .widen = widen,
    .norm = norm,
    .scores = scores,
    .powers = powers,
    .softmax = softmax,
    .side_by_side = side_by_side,
    .mix = mix,
    .gated = gated,
};
