/* Attention, for fast_body.h: lanes are positions in scores and elements of the head in mixtures, and each sum is in
 * index order. */
/* Scores of all queries with B blocks of 16 positions. */
INLINE void score_blocks(const int B, float *const *out, const float *const *query, const float *keys, int64_t block,
                         int64_t head_dim, float root, float scale)
{
    V sum[SCORE_BLOCKS * RC_FAST_QUERIES];
    for (int i = 0; i < B * RC_FAST_QUERIES; i++)
        sum[i] = v_zero();
    for (int64_t j = 0; j < head_dim; j++) {
        V key[SCORE_BLOCKS];
        for (int b = 0; b < B; b++)
            key[b] = v_load(keys + 16 * (b * head_dim + j));
        for (int r = 0; r < RC_FAST_QUERIES; r++) {
            const V element = v_set(query[r][j]);
            for (int b = 0; b < B; b++)
                sum[r * B + b] = v_fma(element, key[b], sum[r * B + b]);
        }
    }
    for (int r = 0; r < RC_FAST_QUERIES; r++)
        for (int b = 0; b < B; b++) {
            float all[16];
            v_store(all, sum[r * B + b]);
            float *to = out[r] + 16 * (block + b);
            if (scale == 0.0f)
                for (int l = 0; l < 16; l++)
                    to[l] = all[l] / root;
            else
                for (int l = 0; l < 16; l++)
                    to[l] = all[l] * scale;
        }
}

TARGET static void scores(float *const *out, const float *const *query, const float *keys, int64_t blocks,
                          int64_t head_dim, float root, float scale)
{
    int64_t block = 0;
    for (; block + SCORE_BLOCKS <= blocks; block += SCORE_BLOCKS)
        score_blocks(SCORE_BLOCKS, out, query, keys + 16 * block * head_dim, block, head_dim, root, scale);
    for (; block < blocks; block++)
        score_blocks(1, out, query, keys + 16 * block * head_dim, block, head_dim, root, scale);
}

#ifndef OWN_TRANSPOSE_ROWS
TARGET static void transpose_rows(float *to, const float *from, int64_t stride, int64_t size)
{
    for (int64_t j = 0; j < size; j++)
        for (int l = 0; l < 16; l++)
            to[j * 16 + l] = from[l * stride + j];
}
#endif

/* P vectors of the head's elements, from `start` on: one query's own positions, all queries' together, and again one
 * query's own, so that each sum is in the order of positions. */
INLINE void mix_parts(const int P, float *const *out, const float *const *shares, const int64_t *first,
                      const int64_t *seen, const float *values, int64_t stride, int64_t start, int64_t head_dim)
{
    /* what all see: from `shared` up to seen[0], nothing where a window ends before another begins */
    const int64_t shared = first[RC_FAST_QUERIES - 1] < seen[0] ? first[RC_FAST_QUERIES - 1] : seen[0];
    V sum[SCORE_BLOCKS * RC_FAST_QUERIES];
    for (int i = 0; i < P * RC_FAST_QUERIES; i++)
        sum[i] = v_zero();
    for (int r = 0; r < RC_FAST_QUERIES; r++)
        for (int64_t past = first[r]; past < shared; past++)
            for (int p = 0; p < P; p++)
                sum[r * P + p] = v_fma(v_set(shares[r][past]), v_load(values + past * stride + start + 16 * p),
                                       sum[r * P + p]);
    for (int64_t past = shared; past < seen[0]; past++) {
        V value[SCORE_BLOCKS];
        for (int p = 0; p < P; p++)
            value[p] = v_load(values + past * stride + start + 16 * p);
        for (int r = 0; r < RC_FAST_QUERIES; r++) {
            const V share = v_set(shares[r][past]);
            for (int p = 0; p < P; p++)
                sum[r * P + p] = v_fma(share, value[p], sum[r * P + p]);
        }
    }
    for (int r = 0; r < RC_FAST_QUERIES; r++)
        for (int p = 0; p < P; p++) {
            const int64_t at = start + 16 * p;
            for (int64_t past = first[r] > seen[0] ? first[r] : seen[0]; past < seen[r]; past++)
                sum[r * P + p] = v_fma(v_set(shares[r][past]), v_load(values + past * stride + at), sum[r * P + p]);
            float all[16];
            v_store(all, sum[r * P + p]);
            memcpy(out[r] + at, all, (size_t)(head_dim - at < 16 ? head_dim - at : 16) * sizeof(float));
        }
}

TARGET static void mix(float *const *out, const float *const *shares, const int64_t *first, const int64_t *seen,
                       const float *values, int64_t stride, int64_t head_dim, int64_t padded_head)
{
    int64_t start = 0;
    for (; start + 16 * SCORE_BLOCKS <= padded_head; start += 16 * SCORE_BLOCKS)
        mix_parts(SCORE_BLOCKS, out, shares, first, seen, values, stride, start, head_dim);
    for (; start < padded_head; start += 16)
        mix_parts(1, out, shares, first, seen, values, stride, start, head_dim);
}
