/* What a forward pass writes: scratch for one batch of tokens, and the KV cache. */
#ifndef EXPORT_AND_VERIFY_SESSION_H
#define EXPORT_AND_VERIFY_SESSION_H

#include "kernels.h"

enum {
    BATCH = 64,     /* tokens that share one pass over the weights */
    ALIGNMENT = 64, /* of every scratch array */
};

struct rc_session {
    const rc_model *model;
    int64_t capacity; /* positions that the cache holds */
    int64_t *fed;     /* (n_layers,) positions that each layer has seen; all alike outside a walk */
    float *x;         /* (BATCH, dim) the residual stream */
    float *h;         /* (BATCH, max(dim, q_dim)) normed, and later attention's output */
    float *projected; /* (BATCH, dim) what goes back into the stream */
    float *q;         /* (BATCH, q_dim) queries */
    float *gate;      /* (BATCH, hidden_dim) */
    float *up;        /* (BATCH, hidden_dim) */
    int64_t padded;   /* capacity rounded up to RC_LANES */
    float *scores;    /* (RC_ROWS, padded) of some queries */
    float *key_room;  /* (head_dim, padded) keys of one kv head, transposed */
    float *value_room; /* (capacity, head_dim rounded up to RC_LANES) values of one kv head */
    float *frequency; /* (head_dim / 2,) of RoPE */
    float *cosine;    /* (BATCH, head_dim / 2) */
    float *sine;      /* (BATCH, head_dim / 2) */
    float *row_room;  /* (RC_ROWS, widest) rows as float; widest is max(dim, q_dim, hidden_dim) */
    float *lane_room; /* (widest + widest / group_size, BATCH) activations and their scales, transposed */
    float *keys;      /* (n_layers, capacity, kv_dim) */
    float *values;    /* (n_layers, capacity, kv_dim) */
    float *act_scale; /* (BATCH, widest / group_size) int8 activations' scales, of the smallest groups */
    int8_t *act;      /* (BATCH, widest) int8 activations */
    void *arena;      /* all of the above */
};

#endif
