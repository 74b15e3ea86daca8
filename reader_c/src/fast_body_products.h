/* Products of tokens with rows of weights, for fast_body.h. Tiles and blocks change the speed alone: every sum has one
 * order. */
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

/* T tokens with all rows */
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
