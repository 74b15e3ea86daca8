/* 16 tokens side by side: the lanes of a vector are tokens, so each sum stays in index order, as run.c has it, while
 * the vector unit does the work. Several rows at once, because an addition waits for the one before it. Inputs are
 * transposed for that: a block of 16 tokens is (cols,) lanes, zero where there is no token. */
#include "mirror_products.h"

#include "bytes.h"
#include "clones.h"
#include "lanes.h"

enum {
    EXACT_GROUP = 1024, /* 127 * 128 * 1024 < 2^24: floats hold all sums of int8 products in such a group exactly */
    FEW_TOKENS = 6,     /* up to which int8 products are faster one token after the other than in a block of 16 */
};

/* ---- some rows by 16 tokens ---- */

/* int8 q (n, cols) as lanes of floats. */
static const rc_lanes *int8_to_lanes(float *lane_room, const int8_t *q, int64_t n, int64_t cols)
{
    float *to = lane_room;
    for (int64_t start = 0; start < n; start += RC_LANES)
        for (int64_t j = 0; j < cols; j++)
            for (int64_t t = start; t < start + RC_LANES; t++)
                *to++ = t < n ? (float)q[t * cols + j] : 0.0f;
    return (const rc_lanes *)(const void *)lane_room;
}

/* Row `r` of those from `first` on; past the last row, the last one again, whose sums nobody stores. */
static inline int64_t row_at(const rc_matrix *w, int64_t first, int64_t r)
{
    return first + r < w->rows ? first + r : w->rows - 1;
}

/* row (RC_ROWS,) points to the rows from `first` on as floats; row_room is (RC_ROWS, cols). */
static inline void load_rows(const float **row, const rc_matrix *w, int64_t first, float *row_room)
{
    for (int64_t r = 0; r < RC_ROWS; r++)
        row[r] = rc_matrix_row(w, row_at(w, first, r), row_room + r * w->cols);
}

/* Store the sums of rows from `first` on and tokens from `start` on to out (n, rows). */
static inline void store(float *out, const rc_lanes *sum, int64_t n, int64_t start, int64_t rows, int64_t first)
{
    for (int64_t t = start; t < n && t < start + RC_LANES; t++)
        for (int64_t i = first; i < rows && i < first + RC_ROWS; i++)
            out[t * rows + i] = sum[i - first].at[t - start];
}

/* One token, without lanes. */
static void matmul_one(float *out, const float *x, const rc_matrix *w, float *row_room)
{
    for (int64_t first = 0; first < w->rows; first += RC_ROWS) {
        const float *row[RC_ROWS];
        load_rows(row, w, first, row_room);
        float sum[RC_ROWS] = {0.0f};
        for (int64_t j = 0; j < w->cols; j++)
            for (int r = 0; r < RC_ROWS; r++)
                sum[r] += row[r][j] * x[j];
        for (int64_t i = first; i < w->rows && i < first + RC_ROWS; i++)
            out[i] = sum[i - first];
    }
}

static void matmul_mirror(float *out, const rc_lanes *x, int64_t n, const rc_matrix *w, float *row_room)
{
    for (int64_t first = 0; first < w->rows; first += RC_ROWS) {
        const float *row[RC_ROWS];
        load_rows(row, w, first, row_room);
        for (int64_t start = 0; start < n; start += RC_LANES) {
            rc_lanes sum[RC_ROWS];
            rc_sum_products(sum, row, x + start / RC_LANES * w->cols, w->cols);
            store(out, sum, n, start, w->rows, first);
        }
    }
}

void rc_matmul(float *out, const float *x, int64_t n, const rc_matrix *w, float *row_room, float *lane_room)
{
    if (n == 1)
        matmul_one(out, x, w, row_room);
    else
        matmul_mirror(out, rc_to_lanes(lane_room, x, n, w->cols, w->cols, 1), n, w, row_room);
}

/* ---- int8 activations: a group's integer sum, exact in any order, then group by group as runq.c adds them ---- */

static inline const uint8_t *row_scales(const rc_matrix *w, int64_t row)
{
    return w->scales + row * (w->cols / w->group_size) * (int64_t)sizeof(float);
}

static inline int32_t dot_int8(const int8_t *a, const int8_t *b, int64_t n)
{
    int32_t sum = 0;
    for (int64_t j = 0; j < n; j++)
        sum += (int32_t)a[j] * (int32_t)b[j];
    return sum;
}

RC_CLONES("avx2") static void matmul_integers(float *out, const int8_t *q, const float *scale, int64_t n,
                                              const rc_matrix *w)
{
    const int64_t size = w->group_size, groups = w->cols / size;
    for (int64_t i = 0; i < w->rows; i++) {
        const int8_t *row = (const int8_t *)w->values + i * w->cols;
        const uint8_t *scales = row_scales(w, i);
        for (int64_t t = 0; t < n; t++) {
            float value = 0.0f;
            for (int64_t g = 0; g < groups; g++) {
                const int32_t sum = dot_int8(q + t * w->cols + g * size, row + g * size, size);
                value += (float)sum * rc_load_f32(scales + g * (int64_t)sizeof(float)) * scale[t * groups + g];
            }
            out[t * w->rows + i] = value;
        }
    }
}

/* The same with floats that hold the integers: q is (cols,) lanes a block, scale (groups,). */
RC_CLONES("avx2") static void matmul_exact(float *out, const rc_lanes *q, const rc_lanes *scale, int64_t n,
                                           const rc_matrix *w, float *row_room)
{
    const int64_t size = w->group_size, groups = w->cols / size;
    for (int64_t first = 0; first < w->rows; first += RC_ROWS) {
        const uint8_t *scales[RC_ROWS];
        for (int r = 0; r < RC_ROWS; r++) {
            const int8_t *from = (const int8_t *)w->values + row_at(w, first, r) * w->cols;
            for (int64_t j = 0; j < w->cols; j++)
                row_room[r * w->cols + j] = (float)from[j];
            scales[r] = row_scales(w, row_at(w, first, r));
        }
        for (int64_t start = 0; start < n; start += RC_LANES) {
            const int64_t block = start / RC_LANES;
            rc_lanes value[RC_ROWS] = {{{0.0f}}};
            for (int64_t g = 0; g < groups; g++) {
                rc_lanes sum[RC_ROWS];
                const float *row[RC_ROWS];
                for (int r = 0; r < RC_ROWS; r++)
                    row[r] = row_room + r * w->cols + g * size;
                rc_sum_products(sum, row, q + block * w->cols + g * size, size);
                for (int r = 0; r < RC_ROWS; r++) {
                    const float of_weights = rc_load_f32(scales[r] + g * (int64_t)sizeof(float));
                    for (int l = 0; l < RC_LANES; l++)
                        value[r].at[l] += sum[r].at[l] * of_weights * scale[block * groups + g].at[l];
                }
            }
            store(out, value, n, start, w->rows, first);
        }
    }
}

void rc_matmul_q8(float *out, const int8_t *q, const float *scale, int64_t n, const rc_matrix *w, float *row_room,
                  float *lane_room)
{
    if (n <= FEW_TOKENS || w->group_size > EXACT_GROUP) {
        matmul_integers(out, q, scale, n, w);
        return;
    }
    const int64_t groups = w->cols / w->group_size, blocks = (n + RC_LANES - 1) / RC_LANES;
    const rc_lanes *scales = rc_to_lanes(lane_room + blocks * w->cols * RC_LANES, scale, n, groups, groups, 1);
    matmul_exact(out, int8_to_lanes(lane_room, q, n, w->cols), scales, n, w, row_room);
}
