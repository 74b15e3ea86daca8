/* What a forward pass writes: scratch for one batch of tokens, and the KV cache. */
#ifndef EXPORT_AND_VERIFY_SESSION_H
#define EXPORT_AND_VERIFY_SESSION_H

#include "fast.h"

enum {
    BATCH = 64,       /* tokens that share one pass over the weights in mirror, */
    FAST_BATCH = 256, /* and in fast */
    ALIGNMENT = 64, /* of every scratch array */
};

struct rc_session {
    const rc_model *model;
    int64_t capacity; /* positions that the cache holds */
    int threads;
    int64_t batch;    /* the most tokens that share one pass over the weights: FAST_BATCH or capacity */
    int64_t *fed;     /* (n_layers,) positions that each layer has seen; all alike outside a walk */
    float *x;         /* (batch, dim) the residual stream */
    float *h;         /* (batch, max(dim, q_dim)) normed, and later attention's output */
    float *projected; /* (batch, dim) what goes back into the stream */
    float *q;         /* (batch, q_dim) queries */
    float *gate;      /* (batch, hidden_dim) */
    float *up;        /* (batch, hidden_dim) */
    int64_t padded;   /* capacity rounded up to RC_LANES */
    float *scores;    /* (RC_ROWS, padded) of some queries */
    float *key_room;  /* (head_dim, padded) keys of one kv head, transposed */
    float *value_room; /* (capacity, head_dim rounded up to RC_LANES) values of one kv head */
    float *frequency; /* (head_dim / 2,) of RoPE */
    float *cosine;    /* (batch, head_dim / 2) */
    float *sine;      /* (batch, head_dim / 2) */
    float *row_room;  /* (RC_ROWS, widest) rows as float; widest is max(dim, q_dim, hidden_dim) */
    float *lane_room; /* (widest + widest / group_size, BATCH) activations and their scales, transposed */
    float *keys;      /* (n_layers, capacity, kv_dim) */
    float *values;    /* (n_layers, capacity, kv_dim) */
    float *act_scale; /* (batch, widest / group_size) int8 activations' scales, of the smallest groups */
    int8_t *act;      /* (batch, widest) int8 activations */
    int32_t *act_sum; /* (batch, widest / group_size) 128 times the sum of each group of them */
    float *frequency_fast; /* like frequency, by this reader's own functions */
    float *all_keys;  /* (n_kv_heads, padded, head_dim) one layer's keys, 16 positions side by side */
    float *all_values; /* (n_kv_heads, capacity, head_dim rounded up to RC_LANES) */
    float *own_rows;  /* (threads, widest, RC_FAST_ROWS) rows as floats, or as int8 for a product */
    float *own_scales; /* (threads, widest / group_size, RC_FAST_ROWS) */
    float *own_scores; /* (threads, RC_FAST_LOOKS, padded) */
    int64_t widest;       /* max(dim, q_dim, hidden_dim) */
    int64_t scales_a_row; /* widest / group_size */
    void *arena;      /* all of the above */
};

#endif
