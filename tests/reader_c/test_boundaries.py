"""All pairs of header fields at the edges of what they may hold: what the C parser says is what the rules say."""

from __future__ import annotations

import dataclasses
import itertools
import math
import struct
from pathlib import Path

import pytest
from helpers.counted import Counted
from helpers.header_rules import COUNTS, LARGEST, LARGEST_GROUP, Header, first_wrong, size
from helpers.v3_files import ENTRY, healthy, patched

import reader_c
from exporter.formats.v3_fields import V3Error
from exporter.sources.v3 import read_head

SHAPE = (8, 16, 2, 4, 2, 6, 5)
HEADERS = {
    "v0": Header(0, *SHAPE, legacy=True),
    "v1": Header(1, *SHAPE, group_size=4),
    "v1-fp32": Header(1, *SHAPE),
    "v2": Header(2, *SHAPE, flag=1, group_size=8),
}
# A file that can be legal is made as long as it has to be, up to here.
AFFORDABLE = 1 << 20


def edges(header: Header, field: str) -> list[int]:
    own = getattr(header, field)
    if field == "flag":
        return [0, 1, 2, 255]
    if field == "version":
        return [-(2**31), -1, 0, 1, 2, 4, LARGEST]
    near = {own - 1, own + 1, 2 * own, -own}
    if field == "group_size":
        near |= {2, LARGEST_GROUP, LARGEST_GROUP + 1}
    return sorted({-(2**31), 1 - 2**31, -1, 0, 1, own, 2**15 + 1, 2**16, 2**30, LARGEST - 1, LARGEST} | near)


def opened(path: Path) -> tuple[int, ...] | str:
    """The seven counts of a healthy file, or the field for which it is refused."""
    try:
        with reader_c.open(path) as model:
            return tuple(getattr(model.config, name) for name in COUNTS)
    except reader_c.InvalidFileError as error:
        return error.field


def judged(path: Path, header: Header) -> None:
    """The file is refused for the first broken rule; without one, for its size unless that is exact."""
    content = header.encode()
    path.write_bytes(content)
    wrong = first_wrong(header)
    if wrong:
        assert opened(path) == wrong, header
        return
    exact = size(header)
    if exact > AFFORDABLE:
        with pytest.raises(reader_c.InvalidFileError) as caught:
            reader_c.open(path)
        expected = f"exactly {exact}" if exact < 2**63 else f"at least {2**63 - 1}"
        assert (caught.value.field, caught.value.expected) == ("file size", expected), header
        return
    for off in (-1, 1, 0):
        with path.open("r+b") as file:
            file.truncate(exact + off)
        counts = (*header.counts[:5], abs(header.vocab_size), header.max_seq_len)
        assert opened(path) == ("file size" if off else counts), header


@pytest.mark.slow
@pytest.mark.parametrize("name", HEADERS)
def test_every_pair_of_fields_at_their_edges_is_judged_by_the_rules(
    tmp_path: Path, name: str, counted: Counted
) -> None:
    header, path = HEADERS[name], tmp_path / "file.bin"
    fields = COUNTS if header.legacy else ("version", *COUNTS, "flag", "group_size")
    healthy_ones = count = 0
    for first, second in itertools.combinations(fields, 2):
        for a, b in itertools.product(edges(header, first), edges(header, second)):
            changed = header.with_field(first, a).with_field(second, b)
            if changed.version == 3 or (changed.legacy is False and changed.version == 0 and header.legacy):
                continue
            judged(path, changed)
            healthy_ones += first_wrong(changed) is None and size(changed) <= AFFORDABLE
            count += 1
    # a product of nothing but refusals would not show that anything is let through
    assert count > 3000
    assert healthy_ones > 100
    counted("pairs of header fields at their edges, v0 to v2", count, "judged as a second writing of the rules does")


@pytest.mark.parametrize("name", ["v1", "v2"])
@pytest.mark.parametrize("group", [LARGEST_GROUP - 1, LARGEST_GROUP, LARGEST_GROUP + 1])
def test_the_largest_group_is_what_an_integer_sum_can_hold(tmp_path: Path, name: str, group: int) -> None:
    """By rows that it divides, so that it is refused for itself or not at all."""
    header = dataclasses.replace(HEADERS[name], dim=4 * group, hidden_dim=4 * group, n_heads=2, group_size=group)
    assert (first_wrong(header) == "group_size") == (group > LARGEST_GROUP)
    judged(tmp_path / "file.bin", header)


# of two layers: their table fills one block of 64
TABLE = 512 + 64
U32_EDGES = (0, 1, 2, 2**31 - 1, 2**31, 2**32 - 1)
U64_EDGES = (0, 1, 2**31, 2**63 - 1, 2**63, 2**64 - 1)
REAL_EDGES = (0.0, -0.0, 2.0**-126, 2.0**-127, 1.0, 3.4028234663852886e38, 3.5e38, math.inf, -math.inf, math.nan)
V3_FIELDS: dict[str, tuple[int, str, tuple[float, ...]]] = {
    **{name: (8 + 4 * i, "<I", (*U32_EDGES, SHAPE[i])) for i, name in enumerate(COUNTS)},
    "head_dim": (36, "<I", U32_EDGES),
    "flags": (40, "<I", (*U32_EDGES, 15, 16)),
    "activation": (44, "<I", U32_EDGES),
    "norm_eps": (48, "<d", REAL_EDGES),
    "rope_theta": (56, "<d", REAL_EDGES),
    "rope_scaling type": (64, "<I", (*U32_EDGES, 3, 4, 5)),
    "rope_scaling original_max_positions": (68, "<I", (*U32_EDGES, 16, 33)),
    "rope_scaling factor": (72, "<d", REAL_EDGES),
    "rope_scaling low_freq_factor": (80, "<d", REAL_EDGES),
    "rope_scaling high_freq_factor": (88, "<d", REAL_EDGES),
    "rope_scaling beta_fast": (96, "<d", REAL_EDGES),
    "rope_scaling beta_slow": (104, "<d", REAL_EDGES),
    "rope_scaling attention_factor": (112, "<d", REAL_EDGES),
    "rope_scaling truncate": (120, "<I", U32_EDGES),
    "alignment": (124, "<I", (*U32_EDGES, 64, 96, 128, 4096, 8192)),
    "file size": (128, "<Q", U64_EDGES),
    "head size": (136, "<Q", U64_EDGES),
    "metadata size": (144, "<I", (*U32_EDGES, 2**20, 2**20 + 1)),
    "metadata count": (148, "<I", (*U32_EDGES, 256, 257)),
    "tensor count": (152, "<I", (*U32_EDGES, 2**16, 2**16 + 1)),
    "entry size": (156, "<I", (*U32_EDGES, ENTRY)),
    "tokenizer size": (192, "<Q", (*U64_EDGES, 64, 2**26, 2**26 + 64)),
    "reserved": (200, "<Q", (0, 1)),
    "norm_place": (256, "<I", (0, 2, 3)),
    "norm_plus_one": (260, "<I", (0, 1, 2)),
    "qk_norm": (264, "<I", (0, 2, 3)),
    "rotary_dim": (268, "<I", (0, 1, 2, 10, 12, 2**31)),
    "window": (272, "<I", (0, 1, 2**31 - 1, 2**31)),
    "query_scale_positions": (276, "<I", (0, 1, 2**31 - 1, 2**31)),
    "embedding_scale": (280, "<d", (0.0, -0.0, 2.0, math.nan)),
    "score_scale": (288, "<d", (0.0, -0.0, 2.0, math.nan)),
    "logit_cap": (320, "<d", (0.0, -0.0, 2.0**-127, 2.0)),
    "query_scale_beta": (328, "<d", (0.0, -0.0, 0.5)),
    "local_theta": (336, "<d", (0.0, -0.0, 2.0)),
    "first layer": (512, "<I", (0, 1, 2, 3, 4, 5, 6)),
    "second layer": (516, "<I", (2, 3, 4, 6)),
    "storage": (TABLE + 68, "<I", (*U32_EDGES, 3, 4, 7, 8, 9)),
    "group_size": (TABLE + 104, "<I", (*U32_EDGES, 12, 24, 48, LARGEST_GROUP, LARGEST_GROUP + 1)),
    "rows": (TABLE + 72, "<Q", U64_EDGES),
    "columns": (TABLE + 80, "<Q", U64_EDGES),
    "offset": (TABLE + 112, "<Q", U64_EDGES),
    "length": (TABLE + 120, "<Q", U64_EDGES),
    "scale offset": (TABLE + 128, "<Q", U64_EDGES),
    "scale length": (TABLE + 136, "<Q", U64_EDGES),
}
KINDS = ("none", "linear", "dynamic", "llama3", "yarn", "longrope")


def by_both(path: Path) -> tuple[object, object]:
    """What the C parser and the exporter's make of a file: its hyper-parameters, or the field refused."""
    try:
        with reader_c.open(path) as model:
            c = model.config
            by_c: object = (c.dim, c.rope_theta, c.norm_eps, c.rotary_dim, c.window, c.logit_cap, len(model.names))
    except reader_c.InvalidFileError as error:
        by_c = error.field
    try:
        head = read_head(path)
        config = head.plan.config
        by_python: object = (
            *(config.dim, config.rope_theta, config.norm_eps, config.rotated, config.window, config.logit_cap),
            len(head.plan.entries),
        )
    except V3Error as error:
        by_python = error.field
    return by_c, by_python


@pytest.mark.slow
@pytest.mark.parametrize("first", V3_FIELDS)
def test_every_pair_of_v3s_fields_is_judged_alike_by_two_parsers(
    tmp_path: Path, first: str, counted: Counted
) -> None:
    path, count = tmp_path / "file.bin", 0
    names = list(V3_FIELDS)
    contents = {kind: healthy(tmp_path / "healthy.bin", kind) for kind in KINDS}
    at, code, values = V3_FIELDS[first]
    for number, second in enumerate(names[names.index(first) + 1 :]):
        other_at, other_code, other_values = V3_FIELDS[second]
        # each pair in one kind of file; each field so in all of them
        content = contents[KINDS[(number + names.index(first)) % len(KINDS)]]
        for a, b in itertools.product(values, other_values):
            changes = (at, struct.pack(code, a)), (other_at, struct.pack(other_code, b))
            path.write_bytes(patched(content, *changes))
            by_c, by_python = by_both(path)
            # with two rules broken, which is told first is each parser's own
            alike = by_c == by_python or (isinstance(by_c, str) and isinstance(by_python, str))
            assert alike, (first, a, second, b, by_c, by_python)
            count += 1
    counted("pairs of header fields at their edges, v3", count, "judged alike by the parsers in C and Python")
