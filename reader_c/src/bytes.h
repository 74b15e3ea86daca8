/* Numbers in a file. They are little-endian and may start at any address, so they are never read through a pointer of
 * their type. */
#ifndef EXPORT_AND_VERIFY_BYTES_H
#define EXPORT_AND_VERIFY_BYTES_H

#include <stdint.h>
#include <string.h>

static inline float rc_load_f32(const uint8_t *bytes)
{
    float value;
    memcpy(&value, bytes, sizeof value);
    return value;
}

static inline int32_t rc_load_i32(const uint8_t *b)
{
    const uint32_t u = (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
    int32_t value;
    memcpy(&value, &u, sizeof value);
    return value;
}

static inline int64_t rc_load_i64(const uint8_t *b)
{
    const uint64_t low = (uint32_t)rc_load_i32(b), high = (uint32_t)rc_load_i32(b + 4);
    const uint64_t u = low | high << 32;
    int64_t value;
    memcpy(&value, &u, sizeof value);
    return value;
}

static inline double rc_load_f64(const uint8_t *b)
{
    const int64_t bits = rc_load_i64(b);
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

#endif
