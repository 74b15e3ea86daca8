/* A tokenizer block of v3, checked: pieces, merges by rank, added tokens. */
#ifndef EXPORT_AND_VERIFY_BLOCK_H
#define EXPORT_AND_VERIFY_BLOCK_H

#include "reader.h"

#include <stdbool.h>

enum rc_block_flag {
    RC_TAKES_WHOLE = 1, /* a pre-token that is a piece is not merged */
    RC_BEGINS = 2,
    RC_ENDS = 4,
    RC_NFC = 8,
    RC_SPLITS_DIGITS = 16,
    RC_PREFIX = 32,
    RC_BYTE_PIECES = 64,
    RC_SINGLE_SPACES = 128,
};
enum rc_pretokenizer { RC_SPLIT_NONE = 0, RC_SPLIT_GPT2 = 1, RC_SPLIT_LLAMA3 = 2, RC_SPLIT_QWEN2 = 3 };
/* of added tokens; and of a token that is one */
enum { RC_SPECIAL = 1, RC_STRIPS_LEFT = 2, RC_STRIPS_RIGHT = 4, RC_SINGLE_WORD = 8, RC_NORMALIZED = 16, RC_ADDED = 32 };

enum { RC_NO_TOKEN = -1 };

/* Two tokens that merge. Those with the smaller rank merge first. */
typedef struct {
    int32_t left, right;
    int32_t merged;
    int32_t rank;
} rc_pair;

typedef struct {
    uint32_t tag;  /* of the hash */
    int32_t token; /* RC_NO_TOKEN: empty */
} rc_piece_slot;

typedef struct rc_matcher rc_matcher;

typedef struct {
    int32_t kind;
    int32_t flags;
    int32_t pretokenizer;
    int32_t count;      /* of tokens */
    int64_t vocab_size; /* of the model: at least count */
    int32_t bos, unk, eos;
    int64_t added_count, eos_count, template_size;

    uint8_t *copy;          /* the whole block */
    const uint8_t *pieces;  /* (starts[count],) */
    int32_t *starts;        /* (count + 1,) where each piece begins */
    uint8_t *added;         /* (count,) flags of each added token; 0 for others */
    int32_t *eos_ids;       /* (eos_count,) ascending */
    const uint8_t *chat_template;

    /* (sorted_count,) tokens that have a piece, by its bytes; of equal ones, the one that is not added comes first */
    int32_t *sorted;
    int32_t sorted_count;
    rc_piece_slot *piece_slots; /* (piece_mask + 1,) */
    uint64_t piece_mask;

    rc_pair *pairs; /* (pair_count,) by left and right */
    int64_t pair_count;
    rc_pair *pair_slots; /* (pair_mask + 1,); left is RC_NO_TOKEN where one is empty */
    uint64_t pair_mask;

    int32_t of_byte[256]; /* kind 1: the piece of a byte; kind 2: <0x..>; RC_NO_TOKEN for none */
    uint8_t *whole;       /* (count,) 1: a pre-token of this piece's bytes becomes this token alone */
    /* bit a * 256 + b: some merge joins a piece that ends in byte a and one that begins with byte b */
    uint8_t joins[256 * 256 / 8];
    rc_matcher *raw;        /* finds added tokens in the text as it is; NULL where there are none */
    rc_matcher *normalized; /* and after normalization */
} rc_block;

static inline const uint8_t *rc_bytes_of(const rc_block *b, int32_t token)
{
    return b->pieces + b->starts[token];
}

static inline int32_t rc_length_of(const rc_block *b, int32_t token)
{
    return b->starts[token + 1] - b->starts[token];
}

/* Also SentencePiece's bos and eos, which no text spells and which therefore are no added tokens. */
static inline bool rc_is_special(const rc_block *b, int32_t token)
{
    return b->added[token] ? b->added[token] & RC_SPECIAL : token == b->bos || token == b->eos;
}

#endif
