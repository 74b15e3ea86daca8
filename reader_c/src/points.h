/* The points of a forward pass at which a walk can record what was computed; reader.h includes them. */
#ifndef EXPORT_AND_VERIFY_POINTS_H
#define EXPORT_AND_VERIFY_POINTS_H

/* --- cffi begins here --- */
/* What a walk can record of each token, float32 where nothing else is said, in the order of computation. `seen` is the
 * number of positions from 0 up to the one of a call's last token. A model or a layer without a step does not have the
 * step's point: its width is 0. Attention reads the last that there is of q, q_normed, q_rotated and q_scaled. */
enum rc_point {
    RC_AT_EMBEDDING,           /* (dim) scaled */
    RC_AT_COSINE,              /* (rotary_dim / 2) of the layer's RoPE */
    RC_AT_SINE,                /* (rotary_dim / 2) */
    RC_AT_ATTENTION_NORM,      /* (dim) */
    RC_AT_Q,                   /* (n_heads * head_dim) with its bias */
    RC_AT_K,                   /* (n_kv_heads * head_dim) */
    RC_AT_V,                   /* (n_kv_heads * head_dim) */
    RC_AT_Q_NORMED,            /* (n_heads * head_dim) */
    RC_AT_K_NORMED,            /* (n_kv_heads * head_dim) */
    RC_AT_Q_ROTATED,           /* (n_heads * head_dim) */
    RC_AT_K_ROTATED,           /* (n_kv_heads * head_dim) */
    RC_AT_Q_SCALED,            /* (n_heads * head_dim) by the query scale */
    RC_AT_SCORES_RAW,          /* (n_heads, seen) before the cap; as scores */
    RC_AT_SCORES,              /* (n_heads, seen) zero beyond the token's own position and before its window */
    RC_AT_SHARES,              /* (n_heads, seen) as scores */
    RC_AT_ATTENDED,            /* (n_heads * head_dim) */
    RC_AT_WO,                  /* (dim) */
    RC_AT_ATTENTION_POST_NORM, /* (dim) */
    RC_AT_ATTENTION_RESIDUAL,  /* (dim) */
    RC_AT_FFN_NORM,            /* (dim) */
    /* the six below only in a layer with experts; slots of a token's experts ascend with their numbers */
    RC_AT_ROUTER,              /* (n_experts) logits of the router */
    RC_AT_ROUTED,              /* (n_experts) share of each expert, 0 of those that are not chosen */
    RC_AT_EXPERT_GATE,         /* (n_active_experts, expert_hidden_dim) before its activation */
    RC_AT_EXPERT_UP,           /* (n_active_experts, expert_hidden_dim) */
    RC_AT_EXPERT_GATED,        /* (n_active_experts, expert_hidden_dim) */
    RC_AT_EXPERT_DOWN,         /* (n_active_experts, dim) */
    RC_AT_GATE,                /* (hidden_dim) before its activation */
    RC_AT_UP,                  /* (hidden_dim) */
    RC_AT_GATED,               /* (hidden_dim) */
    RC_AT_DOWN,                /* (dim) with experts: the sum of expert_down, each times its share */
    RC_AT_FFN_POST_NORM,       /* (dim) */
    RC_AT_FFN_RESIDUAL,        /* (dim) */
    RC_AT_FINAL_NORM,          /* (dim) */
    RC_AT_CLASSIFIED,          /* (vocab_size) before the logits' divisor and cap */
    RC_AT_LOGITS,              /* (vocab_size) */
    /* int8 activations that go into each Q8_0 matrix, int8 (in_features); their scales (in_features / group_size) */
    RC_AT_Q_INT8,
    RC_AT_K_INT8,
    RC_AT_V_INT8,
    RC_AT_WO_INT8,
    RC_AT_GATE_INT8,
    RC_AT_UP_INT8,
    RC_AT_DOWN_INT8,
    RC_AT_EXPERT_GATE_INT8, /* of all slots, as above */
    RC_AT_EXPERT_UP_INT8,
    RC_AT_EXPERT_DOWN_INT8,
    RC_AT_LOGITS_INT8,
    RC_AT_Q_SCALE,
    RC_AT_K_SCALE,
    RC_AT_V_SCALE,
    RC_AT_WO_SCALE,
    RC_AT_GATE_SCALE,
    RC_AT_UP_SCALE,
    RC_AT_DOWN_SCALE,
    RC_AT_EXPERT_GATE_SCALE,
    RC_AT_EXPERT_UP_SCALE,
    RC_AT_EXPERT_DOWN_SCALE,
    RC_AT_LOGITS_SCALE,
    RC_POINTS
};
/* --- cffi ends here --- */

#endif
