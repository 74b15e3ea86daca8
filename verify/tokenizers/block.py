"""Read the tokenizer block of a v3 file strictly: one sequence of bytes for what it says.

This is a second reading, beside that of the C reader, so that each is judged by the other.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from verify.tokenizers.rules import NONE, SWITCHES, PreTokenizer, Rules

_HEADER = struct.Struct("<IIIIIIiiIIIIQ8s")
_ALIGNED = 64
_MOST_TOKENS = 1 << 24
_MOST_TEMPLATE = 1 << 20
_NO_ID = 0xFFFFFFFF
_FLAGS_OF_ADDED = 0x1F
_KINDS = ("bytes", "characters")
_PRE_TOKENIZERS: tuple[PreTokenizer, ...] = ("none", "gpt2", "llama3", "qwen2")
_BITS = {name: 1 << bit for bit, name in enumerate(SWITCHES)}
# switches that mean nothing, by kind
_FOREIGN = {1: ("byte_fallback", "single_spaces"), 2: ("digits",)}


class BlockError(Exception):
    """A block violates a rule. The message says "field: expected X, found Y"."""

    def __init__(self, field: str, expected: object, found: object) -> None:
        super().__init__(f"{field}: expected {expected}, found {found}")
        self.field = field


@dataclass(frozen=True)
class _Header:
    """The fields of the first 64 bytes, in their order."""

    kind: int
    flags: int
    pre_tokenizer: int
    token_count: int
    merge_count: int
    added_count: int
    bos: int
    unk: int
    eos_count: int
    eos: int
    template_size: int
    scored: int
    piece_bytes: int
    zeros: bytes

    @property
    def sizes(self) -> tuple[int, ...]:
        """Return the bytes of each part after the header: ends, pieces with their zeros, scores, merges, added
        tokens, end ids, chat template."""
        return (
            4 * self.token_count,
            -(-self.piece_bytes // 4) * 4,
            4 * self.token_count if self.scored else 0,
            8 * self.merge_count,
            8 * self.added_count,
            4 * self.eos_count,
            self.template_size,
        )

    @property
    def size(self) -> int:
        """Return the block's size, which follows from its contents."""
        return -(-(_HEADER.size + sum(self.sizes)) // _ALIGNED) * _ALIGNED


def parse_block(block: bytes, vocab_size: int) -> Rules:
    """Return the rules that a block states. Raises BlockError for the first rule that it violates."""
    if len(block) < _HEADER.size:
        raise BlockError("size", f"at least {_HEADER.size} bytes", len(block))
    header = _Header(*_HEADER.unpack_from(block))
    _check_header(header, vocab_size)
    _expect("size", len(block) == header.size, header.size, len(block))
    parts, at = [], _HEADER.size
    for size in header.sizes:
        parts.append(block[at : at + size])
        at += size
    _expect("zeros at the end", not any(block[at:]), "zeros", "other bytes")
    pieces = _pieces(header, parts[0], parts[1])
    added = _added(header, parts[4], pieces)
    return Rules(
        kind=_KINDS[header.kind - 1],  # type: ignore[arg-type]  # one of the two
        pieces=pieces,
        merges=_merges(parts[3], pieces),
        scores=_scores(parts[2]) if header.scored else None,
        added=added,
        pre_tokenizer=_PRE_TOKENIZERS[header.pre_tokenizer],
        bos=header.bos,
        unk=header.unk,
        eos=NONE if header.eos == _NO_ID else header.eos,
        ends=_ends(header, parts[5]),
        template=_template(parts[6]),
        **{name: bool(header.flags & bit) for name, bit in _BITS.items()},
    )


def _expect(field: str, right: bool, expected: object, found: object) -> None:
    if not right:
        raise BlockError(field, expected, found)


def _check_header(h: _Header, vocab_size: int) -> None:
    count = h.token_count
    _expect("kind", h.kind in (1, 2), "1 or 2", h.kind)
    known = sum(bit for name, bit in _BITS.items() if name not in _FOREIGN[h.kind])
    _expect("flags", not h.flags & ~known, f"bits of {known:#x} for kind {h.kind}", f"{h.flags:#x}")
    most = len(_PRE_TOKENIZERS) - 1 if h.kind == 1 else 0
    _expect("pre-tokenizer", h.pre_tokenizer <= most, f"0 to {most} for kind {h.kind}", h.pre_tokenizer)
    limit = min(vocab_size, _MOST_TOKENS)
    _expect("token_count", 1 <= count <= limit, f"1 to {limit}", count)
    for name, number in (("bos", h.bos), ("unk", h.unk)):
        _expect(name, NONE <= number < count, f"-1 to {count - 1}", number)
    _expect("unk", h.kind == 2 or h.unk == NONE, "-1 for kind 1", h.unk)
    _expect("eos", h.eos < count or h.eos == _NO_ID, f"0 to {count - 1}, or none", h.eos)
    _expect("bos", not h.flags & _BITS["add_bos"] or h.bos != NONE, "an id, as encoding begins with it", "none")
    _expect("eos", not h.flags & _BITS["add_eos"] or h.eos != _NO_ID, "an id, as encoding ends with it", "none")
    _expect("template_size", h.template_size <= _MOST_TEMPLATE, f"at most {_MOST_TEMPLATE}", h.template_size)
    scored = int(h.kind == 2 and not h.merge_count)
    _expect("scored", h.scored == scored, f"{scored} for kind {h.kind} with {h.merge_count} merges", h.scored)
    _expect("bytes 56 to 63", not any(h.zeros), "zeros", h.zeros.hex())


def _pieces(header: _Header, ends: bytes, content: bytes) -> tuple[bytes, ...]:
    places = np.frombuffer(ends, "<u4").astype(np.int64)
    falls = np.flatnonzero(np.diff(places, prepend=0) < 0)
    _expect(
        "ends of pieces", not falls.size, "ascending numbers", f"a smaller one at id {falls[0]}" if falls.size else ""
    )
    _expect("piece_bytes", int(places[-1]) == header.piece_bytes, f"{places[-1]}, the last end", header.piece_bytes)
    _expect("zeros after pieces", not any(content[header.piece_bytes :]), "zeros", "other bytes")
    starts = [0, *places[:-1].tolist()]
    return tuple(content[start:end] for start, end in zip(starts, places.tolist(), strict=True))


def _scores(content: bytes) -> tuple[float, ...]:
    scores = np.frombuffer(content, "<f4")
    wrong = np.flatnonzero(~np.isfinite(scores))
    if wrong.size:
        raise BlockError("scores", "finite numbers", f"{scores[wrong[0]]} at id {wrong[0]}")
    return tuple(scores.tolist())


def _merges(content: bytes, pieces: tuple[bytes, ...]) -> tuple[tuple[int, int], ...]:
    pairs = _pairs(content)
    _expect("merges", not pairs.size or int(pairs.max()) < len(pieces), f"ids below {len(pieces)}", "a larger one")
    known, seen = set(pieces), set()
    merges = [(left, right) for left, right in pairs.tolist()]
    for rank, pair in enumerate(merges):
        left, right = (pieces[token] for token in pair)
        _expect(
            f"merge {rank}",
            bool(left and right and left + right in known),
            "two parts of a piece",
            f"{left!r} and {right!r}",
        )
        _expect(f"merge {rank}", pair not in seen, "a new pair", f"{left!r} and {right!r} again")
        seen.add(pair)
    return tuple(merges)


def _added(header: _Header, content: bytes, pieces: tuple[bytes, ...]) -> dict[int, int]:
    pairs = _pairs(content)
    added = {int(token): int(flags) for token, flags in pairs.tolist()}
    tokens = pairs[:, 0].astype(np.int64)
    _expect("added tokens", bool((np.diff(tokens) > 0).all()), "ascending ids", "others")
    for token, flags in added.items():
        _expect("added tokens", token < header.token_count, f"ids below {header.token_count}", token)
        _expect(f"added token {token}", flags & ~_FLAGS_OF_ADDED == 0, f"flags below {_FLAGS_OF_ADDED + 1}", flags)
        _expect(f"added token {token}", bool(pieces[token]), "a piece", "none")
    at: dict[bytes, int] = {}
    for token, piece in enumerate(pieces):
        if piece and token not in added:
            _expect(f"piece {token}", piece not in at, "bytes of its own", f"those of id {at.get(piece)}")
            at[piece] = token
    return added


def _ends(header: _Header, content: bytes) -> tuple[int, ...]:
    ends = np.frombuffer(content, "<u4").astype(np.int64)
    right = bool((np.diff(ends) > 0).all()) and (not ends.size or int(ends[-1]) < header.token_count)
    _expect("end ids", right, f"ascending ids below {header.token_count}", ends.tolist()[:8])
    return tuple(ends.tolist())


def _template(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise BlockError("chat template", "UTF-8", f"byte {error.start} to be none") from error


def _pairs(content: bytes) -> NDArray[np.uint32]:
    return np.frombuffer(content, "<u4").reshape(-1, 2)
