/* The C reader's whole interface.
 *
 * A model is a read-only map of a llama2.c-style .bin file: v0, v1 (Q8_0), v1-fp32 or v2, told apart by
 * the file itself. It is immutable after rc_open and may be shared between threads. A session holds
 * everything that a forward pass writes (activations and KV cache) and belongs to one caller.
 *
 * Nothing here exits, prints or keeps global state. A function that can fail returns a code, and says
 * in rc_status which field was wrong, where it stands, what was expected and what was found.
 */
#ifndef EXPORT_AND_VERIFY_READER_H
#define EXPORT_AND_VERIFY_READER_H

#include <stdint.h>

/* --- cffi begins here --- */
enum rc_code {
    RC_OK = 0,
    RC_INVALID = 1,  /* the file is not what its header says, or no such file format */
    RC_SYSTEM = 2,   /* the operating system refused; system_error is its errno */
    RC_MEMORY = 3,   /* an allocation of `expected` bytes failed or cannot be expressed */
    RC_ARGUMENT = 4, /* the caller's tokens or options are out of range */
};

enum rc_format { RC_V0 = 0, RC_V1 = 1, RC_V1_FP32 = 2, RC_V2 = 3 };
enum rc_storage { RC_ABSENT = 0, RC_FP32 = 1, RC_Q8 = 2 };
enum rc_activations { RC_ACTIVATIONS_FP32 = 0, RC_ACTIVATIONS_Q8 = 1 };
enum rc_arithmetic { RC_MIRROR = 0, RC_FAST = 1 };
enum rc_rope { RC_ROPE_COMPUTED = 0, RC_ROPE_FROM_FILE = 1 };

enum rc_kind {
    RC_TOK_EMBEDDINGS,
    RC_ATTENTION_NORM,
    RC_WQ,
    RC_WK,
    RC_WV,
    RC_WO,
    RC_FFN_NORM,
    RC_W1,
    RC_W2,
    RC_W3,
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
} rc_status;

typedef struct {
    int32_t format; /* enum rc_format */
    int32_t dim;
    int32_t hidden_dim;
    int32_t n_layers;
    int32_t n_heads;
    int32_t n_kv_heads;
    int32_t vocab_size; /* positive, whatever sign v0 wrote */
    int32_t max_seq_len;
    int32_t shared_classifier; /* 0 or 1 */
    int32_t group_size;        /* 0 in fp32 formats */
    int64_t file_size;
} rc_config;

typedef struct {
    int32_t storage; /* enum rc_storage */
    int64_t layers;  /* 1 for the tensors outside the layers */
    int64_t rows;    /* out_features; 1 for a vector */
    int64_t cols;    /* in_features */
    int64_t offset;  /* byte of layer 0's fp32 or int8 values */
    int64_t stride;  /* bytes from one layer's values to the next one's */
    int64_t scale_offset; /* the same two for Q8_0 scales; 0 in fp32 */
    int64_t scale_stride;
} rc_tensor;

typedef struct rc_model rc_model;
typedef struct rc_session rc_session;

int rc_open(const char *path, rc_model **model, rc_status *status);
void rc_close(rc_model *model);
const rc_config *rc_model_config(const rc_model *model);
const rc_tensor *rc_model_tensor(const rc_model *model, int kind);
const uint8_t *rc_model_bytes(const rc_model *model);

/* A session for at most `capacity` positions, 1 <= capacity <= max_seq_len. */
int rc_session_open(const rc_model *model, int64_t capacity, rc_session **session, rc_status *status);
void rc_session_close(rc_session *session);

/* Feed n more tokens; logits is (n, vocab_size), row-major. On an error the session is as it was. */
int rc_session_forward(rc_session *session, const int32_t *tokens, int64_t n, int activations, int arithmetic,
                       int rope, float *logits, rc_status *status);
/* --- cffi ends here --- */

#endif
