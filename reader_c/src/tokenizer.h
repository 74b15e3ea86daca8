/* The C reader's interface to tokenizers: text to tokens and back. As in reader.h, nothing exits, prints or keeps
 * global state, and a failure says which field is wrong.
 *
 * The files about words, from the bottom up, as in reader.h:
 *
 *     pieces, merges                   tokenizer.bin: pieces and scores; which tokens merge into which
 *     encode, decode                   text to tokens, and tokens to text
 *     unicode_tables.h, unicode        what Hugging Face's library knows of code points; characters of UTF-8
 *     normalize                        NFC
 *     block.h, piece_table             a checked tokenizer block of v3; its pieces and merges, found by hash
 *     merge_run, words                 tokens merged by rank; pre-tokens to tokens
 *     scanner, matcher                 where pre-tokens end; added tokens in a text
 *     block_encode, block_decode       text to tokens, and tokens to text
 *     block_head, score_ranks, block_parse
 *                                      the block's first bytes; an order of merges from scores; the whole block
 *     tokenizer                        a tokenizer of either kind
 *     sample                           draws the next token
 */
#ifndef EXPORT_AND_VERIFY_TOKENIZER_H
#define EXPORT_AND_VERIFY_TOKENIZER_H

#include "reader.h"

/* --- cffi begins here --- */
typedef struct rc_tokenizer rc_tokenizer;

/* A tokenizer of llama2.c: file (size,) is all of its tokenizer.bin, and vocab_size is the model's, because the file
 * does not say how many tokens it has. The tokenizer is immutable, and threads may share it. */
int rc_tokenizer_open(const uint8_t *file, int64_t size, int64_t vocab_size, rc_tokenizer **tokenizer,
                      rc_status *status);
/* The same of a tokenizer block of v3: block (size,) is all of it. The tokenizer keeps a copy. */
int rc_tokenizer_open_block(const uint8_t *block, int64_t size, int64_t vocab_size, rc_tokenizer **tokenizer,
                            rc_status *status);
void rc_tokenizer_close(rc_tokenizer *tokenizer);

/* What a tokenizer says about itself. Pointers are valid until it is closed. */
typedef struct {
    int32_t kind; /* 0: tokenizer.bin, 1: byte-level BPE, 2: BPE over characters */
    int32_t token_count;
    int32_t bos; /* -1 for none */
    int32_t eos; /* the one that a text may end with, -1 for none */
    int32_t begins_with_bos; /* this and the next: by default; 0 or 1 */
    int32_t ends_with_eos;
    int64_t eos_count; /* of a block: ids that end a text that is generated, ascending */
    const int32_t *eos_ids;
    int64_t template_size;
    const uint8_t *chat_template; /* (template_size,) UTF-8 */
} rc_tokenizer_config;

void rc_tokenizer_describe(const rc_tokenizer *tokenizer, rc_tokenizer_config *words);

/* How many tokens a text of `size` bytes can become, with bos and eos. */
int64_t rc_tokenizer_room(const rc_tokenizer *tokenizer, int64_t size);

/* The tokens of a text: tokens has room for rc_tokenizer_room. bos, eos: begin with the one, end with the other.
 * Of a tokenizer.bin: what run.c makes of a text without zero bytes, of any encoding.
 * Of a block: what Hugging Face's library makes of it, where the text is UTF-8. Each byte that is not becomes its own
 * token, or what the block has for an unknown character. special: find the special tokens that the text spells. */
int rc_tokenizer_encode(const rc_tokenizer *tokenizer, const uint8_t *text, int64_t size, int bos, int eos, int special,
                        int32_t *tokens, int64_t *count, rc_status *status);

/* How tokens become text, as bits. */
enum { RC_SHOWN = 1, RC_WITHOUT_SPECIAL = 2 };

/* The text of tokens (n,). previous: the token before them, or -1. text may be NULL: then only size is found.
 * Of a tokenizer.bin: the pieces, without token 1 and without a space that follows it; a piece such as <0x0A> is that
 * byte. RC_SHOWN: leave out what run.c does not print, a byte that is neither ASCII that can be printed nor white space
 * and stands alone.
 * Of a block: the pieces, for kind 2 with spaces for U+2581, without the prefix at the beginning of the text, and with
 * bytes for byte pieces. RC_WITHOUT_SPECIAL: leave out special tokens. */
int rc_tokenizer_decode(const rc_tokenizer *tokenizer, int32_t previous, const int32_t *tokens, int64_t n, int how,
                        uint8_t *text, int64_t *size, rc_status *status);
/* --- cffi ends here --- */

#endif
