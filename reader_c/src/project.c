#include "project.h"

#include "fast_products.h"
#include "lanes.h"
#include "matrix.h"
#include "mirror_products.h"
#include "quantize.h"

#include <stdbool.h>

/* To elements `first` up to `last` of each token of out (n, out_features). */
static void add_bias(const rc_batch *b, int kind, int64_t layer, float *out, int64_t first, int64_t last)
{
    const rc_matrix bias = rc_matrix_of(b->s->model, kind, layer);
    if (bias.storage == RC_ABSENT)
        return;
    const float *values = rc_matrix_row(&bias, 0, rc_own_row(b));
    for (int64_t t = 0; t < b->n; t++)
        for (int64_t i = first; i < last; i++)
            out[t * bias.cols + i] += values[i];
}

/* The session's int8 activations of x (n, cols), for matrices of this group size. */
static void quantize(const rc_batch *b, const float *x, int64_t cols, int64_t group_size)
{
    const rc_session *s = b->s;
    int64_t first, last;
    rc_share(b->member, b->members, b->n * (cols / group_size), 1, &first, &last);
    int8_t *act = s->act + first * group_size;
    const int64_t count = (last - first) * group_size;
    rc_quantize_activations(act, s->act_scale + first, x + first * group_size, count, group_size);
#ifndef RC_NO_FAST
    if (b->fast)
        rc_fast_sum_groups(s->act_sum + first, act, count, group_size);
#endif
    rc_finish_step(b);
}

/* fast has steps of RC_FAST_STEP inputs; other groups are left to mirror's product, which has the same bits. */
static bool has_steps(const rc_matrix *w)
{
    return w->group_size % RC_FAST_STEP == 0;
}

/* A product of x (n, in_features), or of the session's int8 activations, where `fast` has it: rows `first` up to
 * `last`. */
static bool multiply_fast(const rc_batch *b, const float *x, const rc_matrix *w, bool int8, float *out, int64_t first,
                          int64_t last)
{
    if (!b->fast || (int8 && !has_steps(w)))
        return false;
#ifndef RC_NO_FAST
    if (int8)
        rc_fast_matmul_q8(b->s, b->fast, b->member, out, b->n, w, first, last);
    else
        rc_fast_matmul(b->s, b->fast, b->member, out, x, b->n, w, first, last);
#else
    (void)x, (void)out, (void)first, (void)last;
#endif
    return true;
}

/* A product of x (n, in_features), or of the session's int8 activations: this member's rows, *first up to *last. */
static void multiply(const rc_batch *b, const float *x, const rc_matrix *w, bool int8, float *out, int64_t *first,
                     int64_t *last)
{
    const rc_session *s = b->s;
    rc_share(b->member, b->members, w->rows, RC_FAST_ROWS, first, last);
    if (multiply_fast(b, x, w, int8, out, *first, *last))
        return;
    rc_finish_step(b); /* the first member needs all rows: another one may still have a bias in its own */
    if (!int8) {
        rc_matmul(out, x, b->n, w, s->row_room, s->lane_room);
    } else if (b->member == 0) {
        const int64_t groups = w->cols / w->group_size;
        for (int64_t t = 0; t < b->n; t += RC_MIRROR_BATCH)
            rc_matmul_q8(out + t * w->rows, s->act + t * w->cols, s->act_scale + t * groups,
                         b->n - t < RC_MIRROR_BATCH ? b->n - t : RC_MIRROR_BATCH, w, s->row_room, s->lane_room);
    }
    if (int8 && b->fast && !has_steps(w))
        rc_finish_step(b);
}

/* Whether a product is of int8 activations: if so, the session has them afterwards. group_size: of those it has. */
static bool prepare(const rc_batch *b, const float *x, const rc_matrix *w, int64_t *group_size)
{
    if (b->o->activations != RC_ACTIVATIONS_Q8 || w->storage != RC_Q8)
        return false;
    if (*group_size != w->group_size) {
        rc_finish_step(b); /* no member needs those of the last group size any more */
        quantize(b, x, w->cols, w->group_size);
    }
    *group_size = w->group_size;
    return true;
}

static int scale_point(const rc_projection *to)
{
    return to->int8_point - RC_AT_Q_INT8 + RC_AT_Q_SCALE;
}

void rc_project(const rc_batch *b, const float *x, int64_t layer, int count, const rc_projection *projections)
{
    const rc_session *s = b->s;
    int64_t group_size = 0; /* of the int8 activations at hand */
    for (int i = 0; i < count; i++) {
        const rc_projection *to = &projections[i];
        const rc_matrix w = rc_matrix_of(s->model, to->kind, layer);
        const bool int8 = prepare(b, x, &w, &group_size);
        if (int8) {
            rc_record(&b->trace, to->int8_point, layer, s->act, b->n);
            rc_record(&b->trace, scale_point(to), layer, s->act_scale, b->n);
        }
        int64_t first, last;
        multiply(b, x, &w, int8, to->out, &first, &last);
        add_bias(b, to->bias, layer, to->out, first, last);
        rc_record(&b->trace, to->point, layer, to->out, b->n);
    }
    rc_finish_step(b);
}

void rc_project_expert(const rc_batch *b, const float *x, const rc_expert_part *part, int count,
                       const rc_projection *projections)
{
    const rc_session *s = b->s;
    const rc_pair_of_token *pairs = s->pair + part->first;
    rc_batch own = *b;
    own.n = part->count;
    int64_t group_size = 0;
    for (int i = 0; i < count; i++) {
        const rc_projection *to = &projections[i];
        const rc_matrix w = rc_expert_matrix_of(s->model, to->kind, part->layer, part->expert);
        const bool int8 = prepare(&own, x, &w, &group_size);
        if (int8) {
            rc_record_slots(&b->trace, to->int8_point, part->layer, pairs, s->act, part->count);
            rc_record_slots(&b->trace, scale_point(to), part->layer, pairs, s->act_scale, part->count);
        }
        int64_t first, last;
        multiply(&own, x, &w, int8, to->out, &first, &last);
        rc_record_slots(&b->trace, to->point, part->layer, pairs, to->out, part->count);
    }
    rc_finish_step(b);
}
