#include "mutate.h"

#include <stdlib.h>
#include <string.h>

enum { MAGIC = 0x616b3432, AJC1_MAGIC = 0x616a6331 };

uint64_t roll(dice *d, uint64_t sides)
{
    d->state = d->state * 6364136223846793005u + 1442695040888963407u;
    return (d->state >> 33) % sides;
}

int32_t interesting(dice *d)
{
    static const int32_t values[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 15, 16, 17, 24, 31, 32, 33, 48, 63, 64, 65, 127,
                                     128, 255, 256, 65535, 65536, 46340, 46341, 1 << 24, 0x3fffffff, 0x40000000,
                                     INT32_MAX - 1, INT32_MAX, INT32_MIN, INT32_MIN + 1, -1, -2, -64};
    return values[roll(d, sizeof values / sizeof *values)];
}

static int32_t load(const uint8_t *at)
{
    int32_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

static void change_a_number(uint8_t *data, size_t size, dice *d)
{
    /* within a header mostly, wherever numbers stand; somewhere else now and then */
    static const uint16_t fields[] = {0,   4,   8,   12,  16,  20,  24,  28,  32,  36,  37,  40,  41,  44,
                                      48,  52,  56,  60,  64,  68,  72,  80,  88,  96,  104, 112, 120, 124,
                                      128, 136, 144, 152, 192, 256, 260, 264, 268, 272, 276, 280, 288, 296,
                                      304, 312, 320, 328, 336, 512, 516, 520};
    size_t at = roll(d, 8) ? fields[roll(d, sizeof fields / sizeof *fields)] : roll(d, size);
    if (at + 4 > size)
        return;
    int32_t value = interesting(d);
    if (roll(d, 3) == 0)
        value = (int32_t)((uint32_t)load(data + at) + (uint32_t)roll(d, 3) - 1u);
    else if (roll(d, 3) == 0)
        value = (int32_t)((uint32_t)load(data + at) ^ 1u << roll(d, 32));
    memcpy(data + at, &value, sizeof value);
}

static int64_t fit(uint8_t *data, size_t size, size_t most, dice *d)
{
    if (size < 28)
        return -1;
    const bool versioned = load(data) == MAGIC, ajc1 = load(data) == AJC1_MAGIC;
    if ((versioned || ajc1) && (size < 256 || most < 256))
        return -1;
    if (ajc1)
        return fit_ajc1(data, size, most, d);
    return versioned && load(data + 4) == 3 ? fit_v3(data, size, most, d) : fit_legacy(data, size, most, d);
}

size_t mutate(uint8_t *data, size_t size, size_t most, unsigned seed)
{
    dice d = {seed * 0x9e3779b97f4a7c15u + 1};
    if (size == 0 || roll(&d, 4) == 0)
        return LLVMFuzzerMutate(data, size, most);
    for (uint64_t changes = 1 + roll(&d, 3); changes; changes--)
        change_a_number(data, size, &d);
    if (roll(&d, 4)) {
        const int64_t fitting = fit(data, size, most, &d);
        if (fitting > 0)
            size = (size_t)fitting;
    }
    /* what fits, but for one thing */
    if (roll(&d, 3) == 0)
        change_a_number(data, size, &d);
    if (roll(&d, 16) == 0)
        size -= size > 1 && roll(&d, 2);
    else if (roll(&d, 16) == 0 && size < most)
        data[size++] = (uint8_t)roll(&d, 256);
    return size;
}
