/* The C reader's interface to models; tokenizer.h and sample.h have that to words.
 *
 * A model is a copy in memory, or a map, of a llama2.c-style .bin file: v0, v1 (Q8_0), v1-fp32, v2, v3, or
 * qwen3.c's ajc1. The reader tells them apart by the file itself. It is immutable after rc_open, and threads may share
 * it. A session holds everything that a forward pass writes (activations and KV cache) and belongs to one caller.
 *
 * Nothing here exits, prints or keeps global state. A function that can fail returns a code, and says in rc_status
 * which field is wrong, where it stands, what was expected and what was found.
 *
 * Opening a v3 file does not compare its digests. The caller must do that: by rc_check_digests, or by a faster BLAKE3
 * of its own, as reader_c.open does.
 *
 * The files, from the bottom up. A file includes headers of files above it in this list, and never of files below it;
 * NAME.h declares what NAME.c defines, but for this header, whose functions stand in the files in brackets.
 *
 *     points.h                         what a walk can record, a part of this header
 *     status.h, bytes.h, model.h       a failure; numbers in a file; what is behind a rc_model
 *     shape                            which tensors a header implies, with names and shapes
 *     layout                           v0 to v2: header, and where each tensor stands
 *     ajc1                             qwen3.c's header
 *     v3_fields, v3_config, v3_architecture, v3_name, v3_table, v3_metadata, v3_head
 *                                      v3: one field; hyper-parameters; architecture block and layer table; a tensor's
 *                                      name; tensors; metadata; the whole head
 *     parse                            tells formats apart            [rc_model_layer, rc_model_tensor and the like]
 *     in_memory.c                      a model of a file that is in memory already  [rc_open_memory, rc_model_config]
 *     file.c                           opens, reads and closes a file               [rc_open, rc_close]
 *     blake3, digests.c                v3's digests                                 [rc_check_digests]
 *     clones.h, lanes, matrix          wide loops; the loop of `mirror`'s products; a weight matrix and its rows
 *     quantize, rope                   int8 activations; RoPE: shared by both arithmetics, but for sines and powers
 *     mirror_products, mirror_rows     `mirror`: products; norm, softmax and gate
 *     fast.h, fast_rope                `fast`: its functions on one instruction set; sines and powers
 *     fast_scalar.c, fast_avx2.c, fast_avx512.c, fast_neon.c
 *                                      `fast` compiled for each: vectors_*.h define the vectors, fast_body*.h the sums
 *     fast_path                        which of them this machine can run           [rc_path_is_here, rc_path_best]
 *     team, trace                      threads; what a walk records                 [rc_trace_width]
 *     session                          scratch and KV cache                         [rc_session_open, _place, _close]
 *     cache                            where the KV cache of a layer has which positions
 *     mirror_attention, fast_products, fast_attention
 *                                      attention, and one thread's part of `fast`
 *     batch.h, project, norm, heads, experts, layer
 *                                      a batch of tokens through a projection, through norms, through what is done to
 *                                      queries and keys before attention, through a mixture of experts, and through a
 *                                      layer
 *     forward.c                        the forward pass and the walk                [rc_session_forward, rc_walk_*]
 *
 * tokenizer.h has the files about words.
 */
#ifndef EXPORT_AND_VERIFY_READER_H
#define EXPORT_AND_VERIFY_READER_H

#include "points.h"

#include <stdint.h>

/* --- cffi begins here --- */
enum rc_code {
    RC_OK = 0,
    RC_INVALID = 1,  /* the file is not what its header says, or no such file format */
    RC_SYSTEM = 2,   /* the operating system refused; system_error is its errno */
    RC_MEMORY = 3,   /* an allocation of `expected` bytes failed or cannot be expressed */
    RC_ARGUMENT = 4, /* the caller's tokens or options are out of range */
};

enum rc_format { RC_V0 = 0, RC_V1 = 1, RC_V1_FP32 = 2, RC_V2 = 3, RC_V3 = 4, RC_AJC1 = 5 };
/* v3's own numbers */
enum rc_storage { RC_ABSENT = 0, RC_FP32 = 1, RC_FP16 = 2, RC_BF16 = 3, RC_Q8 = 8 };
enum rc_gate { RC_SILU = 0, RC_GELU = 1, RC_GELU_TANH = 2 };
enum rc_scaling { RC_UNSCALED = 0, RC_LINEAR = 1, RC_DYNAMIC = 2, RC_LLAMA3 = 3, RC_YARN = 4, RC_LONGROPE = 5 };
/* Where the norms of attention and feed forward stand: before them, after them, or both. */
enum rc_norm_place { RC_NORM_BEFORE = 0, RC_NORM_AFTER = 1, RC_NORM_BOTH = 2 };
/* The norm of queries and keys: none, one for each head, or one over all heads. */
enum rc_qk_norm { RC_QK_PLAIN = 0, RC_QK_BY_HEAD = 1, RC_QK_WHOLE = 2 };
/* Of a layer: no rotation, rope_theta with its scaling, or local_theta. */
enum rc_layer_rope { RC_NO_ROPE = 0, RC_FIRST_ROPE = 1, RC_SECOND_ROPE = 2 };
enum { RC_DIGEST_BYTES = 32 };
enum rc_activations { RC_ACTIVATIONS_FP32 = 0, RC_ACTIVATIONS_Q8 = 1 };
enum rc_arithmetic { RC_MIRROR = 0, RC_FAST = 1 };
enum rc_rope { RC_ROPE_COMPUTED = 0, RC_ROPE_FROM_FILE = 1 };
/* How `fast` is computed: another speed, the same bits. */
enum rc_path { RC_PATH_BEST = 0, RC_PATH_SCALAR = 1, RC_PATH_AVX2 = 2, RC_PATH_AVX512 = 3, RC_PATH_NEON = 4 };

/* In the order in which v3 stores them. */
enum rc_kind {
    RC_TOK_EMBEDDINGS,
    RC_ATTENTION_NORM,
    RC_WQ,
    RC_WQ_BIAS,
    RC_WK,
    RC_WK_BIAS,
    RC_WV,
    RC_WV_BIAS,
    RC_Q_NORM,
    RC_K_NORM,
    RC_WO,
    RC_WO_BIAS,
    RC_ATTENTION_POST_NORM,
    RC_FFN_NORM,
    RC_W1,
    RC_W1_BIAS,
    RC_W2,
    RC_W2_BIAS,
    RC_W3,
    RC_W3_BIAS,
    RC_ROUTER, /* this and the three below: of a layer with experts, which has none of the six above */
    RC_EXPERT_W1, /* one for each expert; an expert's three stand together */
    RC_EXPERT_W2,
    RC_EXPERT_W3,
    RC_FFN_POST_NORM,
    RC_NORM,
    RC_FREQS_COS,
    RC_FREQS_SIN,
    RC_OUTPUT,
    RC_KINDS
};

typedef struct {
    int32_t code;
    int32_t system_error;
    const char *field; /* static text */
    const char *rule;  /* static text: how `expected` is meant ("exactly", "at least", ...) */
    int64_t offset;    /* byte in the file or index in the argument; -1 where neither applies */
    int64_t expected;
    int64_t found;
    /* Where one of the three below is set, `rule` and expected_name say what was expected, and expected and found mean
     * nothing: what was found is a real number, a text, or a name. */
    int32_t is_real; /* 1 for found_real */
    double found_real;
    const char *found_text; /* static text; NULL for none */
    int32_t is_name;        /* 1 for found_name */
    char expected_name[64];
    char found_name[64];
} rc_status;

typedef struct {
    int32_t type;                   /* enum rc_scaling */
    int32_t original_max_positions; /* this and all below: 0 where the type has none */
    double factor;
    double low_freq_factor;
    double high_freq_factor;
    double beta_fast;
    double beta_slow;
    double attention_factor;
    int32_t truncate; /* 0 or 1 */
} rc_rope_scaling;

/* A field that a format does not have holds what its readers assume. */
typedef struct {
    int32_t format; /* enum rc_format */
    int32_t dim;
    int32_t hidden_dim;
    int32_t n_layers;
    int32_t n_heads;
    int32_t n_kv_heads;
    int32_t vocab_size; /* positive, whatever sign v0 wrote */
    int32_t max_seq_len;
    int32_t head_dim;
    int32_t shared_classifier; /* this and the three below: 0 or 1 */
    int32_t qkv_bias;
    int32_t wo_bias;
    int32_t mlp_bias;
    int32_t gate;       /* enum rc_gate */
    int32_t group_size; /* smallest of any Q8_0 tensor; 0 where there is none */
    double norm_eps;
    double rope_theta;
    rc_rope_scaling scaling;
    int32_t norm_place;            /* enum rc_norm_place */
    int32_t norm_plus_one;         /* 0 or 1: a norm multiplies by 1 + weight */
    int32_t qk_norm;               /* enum rc_qk_norm */
    int32_t rotary_dim;            /* first elements of a head that RoPE rotates */
    int32_t window;                /* positions that a windowed layer sees, its own included; 0 without such a layer */
    int32_t query_scale_positions; /* 0 without a query scale */
    double embedding_scale;        /* this, residual_scale and logit_divisor: 1 for none */
    double score_scale;            /* 0: scores are divided by sqrt(head_dim) */
    double residual_scale;
    double logit_divisor;
    double score_cap; /* this and all below: 0 for none */
    double logit_cap;
    double query_scale_beta;
    double local_theta; /* of the second RoPE */
    int32_t n_experts;  /* this and the three below: of layers with a mixture of experts; 0 without such a layer */
    int32_t n_active_experts;   /* that a token goes through */
    int32_t expert_hidden_dim;  /* hidden_dim is of the other layers */
    int32_t experts_normalized; /* 0 or 1: a token's shares are divided by their sum */
    int64_t file_size;
    int64_t head_size;      /* bytes before the first tensor */
    int64_t alignment;      /* of tensors and scales; 0 where the format has none */
    int64_t metadata_at;    /* v3: where the metadata begin; 0 elsewhere */
    int64_t metadata_size;  /* v3: their bytes */
    int64_t metadata_count; /* v3: their number */
    int64_t tokenizer_at;   /* v3: where the tokenizer block begins; 0 elsewhere */
    int64_t tokenizer_size; /* v3: its bytes; 0 without one */
} rc_config;

/* How one layer differs from a Llama's. */
typedef struct {
    int32_t windowed; /* 0 or 1 */
    int32_t rope;     /* enum rc_layer_rope */
    int32_t experts;  /* 0 or 1: its feed forward is a mixture of experts */
} rc_layer;

typedef struct {
    int32_t storage;      /* enum rc_storage */
    int32_t group_size;   /* of Q8_0, else 0 */
    int64_t rows;         /* out_features; 1 for a vector */
    int64_t cols;         /* in_features */
    int64_t offset;       /* byte in the file of the values */
    int64_t length;       /* bytes of the values */
    int64_t scale_offset; /* the same two for Q8_0 scales, else 0 */
    int64_t scale_length;
    int64_t extent;       /* v3: bytes from offset to the next tensor, which the digest covers; 0 elsewhere */
    int64_t digest_at;    /* v3: byte in the file of the digest; 0 elsewhere */
} rc_tensor;

typedef struct rc_model rc_model;
typedef struct rc_session rc_session;

/* mapped: 0 for a copy in memory, which later changes of the file cannot reach. 1 for a map, which suits a file that is
 * larger than memory: if another process truncates it, reading its pages ends this process with SIGBUS. The head,
 * which says where tensors are, is a copy in both. */
int rc_open(const char *path, int mapped, rc_model **model, rc_status *status);
void rc_close(rc_model *model);

/* The same for a file that is in memory already, such as flash that the processor reads like memory: bytes (size,), at
 * a multiple of 4, which stay as they are while the model is used. Nothing is allocated: the model lies in room,
 * (rc_model_room(),), aligned as memory of malloc is, and ends with it. rc_close does nothing to it. */
int64_t rc_model_room(void);
int rc_open_memory(const uint8_t *bytes, int64_t size, void *room, rc_model **model, rc_status *status);

/* Compare the two digests in the head of a v3 file with its bytes and, if tensors is not 0, those of all tensors. Other
 * formats have none: RC_ARGUMENT. */
int rc_check_digests(const rc_model *model, int tensors, rc_status *status);

const rc_config *rc_model_config(const rc_model *model);

/* One layer. 1 where the model has it, else 0. */
int rc_model_layer(const rc_model *model, int64_t layer, rc_layer *kind);

/* By what longrope divides the frequency of a pair: 1 where the model has such a factor, else 0, and factor is 1. */
int rc_model_rope_factor(const rc_model *model, int64_t pair, float *factor);

/* One tensor; layer is 0 outside the layers. 1 where the model has it, else 0. Of the tensors that each expert has, it
 * is expert 0's. */
int rc_model_tensor(const rc_model *model, int kind, int64_t layer, rc_tensor *tensor);

/* The same of any expert, for RC_EXPERT_W1 to RC_EXPERT_W3 alone. */
int rc_model_expert_tensor(const rc_model *model, int kind, int64_t layer, int64_t expert, rc_tensor *tensor);
const uint8_t *rc_model_bytes(const rc_model *model);

/* Whether this machine and this build have the path; and the fastest path that they have. */
int rc_path_is_here(int path);
int rc_path_best(void);

/* A session for at most `capacity` positions, 1 <= capacity <= max_seq_len. `threads`, from 1 to 256: the most that a
 * call of `fast` may use, which changes no bit; `mirror` uses the caller's alone. */
int rc_session_open(const rc_model *model, int64_t capacity, int threads, rc_session **session, rc_status *status);
void rc_session_close(rc_session *session);

/* The same in the caller's memory: rc_session_room says in *bytes how much such a session needs, and rc_session_place
 * makes it in room, (size,), at a multiple of 64. It ends with its room; rc_session_close does nothing to it. */
int rc_session_room(const rc_model *model, int64_t capacity, int threads, int64_t *bytes, rc_status *status);
int rc_session_place(const rc_model *model, int64_t capacity, int threads, void *room, int64_t size,
                     rc_session **session, rc_status *status);

typedef struct {
    int activations; /* enum rc_activations */
    int arithmetic;  /* enum rc_arithmetic */
    int rope;        /* enum rc_rope */
    int path;        /* enum rc_path, of fast */
} rc_options;

/* Feed n more tokens, tokens (n,); logits is (n, vocab_size), row-major. After an error the session is as it was. */
int rc_session_forward(rc_session *session, const int32_t *tokens, int64_t n, const rc_options *options,
                       float *logits, rc_status *status);
/* Elements that one token has at a point of this layer (0 outside the layers); 0 where it has none. seen matters for
 * scores, scores_raw and shares. */
int64_t rc_trace_width(const rc_model *model, int point, int64_t layer, int64_t seen);
/* The same pass one layer at a time, for a caller that wants to see inside. `x` (n, dim) is the residual stream of n
 * tokens, which the caller keeps between the calls; trace[RC_POINTS] says where to record, NULL where not: an array of
 * (n, rc_trace_width) elements each. A layer's tokens follow the positions that this layer has seen; before the next
 * rc_session_forward, all layers must have seen equally many. After an error nothing has changed. */
int rc_walk_embedding(rc_session *session, const int32_t *tokens, int64_t n, void *const *trace, float *x,
                      rc_status *status);
int rc_walk_layer(rc_session *session, int64_t layer, int64_t n, const rc_options *options, void *const *trace,
                  float *x, rc_status *status);
/* logits is (n, vocab_size). */
int rc_walk_classifier(rc_session *session, int64_t n, const rc_options *options, void *const *trace,
                       const float *x, float *logits, rc_status *status);
/* --- cffi ends here --- */

#endif
