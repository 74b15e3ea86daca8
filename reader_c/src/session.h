/* What a forward pass writes: scratch for one batch of tokens, and the KV cache. */
#ifndef EXPORT_AND_VERIFY_SESSION_H
#define EXPORT_AND_VERIFY_SESSION_H

#include "fast.h"
#include "model.h"
#include "trace.h"

/* The most tokens that share one pass over the weights. Scratch grows with it; no bit depends on it. */
#ifndef RC_MOST_BATCH
#define RC_MOST_BATCH 256
#endif
enum {
    RC_FAST_BATCH = RC_MOST_BATCH,
    RC_MIRROR_BATCH = RC_MOST_BATCH < 64 ? RC_MOST_BATCH : 64, /* and in mirror */
};

/* q_dim is n_heads * head_dim, kv_dim is n_kv_heads * head_dim. Every array is 64-byte aligned. */
struct rc_session {
    const rc_model *model;
    int64_t capacity;        /* positions that the cache holds of a layer that sees all */
    int64_t window_room;     /* and of a windowed layer */
    int64_t cache_positions; /* of all layers together */
    int64_t longest;         /* positions that a batch can attend to */
    int64_t padded;          /* longest rounded up to RC_LANES */
    int64_t padded_head;     /* head_dim rounded up to RC_LANES */
    int64_t batch;           /* the most tokens that share one pass over the weights: RC_FAST_BATCH or capacity */
    int64_t lane_tokens;     /* the most that mirror takes at once, rounded up to RC_LANES */
    int64_t widest;          /* max(dim, q_dim, hidden_dim, expert_hidden_dim) */
    int64_t gate_room;       /* batch * hidden_dim, or pairs * expert_hidden_dim where that is more */
    int64_t pairs;           /* batch * n_active_experts: a token and one of its experts are a pair */
    int64_t scales_a_row;    /* widest / group_size, of the smallest groups */
    int threads;
    int64_t *fed;        /* (n_layers,) positions that each layer has seen; all alike outside a walk */
    int64_t *first_slot; /* (n_layers,) where each layer's part of keys and values begins: in positions */
    int64_t *kept_from;  /* (n_layers,) the position in the first slot: more than 0 once a window has moved on */
    float *keys;         /* (cache_positions, kv_dim) */
    float *values;       /* (cache_positions, kv_dim) */
    float *x;            /* (batch, dim) the residual stream */
    float *h;            /* (batch, max(dim, q_dim)) normed, and later attention's output */
    float *projected;    /* (batch, dim) what goes back into the stream */
    float *q;            /* (batch, q_dim) queries */
    float *gate;         /* (gate_room,): (batch, hidden_dim), or (pairs, expert_hidden_dim) */
    float *up;           /* (gate_room,) likewise */
    /* of a layer with experts; pairs stand expert by expert, and for each expert in the order of tokens */
    float *routed;           /* (batch, n_experts) the router's logits, then the shares */
    uint8_t *chosen;         /* (batch, n_experts) 1 for an expert that the token goes through */
    int64_t *expert_first;   /* (n_experts + 1,) the first pair of each expert */
    rc_pair_of_token *pair;  /* (pairs,) */
    int64_t *pair_at;        /* (batch, n_active_experts) which pair each slot of a token is */
    float *expert_rows;      /* (pairs, dim) what goes into the experts, then what comes out of them */
    float *cosine[2];    /* (batch, rotary_dim / 2) of the first RoPE and of the second, which is empty without one */
    float *sine[2];      /* (batch, rotary_dim / 2) likewise */
    int8_t *act;         /* (batch, widest) int8 activations */
    float *act_scale;    /* (batch, scales_a_row) their scales */
    int32_t *act_sum;    /* (batch, scales_a_row) 128 times the sum of each group of them */
    float *row_room;     /* (max(RC_ROWS, threads), widest) rows as floats */
    /* of mirror alone */
    float *frequency[2]; /* (rotary_dim / 2,) of each RoPE, by the C library's powf */
    float *scores;       /* (RC_ROWS, padded) of some queries */
    float *key_room;     /* (head_dim, padded) keys of one kv head, transposed */
    float *value_room;   /* (longest, padded_head) values of one kv head */
    float *lane_room;    /* (widest + scales_a_row, lane_tokens) activations and their scales, transposed */
    /* of fast alone */
    float *frequency_fast[2]; /* (rotary_dim / 2,) of each RoPE, by this reader's own functions */
    float *all_keys;          /* (n_kv_heads, padded / 16, head_dim, 16) one layer's keys, 16 positions side by side */
    float *all_values;        /* (n_kv_heads, longest, padded_head) one layer's values */
    float *own_rows;          /* (threads, RC_FAST_ROWS, widest) rows as floats, or as int8 for a product */
    float *own_scales;        /* (threads, scales_a_row, RC_FAST_ROWS) */
    float *own_scores;        /* (threads, RC_FAST_QUERIES, padded) */
    bool is_placed;           /* in the caller's memory */
};

#endif
