"""Damage to a file that a healthy writer wrote, and files that are not what they say."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import exporter
from exporter.config import tensor_shapes
from exporter.formats.layout import Part, lay_out
from exporter.sources.v3 import read_head
from helpers.defects.kinds import GROUP_SIZE, PLAIN, QUANTIZED, V3, Defect, Where
from helpers.v3_files import ENTRY, head_size, patched, table_at

LEGACY = ("v0", "v1", "v1-fp32", "v2")
VERSIONED = ("v1", "v1-fp32", "v2")
V = "layers.1.attention.wv.weight"


@dataclass
class Bytes:
    """A healthy file; seeding changes content in place."""

    content: bytearray
    model: exporter.ModelConfig
    format: str
    parts: tuple[Part, ...]

    @classmethod
    def of(cls, path: Any, model: exporter.ModelConfig, format_name: str) -> Bytes:
        content = bytearray(path.read_bytes())
        if format_name in V3:
            plan = read_head(path).plan
            return cls(content, model, format_name, tuple(plan.parts()))
        return cls(content, model, format_name, lay_out(model, format_name, GROUP_SIZE).parts)

    def part(self, name: str, part: str | None = None) -> Part:
        """Of a tensor, the first part of it by default."""
        return next(p for p in self.parts if p.tensor == name and part in (None, p.part))

    def put(self, offset: int, kind: str, *values: Any) -> None:
        struct.pack_into(kind, self.content, offset, *values)

    def resign(self) -> None:
        """v3's digests of the head, made to fit."""
        if self.format in V3:
            self.content = bytearray(patched(bytes(self.content)))


Seed = Callable[[Bytes], None]

_FIELDS = ("dim", "hidden_dim", "n_layers", "n_heads", "n_kv_heads", "vocab_size", "max_seq_len")


def put_field(field: str, value: int) -> Seed:
    def seed(file: Bytes) -> None:
        file.put((0 if file.format == "v0" else 8) + 4 * _FIELDS.index(field), "<i", value)
        file.resign()

    return seed


def put_header(offset: int, kind: str, value: Any) -> Seed:
    def seed(file: Bytes) -> None:
        file.put(offset, kind, value)
        file.resign()

    return seed


def truncated(file: Bytes) -> None:
    del file.content[-3:]


def lengthened(file: Bytes) -> None:
    file.content += bytes(4)


def straddling(file: Bytes) -> None:
    """The original writer backs off until the group divides dim alone."""
    group_size = 2 * GROUP_SIZE
    fp32 = sum(p.nbytes for p in file.parts if p.part == "fp32")
    matrices = sum(p.nbytes for p in file.parts if p.part == "int8")
    del file.content[256:]
    file.put(37, "<i", group_size)
    file.content += bytes(fp32 + matrices + 4 * matrices // group_size)


def straddling_in_v3(file: Bytes) -> None:
    entry = table_at(bytes(file.content)) + ENTRY * list(tensor_shapes(file.model)).index(
        "layers.0.feed_forward.w2.weight"
    )
    file.put(entry + 104, "<I", 2 * GROUP_SIZE)
    file.resign()


def put_number(name: str, value: float, part: str = "fp32") -> Seed:
    def seed(file: Bytes) -> None:
        file.put(file.part(name, part).offset, "<f", value)

    return seed


def roll_tables(by: int) -> Seed:
    def seed(file: Bytes) -> None:
        for name in ("freqs_cos", "freqs_sin"):
            part = file.part(name)
            table = np.frombuffer(file.content, np.float32, int(np.prod(part.shape)), part.offset)
            file.content[part.offset : part.offset + part.nbytes] = np.roll(
                table.reshape(part.shape), by, axis=0
            ).tobytes()

    return seed


def flip_payload(seed_number: int) -> Seed:
    """One bit anywhere in the matrices and norms."""

    def seed(file: Bytes) -> None:
        rng = np.random.default_rng(seed_number)
        tensors = [part for part in file.parts if not part.tensor.startswith("freqs")]
        sizes = np.array([part.nbytes for part in tensors])
        part = tensors[int(rng.choice(len(tensors), p=sizes / sizes.sum()))]
        file.content[part.offset + int(rng.integers(part.nbytes))] ^= 1 << int(rng.integers(8))

    return seed


def flip_weight(bit: int) -> Seed:
    """One bit of one float32 weight, of which bit 0 is the lowest."""

    def seed(file: Bytes) -> None:
        file.content[file.part(V, "fp32").offset + 4 * 45 + bit // 8] ^= 1 << bit % 8

    return seed


def tensor_digest(file: Bytes) -> None:
    at = table_at(bytes(file.content)) + ENTRY + 160
    file.content[at] ^= 1
    file.resign()


def head_digest(file: Bytes) -> None:
    file.content[head_size(file.content) - 1] ^= 1


def _file(name: str, seed: Seed, caught_by: dict[str, Where], diagnosis: str | None = None, **more: Any) -> Defect:
    return Defect(name, "file", seed, caught_by, diagnosis, **more)


def _refused(name: str, seed: Seed, field: str | None = None, **more: Any) -> Defect:
    return _file(name, seed, {"opening": {"field": field} if field else {}}, **more)


_DAMAGED: dict[str, Where] = {"tensors": {}}
_NAN: dict[str, Where] = {
    "tensors": {"tensor": "norm.weight"},
    "operations": {"operation": "final_norm"},
    "execution": {},
}

FILE_DEFECTS = (
    _refused("three bytes short", truncated, "file size"),
    _refused("four bytes too long", lengthened, "file size"),
    *(
        _refused(f"{field} = {value}", put_field(field, value), field)
        for field, value in (
            ("dim", 0),
            ("hidden_dim", -1),
            ("n_layers", -(2**31)),
            ("n_heads", 0),
            ("n_kv_heads", -1),
            ("max_seq_len", 0),
        )
    ),
    _refused("vocab_size = INT_MIN", put_field("vocab_size", -(2**31)), "vocab_size"),
    _refused("n_heads that do not divide dim", put_field("n_heads", 7), "n_heads", formats=LEGACY),
    _refused("flag byte 2", put_header(36, "<B", 2), "shared_classifier", formats=VERSIONED),
    _refused("an unknown flag", put_header(40, "<I", 1 << 7), "flags", formats=V3),
    _refused("version 4", put_header(4, "<i", 4), "version", formats=("v1", "v1-fp32", "v2", *V3)),
    _refused("another magic", put_header(0, "<I", 0x616B3433), formats=("v1", "v1-fp32", "v2", *V3)),
    _refused("v2 read as v3", put_header(4, "<i", 3), formats=("v2",)),
    _refused("v3 read as v2", put_header(4, "<i", 2), formats=V3),
    _refused("v1-fp32 read as v2", put_header(4, "<i", 2), "group_size", formats=("v1-fp32",)),
    _file(
        "v1 read as v2", put_header(4, "<i", 2), {"tensors": {}, "operations": {}}, "v1-v2-mixed-up", formats=("v1",)
    ),
    _file(
        "v2 read as v1", put_header(4, "<i", 1), {"tensors": {}, "operations": {}}, "v1-v2-mixed-up", formats=("v2",)
    ),
    _refused(
        "a group size that straddles rows",
        straddling,
        "group_size",
        formats=("v1", "v2"),
        applies=lambda c: c.dim % 16 == 0 and c.hidden_dim % 16 != 0,
    ),
    _refused(
        "a group size that straddles rows, in the table",
        straddling_in_v3,
        "group_size",
        formats=("v3-q8_0",),
        applies=lambda c: c.hidden_dim % 16 != 0,
    ),
    _file(
        "max_seq_len = 1",
        put_field("max_seq_len", 1),
        {"config": {"field": "max_seq_len", "found": "1"}},
        formats=(*VERSIONED, *V3),
    ),
    *(
        _file(f"{value} in a norm", put_number("norm.weight", value), _NAN, "few-elements")
        for value in (float("nan"), float("inf"))
    ),
    *(
        _file(
            f"{value} in a scale",
            put_number(V, value, "scale"),
            {"tensors": {"tensor": V, "part": "scale"}},
            "few-elements",
            formats=QUANTIZED,
        )
        for value in (float("nan"), float("-inf"))
    ),
    *(
        _file(
            f"RoPE tables of the position {which}",
            roll_tables(by),
            {"tensors": {}},
            "tables-shifted",
            formats=("v0",),
        )
        for which, by in (("before", 1), ("after", -1))
    ),
    *(
        _file(f"{value} in {name}", put_number(name, value), {"tensors": {}}, "few-elements", formats=("v0",))
        for name in ("freqs_cos", "freqs_sin")
        for value in (float("nan"), 0.999)
    ),
    *(
        _file(f"a random bit flipped ({number})", flip_payload(number), _DAMAGED, "bit-flipped")
        for number in range(3)
    ),
    *(
        _file(
            f"bit {bit} of a float32 weight flipped",
            flip_weight(bit),
            {"tensors": {"tensor": V}},
            "bit-flipped",
            formats=PLAIN,
        )
        for bit in (0, 12, 23, 30, 31)
    ),
    _file("v3: a tensor's digest wrong", tensor_digest, {"file": {}}, formats=V3),
    _refused("v3: the head's digest wrong", head_digest, "head digest", formats=V3),
)
