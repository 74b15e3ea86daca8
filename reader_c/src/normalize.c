/* NFC in one walk: characters are decomposed, marks that follow each other are ordered by combining class, and what
 * composes with the last character that begins one is composed. Time grows with the length of the text. */
#include "normalize.h"

#include "status.h"
#include "unicode.h"

#include <stdlib.h>
#include <string.h>

enum { NONE = -1, CLASSES = 256, MOST_PARTS = 4, WIDEST = 4 };

typedef struct {
    int32_t code;
    int32_t combining;
} mark;

/* The marks of one character, in the order of the text; then those of them that did not compose. */
typedef struct {
    mark *items; /* (2 * room,): the upper half is for sorting */
    int64_t count;
    int64_t room;
} marks;

typedef struct {
    int32_t starter; /* the last character of class 0, NONE before the first */
    marks waiting;
    rc_text *out;
} composer;

int rc_text_reserve(rc_text *text, int64_t more, rc_status *status)
{
    if (more <= text->room - text->size)
        return RC_OK;
    const int64_t room = 2 * text->room + more;
    uint8_t *bytes = realloc(text->bytes, (size_t)room);
    if (!bytes)
        return rc_fail(status, RC_MEMORY, "text", -1, "bytes", room, 0);
    text->bytes = bytes;
    text->room = room;
    return RC_OK;
}

bool rc_is_unstable(const uint8_t *text, int64_t size)
{
    int32_t width;
    for (int64_t at = 0; at < size; at += width) {
        if (text[at] < 0x80) {
            width = 1;
            continue;
        }
        if (rc_class_of(rc_character(text, size, at, &width)) & RC_UNSTABLE)
            return true;
    }
    return false;
}

static int put(rc_text *out, int32_t code, rc_status *status)
{
    RC_TRY(rc_text_reserve(out, WIDEST, status));
    out->size += rc_put_character(code, out->bytes + out->size);
    return RC_OK;
}

static int add_mark(marks *m, mark added, rc_status *status)
{
    if (m->count == m->room) {
        const int64_t room = 2 * m->room + 16;
        mark *items = realloc(m->items, 2 * (size_t)room * sizeof *items);
        if (!items)
            return rc_fail(status, RC_MEMORY, "text", -1, "bytes", 2 * room * (int64_t)sizeof *items, 0);
        m->items = items;
        m->room = room;
    }
    m->items[m->count++] = added;
    return RC_OK;
}

/* By class, and those of one class as they are. */
static void order(marks *m)
{
    if (m->count < 2)
        return;
    int64_t from[CLASSES + 1] = {0};
    for (int64_t i = 0; i < m->count; i++)
        from[m->items[i].combining + 1]++;
    for (int c = 1; c <= CLASSES; c++)
        from[c] += from[c - 1];
    mark *sorted = m->items + m->room;
    for (int64_t i = 0; i < m->count; i++)
        sorted[from[m->items[i].combining]++] = m->items[i];
    memcpy(m->items, sorted, (size_t)m->count * sizeof *sorted);
}

/* Compose the starter with its marks, as far as they are not blocked by one that stays. */
static void compose(composer *c)
{
    marks *m = &c->waiting;
    order(m);
    if (c->starter == NONE)
        return;
    int64_t kept = 0;
    for (int64_t i = 0; i < m->count; i++) {
        const bool blocked = kept && m->items[kept - 1].combining >= m->items[i].combining;
        const int32_t composed = blocked ? NONE : rc_compose(c->starter, m->items[i].code);
        if (composed == NONE)
            m->items[kept++] = m->items[i];
        else
            c->starter = composed;
    }
    m->count = kept;
}

static int flush(composer *c, rc_status *status)
{
    if (c->starter != NONE)
        RC_TRY(put(c->out, c->starter, status));
    for (int64_t i = 0; i < c->waiting.count; i++)
        RC_TRY(put(c->out, c->waiting.items[i].code, status));
    c->starter = NONE;
    c->waiting.count = 0;
    return RC_OK;
}

/* The next code point of a decomposed text. */
static int add(composer *c, int32_t code, rc_status *status)
{
    const int32_t combining = rc_combining_class(code);
    if (combining)
        return add_mark(&c->waiting, (mark){.code = code, .combining = combining}, status);
    compose(c);
    if (c->starter != NONE && !c->waiting.count) {
        const int32_t composed = rc_compose(c->starter, code);
        if (composed != NONE) {
            c->starter = composed;
            return RC_OK;
        }
    }
    RC_TRY(flush(c, status));
    c->starter = code;
    return RC_OK;
}

/* A character's whole decomposition: of each step, the first part may decompose again. */
static int add_decomposed(composer *c, int32_t code, rc_status *status)
{
    int32_t behind[MOST_PARTS], n = 0, first, second;
    while (n < MOST_PARTS && rc_decompose(code, &first, &second)) {
        if (second)
            behind[n++] = second;
        code = first;
    }
    RC_TRY(add(c, code, status));
    while (n > 0)
        RC_TRY(add(c, behind[--n], status));
    return RC_OK;
}

int rc_append_nfc(const uint8_t *text, int64_t size, rc_text *out, rc_status *status)
{
    composer c = {.starter = NONE, .out = out};
    int32_t width;
    int code = RC_OK;
    for (int64_t at = 0; !code && at < size; at += width)
        code = add_decomposed(&c, rc_character(text, size, at, &width), status);
    if (!code) {
        compose(&c);
        code = flush(&c, status);
    }
    free(c.waiting.items);
    return code;
}
