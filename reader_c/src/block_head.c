#include "block_head.h"

#include "bytes.h"
#include "status.h"
#include "v3_fields.h"

enum {
    KIND_AT = 0,
    FLAGS_AT = 4,
    PRETOKENIZER_AT = 8,
    TOKEN_COUNT_AT = 12,
    MERGE_COUNT_AT = 16,
    ADDED_COUNT_AT = 20,
    BOS_AT = 24,
    UNK_AT = 28,
    EOS_COUNT_AT = 32,
    EOS_AT = 36,
    TEMPLATE_AT = 40,
    SCORED_AT = 44,
    PIECE_BYTES_AT = 48,
    RESERVED_AT = 56,
    HEAD = 64,
    ALIGNMENT = 64,
    MOST_TOKENS = 1 << 24,
    MOST_TEMPLATE = 1 << 20,
};
/* flags that mean something for each kind */
enum {
    FLAGS_OF_BYTES = RC_TAKES_WHOLE | RC_BEGINS | RC_ENDS | RC_NFC | RC_SPLITS_DIGITS | RC_PREFIX,
    FLAGS_OF_CHARACTERS =
        RC_TAKES_WHOLE | RC_BEGINS | RC_ENDS | RC_NFC | RC_PREFIX | RC_BYTE_PIECES | RC_SINGLE_SPACES,
};

static int read_kind(rc_block *b, const uint8_t *bytes, rc_status *status)
{
    RC_TRY(rc_read_u32(bytes, KIND_AT, "tokenizer kind", 1, 2, &b->kind, status));
    const int64_t flags = (uint32_t)rc_load_i32(bytes + FLAGS_AT);
    const int64_t known = b->kind == 1 ? FLAGS_OF_BYTES : FLAGS_OF_CHARACTERS;
    if (flags & ~known)
        return rc_fail(status, RC_INVALID, "tokenizer flags", FLAGS_AT, "only bits of", known, flags);
    b->flags = (int32_t)flags;
    return rc_read_u32(bytes, PRETOKENIZER_AT, "pre-tokenizer", 0, b->kind == 1 ? RC_SPLIT_QWEN2 : 0,
                       &b->pretokenizer, status);
}

/* A token's id, or -1 for none; `needed` where the flags use it. */
static int read_token(const rc_block *b, const uint8_t *bytes, int64_t at, const char *field, bool needed,
                      int32_t *token, rc_status *status)
{
    *token = rc_load_i32(bytes + at);
    const int32_t least = needed ? 0 : RC_NO_TOKEN;
    if (*token < least)
        return rc_fail(status, RC_INVALID, field, at, "at least", least, *token);
    if (*token >= b->count)
        return rc_fail(status, RC_INVALID, field, at, "at most", b->count - 1, *token);
    return RC_OK;
}

static int read_counts(rc_block *b, const uint8_t *bytes, int64_t size, int64_t vocab_size, rc_block_places *p,
                       rc_status *status)
{
    int32_t count;
    const int64_t most = vocab_size < MOST_TOKENS ? vocab_size : MOST_TOKENS;
    RC_TRY(rc_read_u32(bytes, TOKEN_COUNT_AT, "token_count", 1, most, &b->count, status));
    RC_TRY(rc_read_u32(bytes, MERGE_COUNT_AT, "merge_count", 0, size / 8, &count, status));
    p->merge_count = count;
    RC_TRY(rc_read_u32(bytes, ADDED_COUNT_AT, "added_count", 0, b->count, &count, status));
    b->added_count = count;
    RC_TRY(read_token(b, bytes, BOS_AT, "bos", b->flags & RC_BEGINS, &b->bos, status));
    RC_TRY(read_token(b, bytes, UNK_AT, "unk", false, &b->unk, status));
    if (b->kind == 1 && b->unk != RC_NO_TOKEN)
        return rc_fail(status, RC_INVALID, "unk", UNK_AT, "exactly", RC_NO_TOKEN, b->unk);
    RC_TRY(rc_read_u32(bytes, EOS_COUNT_AT, "eos_count", 0, b->count, &count, status));
    b->eos_count = count;
    RC_TRY(read_token(b, bytes, EOS_AT, "eos", b->flags & RC_ENDS, &b->eos, status));
    RC_TRY(rc_read_u32(bytes, TEMPLATE_AT, "template_size", 0, MOST_TEMPLATE, &count, status));
    b->template_size = count;
    const bool scored = b->kind == 2 && !p->merge_count;
    RC_TRY(rc_read_u32(bytes, SCORED_AT, "scored", scored, scored, &count, status));
    p->is_scored = count;
    p->piece_bytes = rc_load_i64(bytes + PIECE_BYTES_AT);
    if (p->piece_bytes < 0 || p->piece_bytes > size)
        return rc_fail(status, RC_INVALID, "piece_bytes", PIECE_BYTES_AT, "at most", size, p->piece_bytes);
    return rc_read_exactly(bytes, RESERVED_AT, "reserved", 0, status);
}

int rc_read_block_head(rc_block *b, const uint8_t *bytes, int64_t size, int64_t vocab_size, rc_block_places *p,
                       rc_status *status)
{
    if (vocab_size < 1)
        return rc_fail(status, RC_ARGUMENT, "vocab_size", -1, "at least", 1, vocab_size);
    if (size < HEAD)
        return rc_fail(status, RC_INVALID, "tokenizer size", -1, "at least", HEAD, size);
    if (size > INT32_MAX)
        return rc_fail(status, RC_INVALID, "tokenizer size", -1, "at most", INT32_MAX, size);
    RC_TRY(read_kind(b, bytes, status));
    RC_TRY(read_counts(b, bytes, size, vocab_size, p, status));
    p->ends = HEAD;
    p->pieces = p->ends + 4 * (int64_t)b->count;
    p->scores = rc_aligned(p->pieces + p->piece_bytes, 4);
    p->merges = p->scores + (p->is_scored ? 4 * (int64_t)b->count : 0);
    p->added = p->merges + 8 * p->merge_count;
    p->eos_ids = p->added + 8 * b->added_count;
    p->chat_template = p->eos_ids + 4 * b->eos_count;
    p->end = p->chat_template + b->template_size;
    const int64_t whole = rc_aligned(p->end, ALIGNMENT);
    if (size != whole)
        return rc_fail(status, RC_INVALID, "tokenizer size", -1, "what its counts take,", whole, size);
    return RC_OK;
}
