#include "block_parse.h"

#include "block_encode.h"
#include "block_head.h"
#include "bytes.h"
#include "matcher.h"
#include "piece_table.h"
#include "score_ranks.h"
#include "status.h"
#include "unicode.h"
#include "v3_fields.h"
#include "words.h"

#include <stdlib.h>
#include <string.h>

static int fail_memory(const rc_block *b, rc_status *status)
{
    return rc_fail(status, RC_MEMORY, "tokenizer", -1, "bytes", 16 * (int64_t)b->count, 0);
}

static int read_pieces(rc_block *b, const rc_block_places *p, rc_status *status)
{
    b->pieces = b->copy + p->pieces;
    int64_t before = 0;
    for (int32_t token = 0; token < b->count; token++) {
        const int64_t at = p->ends + 4 * (int64_t)token, end = (uint32_t)rc_load_i32(b->copy + at);
        if (end < before)
            return rc_fail(status, RC_INVALID, "end of a piece", at, "at least", before, end);
        if (end > p->piece_bytes)
            return rc_fail(status, RC_INVALID, "end of a piece", at, "at most piece_bytes =", p->piece_bytes, end);
        b->starts[token + 1] = (int32_t)end;
        before = end;
    }
    if (before != p->piece_bytes)
        return rc_fail(status, RC_INVALID, "end of the last piece", p->pieces - 4, "exactly piece_bytes =",
                       p->piece_bytes, before);
    return rc_check_zeros(b->copy, p->pieces + p->piece_bytes, p->scores, "padding of pieces", status);
}

static int read_added(rc_block *b, const rc_block_places *p, rc_status *status)
{
    int64_t before = -1;
    for (int64_t i = 0; i < b->added_count; i++) {
        const int64_t at = p->added + 8 * i;
        int32_t token, flags;
        RC_TRY(rc_read_u32(b->copy, at, "added token", before + 1, b->count - 1, &token, status));
        RC_TRY(rc_read_u32(b->copy, at + 4, "flags of an added token", 0, RC_ADDED - 1, &flags, status));
        b->added[token] = (uint8_t)(flags | RC_ADDED);
        before = token;
    }
    before = -1;
    for (int64_t i = 0; i < b->eos_count; i++) {
        RC_TRY(rc_read_u32(b->copy, p->eos_ids + 4 * i, "eos id", before + 1, b->count - 1, &b->eos_ids[i], status));
        before = b->eos_ids[i];
    }
    return RC_OK;
}

static int read_template(rc_block *b, const rc_block_places *p, int64_t size, rc_status *status)
{
    b->chat_template = b->copy + p->chat_template;
    int32_t width;
    for (int64_t at = 0; at < b->template_size; at += width)
        if (rc_character(b->chat_template, b->template_size, at, &width) >= RC_NO_CHARACTER)
            return rc_fail_text(status, "chat template", p->chat_template + at, "UTF-8", "another byte");
    return rc_check_zeros(b->copy, p->end, size, "padding of the tokenizer", status);
}

static int read_merges(rc_block *b, const rc_block_places *p, rc_status *status)
{
    uint8_t *both = malloc((size_t)(p->piece_bytes + 1));
    b->pairs = malloc((size_t)(p->merge_count + 1) * sizeof *b->pairs);
    int code = both && b->pairs ? RC_OK : fail_memory(b, status);
    for (int64_t i = 0; !code && i < p->merge_count; i++) {
        const int64_t at = p->merges + 8 * i;
        rc_pair *pair = &b->pairs[i];
        pair->rank = (int32_t)i;
        code = rc_read_u32(b->copy, at, "left token of a merge", 0, b->count - 1, &pair->left, status);
        if (!code)
            code = rc_read_u32(b->copy, at + 4, "right token of a merge", 0, b->count - 1, &pair->right, status);
        if (code)
            break;
        const int64_t left = rc_length_of(b, pair->left), right = rc_length_of(b, pair->right);
        pair->merged = RC_NO_TOKEN;
        /* a longer one is no piece */
        if (left && right && left + right <= p->piece_bytes) {
            memcpy(both, rc_bytes_of(b, pair->left), (size_t)left);
            memcpy(both + left, rc_bytes_of(b, pair->right), (size_t)right);
            pair->merged = rc_token_of(b, both, left + right, rc_hash(both, left + right));
        }
        if (pair->merged == RC_NO_TOKEN)
            code = rc_fail_text(status, "merge", at, "two pieces whose bytes together are a piece", "others");
    }
    b->pair_count = p->merge_count;
    free(both);
    return code;
}

static int index_merges(rc_block *b, const rc_block_places *p, rc_status *status)
{
    int32_t once, twice;
    RC_TRY(rc_index_pairs(b, &once, &twice, status));
    if (twice != RC_NO_TOKEN)
        return rc_fail(status, RC_INVALID, "merge of these tokens", p->merges + 8 * (int64_t)twice, "only", once,
                       twice);
    return RC_OK;
}

static void find_bytes(rc_block *b)
{
    for (int byte = 0; byte < 256; byte++) {
        uint8_t piece[8] = {(uint8_t)byte};
        int32_t size = 1;
        if (b->kind == 2) {
            const char *digits = "0123456789ABCDEF";
            const char spelt[] = {'<', '0', 'x', digits[byte >> 4], digits[byte & 15], '>'};
            size = sizeof spelt;
            memcpy(piece, spelt, sizeof spelt);
        }
        b->of_byte[byte] = rc_token_of(b, piece, size, rc_hash(piece, size));
    }
}

/* One of the two matchers: of added tokens that are normalized, or of the others. */
static int open_matcher(const rc_block *b, bool normalized, rc_matcher **matcher, rc_status *status)
{
    rc_text patterns = {0};
    int64_t bytes = 0;
    for (int32_t token = 0; token < b->count; token++)
        if (b->added[token] && !(b->added[token] & RC_NORMALIZED) == !normalized)
            bytes += rc_length_of(b, token);
    if (!bytes)
        return RC_OK;
    RC_TRY(rc_matcher_open(normalized ? rc_block_room(b, bytes) : bytes, matcher, status));
    int code = RC_OK;
    for (int32_t token = 0; !code && token < b->count; token++) {
        if (!b->added[token] || !rc_length_of(b, token) || !(b->added[token] & RC_NORMALIZED) != !normalized)
            continue;
        const uint8_t *piece = rc_bytes_of(b, token);
        int64_t size = rc_length_of(b, token);
        if (normalized) {
            code = rc_normalize(b, piece, size, &patterns, status);
            piece = patterns.bytes;
            size = patterns.size;
        }
        if (!code)
            rc_matcher_add(*matcher, piece, size, token);
    }
    free(patterns.bytes);
    rc_matcher_finish(*matcher);
    return code;
}

static int allocate(rc_block *b, const uint8_t *bytes, int64_t size, rc_status *status)
{
    const size_t count = (size_t)b->count;
    b->copy = malloc((size_t)size);
    b->starts = calloc(count + 1, sizeof *b->starts);
    b->added = calloc(count, sizeof *b->added);
    b->whole = calloc(count, sizeof *b->whole);
    b->eos_ids = calloc((size_t)b->eos_count + 1, sizeof *b->eos_ids);
    if (!b->copy || !b->starts || !b->added || !b->whole || !b->eos_ids)
        return fail_memory(b, status);
    memcpy(b->copy, bytes, (size_t)size);
    return RC_OK;
}

static int read_block(rc_block *b, const uint8_t *bytes, int64_t size, int64_t vocab_size, rc_status *status)
{
    rc_block_places p;
    RC_TRY(rc_read_block_head(b, bytes, size, vocab_size, &p, status));
    b->vocab_size = vocab_size;
    RC_TRY(allocate(b, bytes, size, status));
    RC_TRY(read_pieces(b, &p, status));
    RC_TRY(read_added(b, &p, status));
    RC_TRY(read_template(b, &p, size, status));
    RC_TRY(rc_index_pieces(b, status));
    find_bytes(b);
    RC_TRY(p.is_scored ? rc_rank_by_score(b, p.scores, status) : read_merges(b, &p, status));
    RC_TRY(index_merges(b, &p, status));
    RC_TRY(open_matcher(b, false, &b->raw, status));
    RC_TRY(open_matcher(b, true, &b->normalized, status));
    return rc_find_whole(b, status);
}

int rc_block_open(const uint8_t *bytes, int64_t size, int64_t vocab_size, rc_block **block, rc_status *status)
{
    *block = NULL;
    rc_block *b = calloc(1, sizeof *b);
    if (!b)
        return rc_fail(status, RC_MEMORY, "tokenizer", -1, "bytes", sizeof *b, 0);
    const int code = read_block(b, bytes, size, vocab_size, status);
    if (code)
        rc_block_close(b);
    else
        *block = b;
    return code;
}

void rc_block_close(rc_block *b)
{
    if (!b)
        return;
    free(b->copy);
    free(b->starts);
    free(b->added);
    free(b->whole);
    free(b->eos_ids);
    free(b->sorted);
    free(b->piece_slots);
    free(b->pairs);
    free(b->pair_slots);
    rc_matcher_close(b->raw);
    rc_matcher_close(b->normalized);
    free(b);
}
