#include "v3_metadata.h"

#include "status.h"
#include "v3_fields.h"

#include <stdbool.h>
#include <string.h>

enum {
    LONGEST_KEY = 64,
    LONGEST_VALUE = 1 << 16,
    SIZES = 8, /* bytes of an entry before its key */
};

/* A key or a value in the head. */
typedef struct {
    const uint8_t *bytes; /* (size,) */
    int64_t size;
} text;

static bool is_utf8(text value)
{
    const uint8_t *s = value.bytes;
    const int64_t n = value.size;
    for (int64_t i = 0; i < n;) {
        const uint8_t b = s[i++];
        const int more = b < 0x80                ? 0
                         : b >= 0xc2 && b < 0xe0 ? 1
                         : b >= 0xe0 && b < 0xf0 ? 2
                         : b >= 0xf0 && b < 0xf5 ? 3
                                                 : -1;
        if (more < 0 || n - i < more)
            return false;
        /* no longer form than needed, no surrogates, nothing beyond U+10FFFF */
        if ((b == 0xe0 && s[i] < 0xa0) || (b == 0xed && s[i] > 0x9f) || (b == 0xf0 && s[i] < 0x90) ||
            (b == 0xf4 && s[i] > 0x8f))
            return false;
        for (int k = 0; k < more; k++)
            if ((s[i++] & 0xc0) != 0x80)
                return false;
    }
    return true;
}

static bool is_key(text key)
{
    for (int64_t i = 0; i < key.size; i++) {
        const uint8_t b = key.bytes[i];
        if (!((b >= 'a' && b <= 'z') || (b >= '0' && b <= '9') || b == '.' || b == '_' || b == '-'))
            return false;
    }
    return true;
}

static bool is_greater(text key, text last)
{
    const int order = memcmp(last.bytes, key.bytes, (size_t)(last.size < key.size ? last.size : key.size));
    return order < 0 || (order == 0 && last.size < key.size);
}

/* As a status can show it: cut, and with ? for what cannot be printed. */
static void show(char name[64], text key)
{
    for (int64_t i = 0; i < key.size && i < 63; i++)
        name[i] = (char)(key.bytes[i] > ' ' && key.bytes[i] < 127 ? key.bytes[i] : '?');
}

static int fail_key(rc_status *status, int64_t at, const char *rule, text found)
{
    rc_fail(status, RC_INVALID, "metadata key", at, rule, 0, 0);
    status->is_name = 1;
    show(status->found_name, found);
    return RC_INVALID;
}

static int fail_order(rc_status *status, int64_t at, text last, text found)
{
    fail_key(status, at, "more than", found);
    show(status->expected_name, last);
    return RC_INVALID;
}

/* An entry whose sizes are within the metadata. */
static int check_pair(text key, text value, text last, int64_t at, rc_status *status)
{
    if (!is_key(key))
        return fail_key(status, at, "only a-z, 0-9 and . _ -", key);
    if (!is_utf8(value))
        return rc_fail_text(status, "metadata value", at + key.size, "UTF-8", "other bytes");
    if (last.bytes && !is_greater(key, last))
        return fail_order(status, at, last, key);
    return RC_OK;
}

int rc_v3_check_metadata(const uint8_t *head, const rc_config *c, rc_status *status)
{
    text last = {NULL, 0};
    int64_t at = c->metadata_at;
    const int64_t end = c->metadata_at + c->metadata_size;
    for (int64_t number = 0; number < c->metadata_count; number++) {
        if (end - at < SIZES)
            return rc_fail(status, RC_INVALID, "metadata size", RC_V3_METADATA_SIZE_AT, "at least",
                           at + SIZES - c->metadata_at, c->metadata_size);
        int32_t key_size = 0, value_size = 0;
        RC_TRY(rc_read_u32(head, at, "metadata key size", 1, LONGEST_KEY, &key_size, status));
        RC_TRY(rc_read_u32(head, at + 4, "metadata value size", 0, LONGEST_VALUE, &value_size, status));
        at += SIZES;
        if (end - at < key_size + value_size)
            return rc_fail(status, RC_INVALID, "metadata size", RC_V3_METADATA_SIZE_AT, "at least",
                           at + key_size + value_size - c->metadata_at, c->metadata_size);
        const text key = {head + at, key_size}, value = {head + at + key_size, value_size};
        RC_TRY(check_pair(key, value, last, at, status));
        last = key;
        at += key_size + value_size;
    }
    if (at != end)
        return rc_fail(status, RC_INVALID, "metadata size", RC_V3_METADATA_SIZE_AT, "exactly", at - c->metadata_at,
                       c->metadata_size);
    return RC_OK;
}
