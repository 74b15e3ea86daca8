#include "fast_products.h"

static float *own_rows(const rc_session *s, int member)
{
    return s->own_rows + (int64_t)member * RC_FAST_ROWS * s->widest;
}

void rc_fast_matmul(const rc_session *s, const rc_fast *f, int member, float *out, const float *x, int64_t n,
                    const rc_matrix *w, int64_t first, int64_t last)
{
    float *room = own_rows(s, member);
    for (int64_t row = first; row < last; row += RC_FAST_ROWS) {
        const int64_t count = last - row < RC_FAST_ROWS ? last - row : RC_FAST_ROWS;
        const float *rows = room;
        if (w->storage == RC_FP32)
            rows = (const float *)(const void *)w->values + row * w->cols;
        else
            for (int64_t r = 0; r < count; r++)
                f->row_as_floats(room + r * w->cols, w, row + r);
        f->products(out + row, w->rows, x, n, rows, count, w->cols);
    }
}

void rc_fast_sum_groups(int32_t *sum, const int8_t *q, int64_t count, int64_t group_size)
{
    for (int64_t g = 0; g < count / group_size; g++, q += group_size) {
        uint32_t total = 0;
        for (int64_t j = 0; j < group_size; j++)
            total += (uint32_t)(int32_t)q[j];
        sum[g] = (int32_t)(128u * total);
    }
}

void rc_fast_matmul_q8(const rc_session *s, const rc_fast *f, int member, float *out, int64_t n, const rc_matrix *w,
                       int64_t first, int64_t last)
{
    uint8_t *packed = (uint8_t *)own_rows(s, member);
    const int64_t groups = w->cols / w->group_size;
    float *scales = s->own_scales + (int64_t)member * RC_FAST_ROWS * s->scales_a_row;
    for (int64_t row = first; row < last; row += RC_FAST_ROWS) {
        const int64_t count = last - row < RC_FAST_ROWS ? last - row : RC_FAST_ROWS;
        const int8_t *values = (const int8_t *)w->values + row * w->cols;
        const uint8_t *first_scale = w->scales + row * groups * (int64_t)sizeof(float);
        if (n == 1 && f->one_int8 && w->group_size % 64 == 0 && groups < INT32_MAX / RC_FAST_ROWS) {
            f->one_int8(out + row, s->act, s->act_scale, s->act_sum, values, first_scale, count, w->cols,
                        w->group_size, packed);
            continue;
        }
        const int8_t *rows[RC_FAST_ROWS];
        const uint8_t *of_rows[RC_FAST_ROWS];
        for (int64_t r = 0; r < RC_FAST_ROWS; r++) {
            /* past the last row, the last one again, whose sums nobody stores */
            const int64_t at = r < count ? r : count - 1;
            rows[r] = values + at * w->cols;
            of_rows[r] = first_scale + at * groups * (int64_t)sizeof(float);
        }
        f->pack_int8(packed, scales, rows, of_rows, w->cols, groups);
        f->products_int8(out + row, w->rows, s->act, s->act_scale, s->act_sum, n, packed, scales, count, w->cols,
                         w->group_size);
    }
}
