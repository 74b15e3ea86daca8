/* A weight matrix in the file, and its rows as floats. */
#ifndef EXPORT_AND_VERIFY_MATRIX_H
#define EXPORT_AND_VERIFY_MATRIX_H

#include "model.h"

/* out_features by in_features; a vector has one row */
typedef struct {
    int storage;           /* enum rc_storage; RC_ABSENT where the model has no such tensor */
    int64_t rows, cols;    /* out_features, in_features */
    int64_t group_size;    /* of Q8_0 */
    const uint8_t *values; /* (rows, cols) float, half or int8 */
    const uint8_t *scales; /* (rows, cols / group_size) float at any address */
} rc_matrix;

rc_matrix rc_matrix_of(const rc_model *model, int kind, int64_t layer);

/* The same of one expert. */
rc_matrix rc_expert_matrix_of(const rc_model *model, int kind, int64_t layer, int64_t expert);

/* One row as float: the row itself where it is fp32, else `room`, (cols,), with the widened halves or q * scale. */
const float *rc_matrix_row(const rc_matrix *w, int64_t row, float *room);

#endif
