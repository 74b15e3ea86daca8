#include "norm.h"

#include "matrix.h"
#include "mirror_rows.h"

/* What a normed vector is multiplied by: the weights, or 1 + the weights. */
static const float *factors(const rc_batch *b, const rc_matrix *w)
{
    float *room = rc_own_row(b);
    const float *weight = rc_matrix_row(w, 0, room);
    if (!b->s->model->config.norm_plus_one)
        return weight;
    for (int64_t j = 0; j < w->cols; j++)
        room[j] = 1.0f + weight[j];
    return room;
}

void rc_norm(const rc_batch *b, float *out, const float *x, int64_t vectors, int kind, int64_t layer)
{
    const rc_matrix w = rc_matrix_of(b->s->model, kind, layer);
    const float *weight = factors(b, &w), eps = (float)b->s->model->config.norm_eps;
    int64_t first, last;
    rc_own_tokens(b, &first, &last);
    for (int64_t v = first * vectors; v < last * vectors; v++)
        (b->fast ? b->fast->norm : rc_rmsnorm)(out + v * w.cols, x + v * w.cols, weight, w.cols, eps);
}
