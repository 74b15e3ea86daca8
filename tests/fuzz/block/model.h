/* A small tokenizer block in parts, for the target and its mutator. */
#ifndef EXPORT_AND_VERIFY_FUZZ_MODEL_H
#define EXPORT_AND_VERIFY_FUZZ_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* the head's fields of 32 bits, by their place */
enum { KIND, FLAGS, PRETOKENIZER, TOKENS, MERGES, ADDED, BOS, UNK, EOS_IDS, EOS, TEMPLATE, SCORED, FIELDS };
enum { MOST = 80, LONGEST = 64, HEAD = 64, MOST_TEMPLATE = 64 };

typedef struct {
    uint32_t head[FIELDS];
    uint32_t count, merges, added, eos_ids, template_size;
    uint8_t bytes[MOST][LONGEST];
    uint32_t length[MOST];
    bool is_added[MOST];
    float score[MOST];
    uint32_t left[MOST], right[MOST];
    uint32_t added_token[MOST], added_flags[MOST];
    uint32_t eos_id[MOST];
    uint8_t chat_template[MOST_TEMPLATE];
} model;

/* Bytes of the block that the data begin with, by its counts; all of them where the counts make no sense. */
size_t block_size(const uint8_t *data, size_t size);

/* False where the block (size,) is larger than a model. */
bool read_model(model *m, const uint8_t *block, size_t size);

/* Returns the block's size; 0 where it is larger than `most`. */
size_t write_model(const model *m, uint8_t *block, size_t most);

#endif
