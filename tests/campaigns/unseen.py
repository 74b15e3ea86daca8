"""Mutants of the parser that no test can notice, each with the reason: mutants.py does not try them."""

from __future__ import annotations

# (file, what stands in the line, what it becomes) -> why no test can see it; where a line has several of a kind,
# (file, the whole line as it becomes, "")
UNSEEN: dict[tuple[str, str, str], str] = {
    ("layout.c", "config->shared_classifier = value > 0;", ">="): "0 is refused in the next line but one",
    ("layout.c", "value = value < 0 ? -value : value;", "<="): "0 and -0 are one integer",
    ("layout.c", "value = value < 0 ? -value : value;", "1"): "the same",
    ("layout.c", "if (version > 2)", "3"): "3 was led to the parser of v3 before",
    ("layout.c", "int64_t product = 0;", "1"): "the product is written over it",
    ("layout.c", "const int64_t least = size < RC_HEADER ? size : RC_HEADER;", "<="): "the same number",
    (
        "layout.c",
        "const bool is_v3 = least == RC_HEADER && rc_load_i32(start) == RC_MAGIC && rc_load_i32(start + 4) == 3;",
        "||",
    ): "of other files more is copied, and the same is said",
    ("v3.c", "overflow |= __builtin_add_overflow(end, 2 * MOST_ALIGNMENT, &end);", "+"): "there is room to spare",
    ("v3.c", "if (overflow || end > w->config->file_size + 2 * MOST_ALIGNMENT)", ">="): "there is room to spare",
    ("v3.c", "if (group && (!w->config->group_size || group < w->config->group_size))", "<="): "the same number",
    ("v3.c", "if (alignment & (alignment - 1))", "2"): "from 64 to 4096 the same numbers",
    ("v3.c", "if (more < 0 || n - i < more)", "+"): "what follows a value cannot be the rest of a character",
    **{
        ("v3.c", "if (end - at < 8)", new): "a key has a letter, so that eight bytes are too few all the same"
        for new in ("<=", "9")
    },
    **{("v3.c", "if (last_size >= 0) {", new): "a key has a letter" for new in (">", "1")},
    (
        "v3.c",
        "const int order = memcmp(bytes + last_at, bytes + at, (size_t)(last_size < key ? last_size : key));",
        "<=",
    ): "the same number",
    (
        "v3.c",
        "const int64_t most = aligned(RC_HEADER + (int64_t)MOST_TENSORS * ENTRY + MOST_METADATA - RC_DIGEST_BYTES,",
        "",
    ): "it is rounded up to the same",
    (
        "v3.c",
        "if (c->head_size > c->file_size)",
        ">=",
    ): "a head alone lacks tensors, which its size tells all the same",
    (
        "v3.c",
        "const int64_t said = load_i64(start + HEAD_SIZE_AT), within = said < most ? said : most;",
        "<=",
    ): "the same number",
    ("v3.c", "return within < RC_HEADER ? RC_HEADER : within < size ? within : size;", "<="): "the same number",
    **{
        ("v3.c", line, new): "where a real number or a name is told, these mean nothing"
        for line, new in (
            ("rc_fail(status, RC_INVALID, field, offset, rule, 0, 0);", "1"),
            ('rc_fail(status, RC_INVALID, "tensor name", at, "", 0, 0);', "1"),
        )
    },
    (
        "v3.c",
        "const int more = b < 0x80 ? 0 : b >= 0xc2 && b < 0xe0 ? 1 : b >= 0xe0 && b < 0xf0 ? 2 : "
        "b >= 0xf0 && b < 0xf5 ? 3 : -2;",
        "",
    ): "any below 0 is none",
    ("v3.c", "status->is_real = 1;", "2"): "who asks, asks whether",
    ("v3.c", "return 1;", "2"): "the same",
    **{
        ("v3.c", *changed): "it is written over"
        for changed in (
            ("int32_t flags = 0;", "1"),
            ('memcpy(name, "layers.", 7);', "8"),
            ("int32_t key = 0, value = 0;", "1"),
            ("int32_t alignment = 0, entry = 0, count = 0, metadata_size = 0, metadata_count = 0;", "1"),
            ("int64_t at = c->metadata_at, last_at = 1, last_size = -1;", ""),
            ("int32_t dims = 0, storage = 0, group = 0;", "1"),
            ("int64_t rows = 0, cols = 0;", "1"),
            ("int64_t length = 1, scale_length = 0, end = 0;", ""),
            ("int64_t length = 0, scale_length = 0, end = 1;", ""),
        )
    },
    ("v3.c", "if (overflow || end > w->config->file_size + 2 * MOST_ALIGNMENT)", "3"): "there is room to spare",
    ("v3.c", "char digits[20];", "21"): "there is room to spare",
    ("v3.c", "for (int kind = 0; kind < RC_KINDS; kind++)", "1"): "the embedding, kind 0, has no slot",
    **{
        ("v3.c", line, "2"): "any below 0 is none"
        for line in (
            'TRY(check_entry(&w, RC_TOK_EMBEDDINGS, -1, "tok_embeddings.weight", false, status));',
            'TRY(check_entry(&w, RC_NORM, -1, "norm.weight", true, status));',
            'TRY(check_entry(&w, RC_OUTPUT, -1, "output.weight", false, status));',
            "model->slots[kind] = -1;",
            "int64_t at = c->metadata_at, last_at = 0, last_size = -1;",
            "return layer ? -1 : 0;",
            "return layer ? -1 : after;",
            "return layer || c->shared_classifier ? -1 : after + 1;",
            "return model->slots[kind] < 0 || layer >= c->n_layers ? -1",
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
    ("file.c", "return 1;", "2"): "who asks, asks whether",
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
    ("file.c", "memcpy(model->head, start, (size_t)(first < head ? first : head));", "<="): "the same number",
}
