"""Mutants of the parser that no test can notice, each with the reason: mutants.py does not try them."""

from __future__ import annotations

# (file, what stands in the line, what it becomes) -> why no test can see it; where a line has several of a kind,
# (file, the whole line as it becomes, "")
UNSEEN: dict[tuple[str, str, str], str] = {
    ("shape.c", "config->shared_classifier = value > 0;", ">="): "0 is refused in the next line but one",
    ("shape.c", "value = value < 0 ? -value : value;", "<="): "0 and -0 are one integer",
    ("shape.c", "value = value < 0 ? -value : value;", "1"): "the same",
    ("layout.c", "if (version > 2)", "3"): "3 was led to the parser of v3 before",
    ("layout.c", "int64_t product = 0;", "1"): "the product is written over it",
    ("layout.c", "int64_t sum = 0;", "1"): "the sum is written over it",
    ("layout.c", "return 1;", "2"): "who asks, asks whether",
    ("parse.c", "return size < RC_HEADER ? size : RC_HEADER;", "<="): "the same number",
    (
        "v3_table.c",
        "if (overflow || end > w->config->file_size + MOST_PADDING)",
        ">=",
    ): "there is room to spare",
    **{("v3_table.c", "MOST_PADDING = 2 * 4096,", new): "there is room to spare" for new in ("+", "3", "4097")},
    (
        "v3_table.c",
        "if (group && (!w->config->group_size || group < w->config->group_size))",
        "<=",
    ): "the same number",
    ("v3_head.c", "if (alignment & (alignment - 1))", "2"): "from 64 to 4096 the same numbers",
    ("v3_metadata.c", "if (more < 0 || n - i < more)", "+"): "what follows a value cannot be the rest of a character",
    (
        "v3_metadata.c",
        "if (end - at < SIZES)",
        "<=",
    ): "a key has a letter, so that eight bytes are too few all the same",
    (
        "v3_metadata.c",
        "const int order = memcmp(last.bytes, key.bytes, (size_t)(last.size < key.size ? last.size : key.size));",
        "<=",
    ): "the same number",
    (
        "v3_head.c",
        "if (c->head_size > c->file_size)",
        ">=",
    ): "a head alone lacks tensors, which its size tells all the same",
    (
        "v3_head.c",
        "const int64_t said = rc_load_i64(start + HEAD_SIZE_AT), within = said < most ? said : most;",
        "<=",
    ): "the same number",
    (
        "v3_head.c",
        "const int64_t wanted = within < RC_V3_LAYERS_AT ? RC_V3_LAYERS_AT : within;",
        "<=",
    ): "the same number",
    ("v3_head.c", "return wanted < size ? wanted : size;", "<="): "the same number",
    **{
        (file, line, "1"): "where a real number or a name is told, these mean nothing"
        for file, line in (
            ("v3_fields.c", "rc_fail(status, RC_INVALID, field, offset, rule, 0, 0);"),
            ("v3_table.c", 'rc_fail(status, RC_INVALID, "tensor name", at, "", 0, 0);'),
            ("v3_metadata.c", 'rc_fail(status, RC_INVALID, "metadata key", at, rule, 0, 0);'),
        )
    },
    ("v3_metadata.c", ": -2;", ""): "any below 0 is none",
    ("v3_fields.c", "status->is_real = 1;", "2"): "who asks, asks whether",
    ("v3_table.c", "status->is_name = 1;", "2"): "who asks, asks whether",
    ("v3_metadata.c", "status->is_name = 1;", "2"): "who asks, asks whether",
    ("v3_table.c", "return 1;", "2"): "the same",
    **dict.fromkeys(
        (
            ("v3_config.c", "int32_t flags = 0;", "1"),
            ("v3_table.c", "int32_t found = 0;", "1"),
            ("v3_table.c", "int32_t storage = 0, group = 0;", "1"),
            ("v3_table.c", "int64_t length = 1, scale_length = 0, end = 0;", ""),
            ("v3_table.c", "int64_t length = 0, scale_length = 0, end = 1;", ""),
            ("v3_metadata.c", "int32_t key_size = 0, value_size = 0;", "1"),
            ("v3_metadata.c", "text last = {NULL, 0};", "1"),
            ("v3_head.c", "int32_t alignment = 0;", "1"),
            ("v3_head.c", "int32_t entry = 0, count = 0, metadata_size = 0, metadata_count = 0;", "1"),
        ),
        "it is written over",
    ),
    ("v3_name.c", "char digits[20];", "21"): "there is room to spare",
    ("v3_table.c", "for (int kind = 0; kind < RC_KINDS; kind++) {", "1"): "the embedding, kind 0, has no slot",
    **{
        ("v3_table.c", line, "2"): "any below 0 is none"
        for line in (
            "walk w = {.head = head, .config = c, .layer = -1, .expert = -1};",
            "w->expert = -1;",
            "w.layer = -1;",
            "model->slots[experts][kind] = slot ? next++ : -1;",
            "return layer ? -1 : 0;",
            "return layer ? -1 : first_entry(model, c->n_layers);",
            "return layer || c->shared_classifier ? -1 : first_entry(model, c->n_layers) + 1;",
            "return -1;",
            "return slot < 0 ? -1 : first_entry(model, layer) + slot + expert * OF_EXPERT;",
        )
    },
    (
        "file.c",
        "const ssize_t n = pread(fd, bytes + from, (size_t)(rest < LARGEST_READ ? rest : LARGEST_READ), "
        "(off_t)from);",
        "<=",
    ): "the same number",
    ("file.c", 'rc_fail(status, RC_SYSTEM, field, -1, "", 0, 0);', "2"): "an offset below 0 is none",
    ("file.c", "*status = (rc_status){.code = RC_OK, .offset = -1};", "2"): "the same",
    ("file.c", "rc_model *opened = calloc(1, sizeof *opened);", "2"): "room for two is room for one",
    ("file.c", "if (n > 0)", ">="): "0 was refused in the line before",
    **{
        ("file.c", "const size_t alignment = size < 2 * HUGE_PAGE ? SMALL_PAGE : HUGE_PAGE;", new): "pages' size"
        for new in ("<=", "+", "3")
    },
    (
        "file.c",
        "if ((uint64_t)size > PTRDIFF_MAX || posix_memalign(&bytes, alignment, (size_t)size))",
        ">=",
    ): "no file is as large",
    ("file.c", "const int64_t first = size < RC_HEADER ? size : RC_HEADER;", "<="): "the same number",
    ("file.c", "memcpy(bytes, start, (size_t)(first < head ? first : head));", "<="): "the same number",
    (
        "block_decode.c",
        "piece[5] != '>' || digit(piece[4]) < 0 || digit(piece[4]) < 0)",
        "",
    ): "without a first digit the number is below 0, and no byte all the same",
    (
        "block_parse.c",
        "if (rc_character(b->chat_template, b->template_size, at, &width) >= RC_NO_CHARACTER)",
        ">",
    ): "a byte that is no part of UTF-8 is not 0",
    (
        "block_parse.c",
        "if (b->added[token] && !(b->added[token] & RC_NORMALIZED) == !normalized)",
        "||",
    ): "more room than the patterns need, and a matcher without patterns finds nothing",
    (
        "block_parse.c",
        "if (left && right && left + right <= p->piece_bytes) {",
        "<",
    ): "the piece that they make is there, too: all three are longer than any two",
}
