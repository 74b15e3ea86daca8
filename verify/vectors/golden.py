"""Golden vectors: what a correct engine computes from a file, in numbers that a test of the engine compares.

docs/golden-vectors.md is the specification of the file.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.errors import CannotJudgeError

MAGIC = b"gvec"
VERSION = 1
HEADER = struct.Struct("<4s5IdQ24x32s32s32s96x")
# Limits larger than any test needs, and small enough that a wrong header is refused at once.
MOST_WINDOWS = 1 << 16
MOST_TOKENS = 1 << 24

AT = np.dtype([("position", "<u4"), ("first", "<u4"), ("margin", "<f4"), ("zero", "<u4")])
KEPT = np.dtype([("id", "<u4"), ("sigma", "<f4"), ("logit", "<f8")])


@dataclass(frozen=True)
class WindowVectors:
    """What is kept of one window of tokens.

    Attributes:
        tokens: int64 (length,), which an engine reads from position 0 on.
        at: AT records (positions,): a position, its most likely token, and how far that token's logit is above the
            second one, in standard deviations of the float32 rounding of their difference.
        kept: KEPT records (positions, kept): a token, its logit in float64, and the standard deviation that float32
            rounding gives to it. Tokens ascend.
        int8: float32 (positions, kept): the same tokens' logits in runq.c's arithmetic, or None.
    """

    tokens: NDArray[np.int64]
    at: NDArray[np.void]
    kept: NDArray[np.void]
    int8: NDArray[np.float32] | None


@dataclass(frozen=True)
class GoldenVectors:
    """The vectors of one file.

    Attributes:
        vocab_size: of the model.
        kept: how many logits are kept of each position.
        limit: how many standard deviations an engine may be off.
        file_size, file_sha256: of the .bin file.
        source_sha256: SHA-256 of the source's files, as v3's metadata lists them.
        windows: in the order in which an engine runs them.
    """

    vocab_size: int
    kept: int
    limit: float
    file_size: int
    file_sha256: str
    source_sha256: str
    windows: tuple[WindowVectors, ...] = field(repr=False)

    @property
    def int8(self) -> bool:
        """Return whether the exact logits by int8 activations are there."""
        return self.windows[0].int8 is not None

    @property
    def positions(self) -> int:
        """Return how many positions are kept."""
        return sum(len(window.at) for window in self.windows)


def encode(vectors: GoldenVectors) -> bytes:
    """Return the bytes of the file."""
    payload = b"".join(_encode_window(window) for window in vectors.windows)
    header = HEADER.pack(
        MAGIC,
        VERSION,
        vectors.vocab_size,
        len(vectors.windows),
        vectors.kept,
        int(vectors.int8),
        vectors.limit,
        vectors.file_size,
        bytes.fromhex(vectors.file_sha256),
        bytes.fromhex(vectors.source_sha256),
        hashlib.sha256(payload).digest(),
    )
    return header + payload


def _encode_window(window: WindowVectors) -> bytes:
    parts = [
        struct.pack("<II", len(window.tokens), len(window.at)),
        window.tokens.astype("<u4").tobytes(),
        window.at.tobytes(),
        window.kept.tobytes(),
    ]
    if window.int8 is not None:
        parts.append(window.int8.astype("<f4").tobytes())
    return b"".join(parts)


def decode(content: bytes, where: str) -> GoldenVectors:
    """Return the vectors in a file's bytes. where: its name, for messages. Raises CannotJudgeError for the first
    rule that the bytes break."""
    return _Decoder(content, where).vectors()


class _Decoder:
    def __init__(self, content: bytes, where: str) -> None:
        self._content, self._where, self._at = content, where, HEADER.size

    def _wrong(self, what: str, expected: object, found: object) -> CannotJudgeError:
        return CannotJudgeError(f"{self._where}: {what}: expected {expected}, found {found}")

    def vectors(self) -> GoldenVectors:
        if len(self._content) < HEADER.size:
            raise self._wrong("size", f"at least {HEADER.size} bytes", len(self._content))
        fields = HEADER.unpack_from(self._content)
        magic, version, vocab_size, windows, kept, int8, limit, file_size, file, source, payload = fields
        for what, found, expected in (("magic", magic, MAGIC), ("version", version, VERSION)):
            if found != expected:
                raise self._wrong(what, expected, found)
        for what, number, most in (
            ("vocab_size", vocab_size, 2**31 - 1),
            ("windows", windows, MOST_WINDOWS),
            ("kept", kept, vocab_size),
        ):
            if not 1 <= number <= most:
                raise self._wrong(what, f"1 to {most}", number)
        if int8 > 1:
            raise self._wrong("int8", "0 or 1", int8)
        if not 0 < limit < float("inf"):
            raise self._wrong("limit", "a positive finite number", limit)
        if HEADER.pack(*fields) != self._content[: HEADER.size]:
            raise self._wrong("header's padding", "zeros", "other bytes")
        if hashlib.sha256(self._content[HEADER.size :]).digest() != payload:
            raise self._wrong("sha256", "that of the bytes after the header", payload.hex())
        read = tuple(self._window(number, vocab_size, kept, int8=bool(int8)) for number in range(windows))
        if self._at != len(self._content):
            raise self._wrong("size", f"{self._at} bytes", len(self._content))
        return GoldenVectors(vocab_size, kept, limit, file_size, file.hex(), source.hex(), read)

    def _window(self, number: int, vocab_size: int, kept: int, *, int8: bool) -> WindowVectors:
        where = f"window {number}"
        length, positions = (int(n) for n in self._array("<u4", 2, where))
        if not 1 <= length <= MOST_TOKENS:
            raise self._wrong(f"{where}: length", f"1 to {MOST_TOKENS}", length)
        if not 1 <= positions <= length:
            raise self._wrong(f"{where}: positions", f"1 to {length}", positions)
        tokens = self._array("<u4", length, where)
        at = self._array(AT, positions, where)
        records = self._array(KEPT, positions * kept, where).reshape(positions, kept)
        exact = self._array("<f4", positions * kept, where).reshape(positions, kept) if int8 else None
        ids = records["id"].astype(np.int64)
        for what, fits in (
            (f"tokens below {vocab_size}", (tokens < vocab_size).all()),
            (f"positions ascending below {length}", (np.diff(at["position"].astype(np.int64)) > 0).all()),
            (f"positions below {length}", (at["position"] < length).all()),
            (f"most likely tokens below {vocab_size}", (at["first"] < vocab_size).all()),
            ("margins from 0 up", (at["margin"] >= 0).all()),
            ("zeros behind margins", not at["zero"].any()),
            (f"kept tokens ascending below {vocab_size}", (np.diff(ids) > 0).all() and (ids < vocab_size).all()),
            ("finite logits", np.isfinite(records["logit"]).all()),
            ("positive finite sigmas", _positive(records["sigma"])),
        ):
            if not fits:
                raise self._wrong(where, what, "others")
        if exact is not None and not np.isfinite(exact).all():
            raise self._wrong(where, "finite int8 logits", "others")
        return WindowVectors(tokens.astype(np.int64), at, records, exact)

    def _array(self, dtype: Any, count: int, where: str) -> NDArray[Any]:
        size = np.dtype(dtype).itemsize * count
        if size > len(self._content) - self._at:
            raise self._wrong(where, f"{size} bytes at {self._at}", len(self._content) - self._at)
        array = np.frombuffer(self._content, dtype, count, self._at)
        self._at += size
        return array


def _positive(sigma: NDArray[Any]) -> bool:
    return bool((np.isfinite(sigma) & (sigma > 0)).all())


def as_json(vectors: GoldenVectors) -> dict[str, Any]:
    """Return the same as plain data. A float is written so that it reads back with the same bits."""
    return {
        "version": VERSION,
        "vocab_size": vectors.vocab_size,
        "limit": vectors.limit,
        "file": {"size": vectors.file_size, "sha256": vectors.file_sha256},
        "source_sha256": vectors.source_sha256,
        "windows": [_window_as_json(window) for window in vectors.windows],
    }


def _window_as_json(window: WindowVectors) -> dict[str, Any]:
    positions = []
    for number, (at, kept) in enumerate(zip(window.at, window.kept, strict=True)):
        # no margin at all where the second logit cannot be reached: JSON has no infinity
        margin = float(at["margin"])
        positions.append(
            {
                "position": int(at["position"]),
                "first": int(at["first"]),
                "margin": margin if np.isfinite(margin) else None,
                "ids": kept["id"].tolist(),
                "logits": kept["logit"].tolist(),
                "sigma": [float(sigma) for sigma in kept["sigma"]],
                **({} if window.int8 is None else {"int8": [float(logit) for logit in window.int8[number]]}),
            }
        )
    return {"tokens": window.tokens.tolist(), "positions": positions}
