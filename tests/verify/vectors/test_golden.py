"""The file of golden vectors: it reads back as it was written, and every rule that bytes break is refused by name."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from verify.errors import CannotJudgeError
from verify.vectors import GoldenVectors, WindowVectors, as_json, encode
from verify.vectors.golden import AT, HEADER, KEPT, decode


def drawn(seed: int, vocab_size: int, kept: int, lengths: list[int], *, int8: bool) -> GoldenVectors:
    rng = np.random.default_rng(seed)

    def window(length: int) -> WindowVectors:
        positions = np.sort(rng.choice(length, int(rng.integers(1, length + 1)), replace=False))
        at, records = np.zeros(len(positions), AT), np.zeros((len(positions), kept), KEPT)
        at["position"], at["first"] = positions, rng.integers(vocab_size, size=len(positions))
        at["margin"] = np.where(
            rng.integers(8, size=len(positions)) == 0, np.inf, rng.exponential(size=len(positions))
        )
        for row in range(len(positions)):
            records["id"][row] = np.sort(rng.choice(vocab_size, kept, replace=False))
        records["sigma"] = rng.exponential(1e-5, records.shape) + 1e-9
        records["logit"] = rng.normal(size=records.shape)
        exact = rng.normal(size=records.shape).astype(np.float32) if int8 else None
        return WindowVectors(rng.integers(vocab_size, size=length), at, records, exact)

    windows = tuple(window(length) for length in lengths)
    return GoldenVectors(vocab_size, kept, 10.0, 12345, "ab" * 32, "cd" * 32, windows)


@st.composite
def vectors(draw: st.DrawFn) -> GoldenVectors:
    vocab_size = draw(st.integers(1, 40))
    return drawn(
        draw(st.integers(0, 2**32)),
        vocab_size,
        draw(st.integers(1, vocab_size)),
        draw(st.lists(st.integers(1, 9), min_size=1, max_size=4)),
        int8=draw(st.booleans()),
    )


@given(vectors())
def test_what_is_read_is_what_was_written(written: GoldenVectors) -> None:
    content = encode(written)
    read = decode(content, "a.vec")
    assert encode(read) == content
    assert (read.positions, read.int8) == (written.positions, written.int8)
    for ours, theirs in zip(read.windows, written.windows, strict=True):
        assert (ours.tokens == theirs.tokens).all()
        assert (ours.at == theirs.at).all()
        assert (ours.kept == theirs.kept).all()
        assert ours.int8 is theirs.int8 is None or (ours.int8 == theirs.int8).all()  # type: ignore[union-attr]


@given(vectors())
def test_json_says_the_same(written: GoldenVectors) -> None:
    read = json.loads(json.dumps(as_json(written), allow_nan=False))
    assert (read["vocab_size"], read["limit"], read["file"]["sha256"]) == (written.vocab_size, 10.0, "ab" * 32)
    for ours, theirs in zip(read["windows"], written.windows, strict=True):
        assert ours["tokens"] == theirs.tokens.tolist()
        assert len(ours["positions"]) == len(theirs.at)
        for number, position in enumerate(ours["positions"]):
            assert (position["position"], position["first"]) == tuple(theirs.at[["position", "first"]][number])
            margin = np.inf if position["margin"] is None else np.float32(position["margin"])
            assert margin == theirs.at["margin"][number]
            assert position["logits"] == theirs.kept["logit"][number].tolist()
            assert (np.array(position["sigma"], np.float32) == theirs.kept["sigma"][number]).all()
            assert ("int8" in position) == (theirs.int8 is not None)


@given(vectors(), st.data())
def test_a_changed_byte_is_refused(written: GoldenVectors, data: st.DataObject) -> None:
    content = bytearray(encode(written))
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] ^= 1 << data.draw(st.integers(0, 7))
    # nothing in the file says whether these are the digests, sizes and the limit of another file
    if 24 <= at < 40 or 64 <= at < 128 or 8 <= at < 12:
        return
    with pytest.raises(CannotJudgeError):
        decode(bytes(content), "a.vec")


SAMPLE = drawn(1, 20, 3, [5], int8=True)
AT_BEGIN = HEADER.size + 8 + 4 * 5
KEPT_BEGIN = AT_BEGIN + 16 * len(SAMPLE.windows[0].at)
INT8_BEGIN = KEPT_BEGIN + 16 * 3 * len(SAMPLE.windows[0].at)


def patched(at: int, kind: str, value: float) -> Callable[[bytearray], None]:
    return lambda content: struct.pack_into(kind, content, at, value)


def cut(content: bytearray) -> None:
    del content[-1:]


def longer(content: bytearray) -> None:
    content.append(0)


BROKEN = (
    (patched(0, "<B", 0), "a.vec: magic: expected b'gvec', found b'\\x00vec'"),
    (patched(4, "<I", 2), "a.vec: version: expected 1, found 2"),
    (patched(8, "<I", 0), "a.vec: vocab_size: expected 1 to 2147483647, found 0"),
    (patched(12, "<I", 0), "a.vec: windows: expected 1 to 65536, found 0"),
    (patched(12, "<I", 65537), "a.vec: windows: expected 1 to 65536, found 65537"),
    (patched(16, "<I", 0), "a.vec: kept: expected 1 to 20, found 0"),
    (patched(16, "<I", 21), "a.vec: kept: expected 1 to 20, found 21"),
    (patched(20, "<I", 2), "a.vec: int8: expected 0 or 1, found 2"),
    (patched(24, "<d", 0.0), "a.vec: limit: expected a positive finite number, found 0.0"),
    (patched(24, "<d", float("nan")), "a.vec: limit: expected a positive finite number, found nan"),
    (patched(24, "<d", float("inf")), "a.vec: limit: expected a positive finite number, found inf"),
    (patched(40, "<B", 1), "a.vec: header's padding: expected zeros, found other bytes"),
    (patched(200, "<B", 1), "a.vec: header's padding: expected zeros, found other bytes"),
    (patched(12, "<I", 2), "a.vec: window 1: expected 8 bytes at {size}, found 0"),
    (patched(HEADER.size, "<I", 0), "a.vec: window 0: length: expected 1 to 16777216, found 0"),
    (patched(HEADER.size, "<I", 1 << 25), "a.vec: window 0: length: expected 1 to 16777216, found 33554432"),
    (patched(HEADER.size + 4, "<I", 0), "a.vec: window 0: positions: expected 1 to 5, found 0"),
    (patched(HEADER.size + 4, "<I", 6), "a.vec: window 0: positions: expected 1 to 5, found 6"),
    (patched(HEADER.size + 8, "<I", 20), "a.vec: window 0: expected tokens below 20, found others"),
    (patched(AT_BEGIN, "<I", 9), "a.vec: window 0: expected positions ascending below 5, found others"),
    (patched(KEPT_BEGIN - 16, "<I", 5), "a.vec: window 0: expected positions below 5, found others"),
    (patched(AT_BEGIN + 4, "<I", 20), "a.vec: window 0: expected most likely tokens below 20, found others"),
    (
        patched(AT_BEGIN + 8, "<f", -1.0),
        "a.vec: window 0: expected margins from 0 up, found others",
    ),
    (patched(AT_BEGIN + 12, "<I", 1), "a.vec: window 0: expected zeros behind margins, found others"),
    (patched(KEPT_BEGIN, "<I", 19), "a.vec: window 0: expected kept tokens ascending below 20, found others"),
    (patched(KEPT_BEGIN + 32, "<I", 20), "a.vec: window 0: expected kept tokens ascending below 20, found others"),
    (patched(KEPT_BEGIN + 8, "<d", float("inf")), "a.vec: window 0: expected finite logits, found others"),
    (
        patched(KEPT_BEGIN + 4, "<f", 0.0),
        "a.vec: window 0: expected positive finite sigmas, found others",
    ),
    (patched(INT8_BEGIN, "<f", float("nan")), "a.vec: window 0: expected finite int8 logits, found others"),
    (cut, "a.vec: window 0: expected {last} bytes at {last_at}, found {less}"),
    (longer, "a.vec: size: expected {size} bytes, found {more}"),
)


@pytest.mark.parametrize(("change", "message"), BROKEN, ids=[message[7:50] for _, message in BROKEN])
def test_each_broken_rule_is_refused_by_name(change: Callable[[bytearray], None], message: str) -> None:
    content = bytearray(encode(SAMPLE))
    size, last = len(content), 4 * 3 * len(SAMPLE.windows[0].at)
    change(content)
    content[128:160] = hashlib.sha256(content[HEADER.size :]).digest()
    with pytest.raises(CannotJudgeError) as caught:
        decode(bytes(content), "a.vec")
    places = {"size": size, "more": size + 1, "last": last, "last_at": size - last, "less": last - 1}
    assert str(caught.value) == message.format(**places)


@pytest.mark.parametrize(
    ("begin", "what"), [(AT_BEGIN, "positions ascending below 5"), (KEPT_BEGIN, "kept tokens ascending below 20")]
)
def test_a_number_twice_does_not_ascend(begin: int, what: str) -> None:
    content = bytearray(encode(SAMPLE))
    assert len(SAMPLE.windows[0].at) > 1
    content[begin + 16 : begin + 20] = content[begin : begin + 4]
    content[128:160] = hashlib.sha256(content[HEADER.size :]).digest()
    with pytest.raises(CannotJudgeError) as caught:
        decode(bytes(content), "a.vec")
    assert str(caught.value) == f"a.vec: window 0: expected {what}, found others"


def test_what_is_just_allowed_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("verify.vectors.golden.MOST_TOKENS", 5)
    content = bytearray(encode(SAMPLE))
    struct.pack_into("<d", content, 24, 0.5)
    struct.pack_into("<f", content, AT_BEGIN + 8, 0.0)
    content[128:160] = hashlib.sha256(content[HEADER.size :]).digest()
    read = decode(bytes(content), "a.vec")
    assert (read.limit, read.windows[0].at["margin"][0], len(read.windows[0].tokens)) == (0.5, 0.0, 5)
    assert "windows" not in repr(read)


def test_a_file_shorter_than_its_header_is_refused() -> None:
    with pytest.raises(CannotJudgeError, match=r"^a\.vec: size: expected at least 256 bytes, found 255$"):
        decode(bytes(255), "a.vec")
    with pytest.raises(CannotJudgeError, match=r"^a\.vec: magic: "):
        decode(bytes(256), "a.vec")


def test_bytes_that_the_digest_does_not_cover_are_refused() -> None:
    content = bytearray(encode(SAMPLE))
    content[-1] ^= 1
    with pytest.raises(CannotJudgeError, match=r"^a\.vec: sha256: expected that of the bytes after the header, "):
        decode(bytes(content), "a.vec")
