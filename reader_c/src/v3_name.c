#include "v3_name.h"

#include "status.h"

#include <string.h>

enum { NAME = 64 }; /* bytes */

/* "WORD.NUMBER." at the end of a name; nothing where the number is negative. */
static void add_number(char name[NAME], const char *word, int64_t number)
{
    if (number < 0)
        return;
    char digits[20];
    int count = 0;
    do
        digits[count++] = (char)('0' + number % 10);
    while (number /= 10);
    char *end = name + strlen(name);
    memcpy(end, word, strlen(word));
    for (end += strlen(word); count; end++)
        *end = digits[--count];
    *end = '.';
}

/* "layers.LAYER.REST", with "feed_forward.experts.EXPERT." before the rest, or REST alone: a number is negative where
 * there is none. Zeros after it. The numbers have at most five digits, since the table bounds them, so a name fits. */
static void write_name(char name[NAME], int64_t layer, int64_t expert, const char *rest)
{
    memset(name, 0, NAME);
    add_number(name, "layers.", layer);
    add_number(name, "feed_forward.experts.", expert);
    memcpy(name + strlen(name), rest, strlen(rest));
}

int rc_v3_check_name(const uint8_t *head, int64_t at, int64_t layer, int64_t expert, const char *rest,
                     rc_status *status)
{
    const uint8_t *entry = head + at;
    char expected[NAME];
    write_name(expected, layer, expert, rest);
    if (!memcmp(entry, expected, NAME))
        return RC_OK;
    rc_fail(status, RC_INVALID, "tensor name", at, "", 0, 0);
    status->is_name = 1;
    memcpy(status->expected_name, expected, NAME);
    for (int i = 0; i < NAME - 1; i++)
        status->found_name[i] = (char)(entry[i] == 0 || (entry[i] > ' ' && entry[i] < 127) ? entry[i] : '?');
    return RC_INVALID;
}
