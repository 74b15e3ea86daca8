/* A mutator that knows the formats: it changes a field, and mostly makes the rest of the file fit again. */
#ifndef EXPORT_AND_VERIFY_FUZZ_MUTATE_H
#define EXPORT_AND_VERIFY_FUZZ_MUTATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* libFuzzer's own */
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t most);

/* Numbers of no quality, and the next of them. */
typedef struct {
    uint64_t state;
} dice;
uint64_t roll(dice *d, uint64_t sides);
int32_t interesting(dice *d);

size_t mutate(uint8_t *data, size_t size, size_t most, unsigned seed);

/* What a file that begins like this would have to be, in bytes, or -1 where it would be larger than `most`; v3's head is
 * written anew, payload beyond `size` filled. */
int64_t fit_legacy(uint8_t *data, size_t size, size_t most, dice *d);
int64_t fit_ajc1(uint8_t *data, size_t size, size_t most, dice *d);
int64_t fit_v3(uint8_t *data, size_t size, size_t most, dice *d);

#endif
