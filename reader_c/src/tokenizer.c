/* A tokenizer as a whole, whichever kind of file it comes from. */
#include "tokenizer.h"

#include "block_decode.h"
#include "block_encode.h"
#include "block_parse.h"
#include "decode.h"
#include "encode.h"
#include "merges.h"
#include "status.h"

#include <stdlib.h>

/* Of a tokenizer.bin, where block is NULL; or of a block of v3. */
struct rc_tokenizer {
    rc_vocabulary vocabulary;
    rc_block *block;
};

int rc_tokenizer_open(const uint8_t *file, int64_t size, int64_t vocab_size, rc_tokenizer **tokenizer,
                      rc_status *status)
{
    *tokenizer = NULL;
    *status = (rc_status){.code = RC_OK, .offset = -1};
    rc_tokenizer *opened = calloc(1, sizeof *opened);
    if (!opened)
        return rc_fail(status, RC_MEMORY, "tokenizer", -1, "bytes", sizeof *opened, 0);
    int code = rc_read_pieces(&opened->vocabulary, file, size, vocab_size, status);
    if (!code)
        code = rc_find_merges(&opened->vocabulary, status);
    if (code)
        rc_tokenizer_close(opened);
    else
        *tokenizer = opened;
    return code;
}

int rc_tokenizer_open_block(const uint8_t *block, int64_t size, int64_t vocab_size, rc_tokenizer **tokenizer,
                            rc_status *status)
{
    *tokenizer = NULL;
    *status = (rc_status){.code = RC_OK, .offset = -1};
    rc_tokenizer *opened = calloc(1, sizeof *opened);
    if (!opened)
        return rc_fail(status, RC_MEMORY, "tokenizer", -1, "bytes", sizeof *opened, 0);
    const int code = rc_block_open(block, size, vocab_size, &opened->block, status);
    if (code)
        rc_tokenizer_close(opened);
    else
        *tokenizer = opened;
    return code;
}

void rc_tokenizer_close(rc_tokenizer *t)
{
    if (!t)
        return;
    rc_free_pieces(&t->vocabulary);
    rc_block_close(t->block);
    free(t);
}

void rc_tokenizer_describe(const rc_tokenizer *t, rc_tokenizer_config *words)
{
    const rc_block *b = t->block;
    if (b)
        *words = (rc_tokenizer_config){.kind = b->kind,
                            .token_count = b->count,
                            .bos = b->bos,
                            .eos = b->eos,
                            .begins_with_bos = b->flags & RC_BEGINS ? 1 : 0,
                            .ends_with_eos = b->flags & RC_ENDS ? 1 : 0,
                            .eos_count = b->eos_count,
                            .eos_ids = b->eos_ids,
                            .template_size = b->template_size,
                            .chat_template = b->chat_template};
    else
        *words = (rc_tokenizer_config){.token_count = t->vocabulary.count, .bos = RC_BOS, .eos = RC_EOS};
}

int64_t rc_tokenizer_room(const rc_tokenizer *t, int64_t size)
{
    return t->block ? rc_block_room(t->block, size) : size + 3;
}

int rc_tokenizer_encode(const rc_tokenizer *t, const uint8_t *text, int64_t size, int bos, int eos, int special,
                        int32_t *tokens, int64_t *count, rc_status *status)
{
    *count = 0;
    *status = (rc_status){.code = RC_OK, .offset = -1};
    if (t->block)
        return rc_block_encode(t->block, text, size, bos, eos, special, tokens, count, status);
    return rc_vocabulary_encode(&t->vocabulary, text, size, bos, eos, tokens, count, status);
}

int rc_tokenizer_decode(const rc_tokenizer *t, int32_t previous, const int32_t *tokens, int64_t n, int how,
                        uint8_t *text, int64_t *size, rc_status *status)
{
    *size = 0;
    *status = (rc_status){.code = RC_OK, .offset = -1};
    if (t->block)
        return rc_block_decode(t->block, previous, tokens, n, !(how & RC_WITHOUT_SPECIAL), text, size, status);
    return rc_vocabulary_decode(&t->vocabulary, previous, tokens, n, how & RC_SHOWN, text, size, status);
}
