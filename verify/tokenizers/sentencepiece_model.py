"""Derive the rules of a SentencePiece model from its bytes, a message of protobuf.

Source: sentencepiece_model.proto of google/sentencepiece, whose numbers of fields stand below.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from verify.tokenizers.rules import NONE, NotHeldError, Rules, SourceRules

# ModelProto
_PIECES, _TRAINER, _NORMALIZER = 1, 2, 3
# SentencePiece
_PIECE, _SCORE, _TYPE = 1, 2, 3
_USER_DEFINED, _BYTE = 4, 6
# TrainerSpec
_MODEL_TYPE, _AS_SUFFIX = 3, 24
_UNIGRAM, _BPE = 1, 2
_TYPES = {1: "unigram", 3: "word", 4: "char"}
# NormalizerSpec
_NAME, _CHARACTERS, _DUMMY_PREFIX, _EXTRA_SPACES, _ESCAPED = 1, 2, 3, 4, 5

_BYTES_OF_FALLBACK = 256
_LONGEST_VARINT = 10
_VARINT, _FIXED64, _SIZED, _FIXED32 = 0, 1, 2, 5


@dataclass(frozen=True)
class _Piece:
    text: bytes
    score: float
    type: int | None


def rules_of_sentencepiece(content: bytes, bos: int, unk: int, eos: int) -> SourceRules:
    """Return the rules, except those that other files state. bos, unk, eos: as the library reads them, or -1.

    Raises NotHeldError for a model that is not BPE and for a normalization, and ValueError for other bytes.
    """
    pieces: list[_Piece] = []
    trainer: dict[int, Any] = {}
    normalizer: dict[int, Any] = {}
    for number, value in _fields(content):
        if number == _PIECES:
            pieces.append(_piece(value))
        elif number == _TRAINER:
            trainer = dict(_fields(value))
        elif number == _NORMALIZER:
            normalizer = dict(_fields(value))
    _expect_plain(trainer, normalizer)
    # no text spells a control piece, so none is found in a text
    added = {token: 0 for token, piece in enumerate(pieces) if piece.type == _USER_DEFINED}
    rules = Rules(
        kind="characters",
        pieces=tuple(piece.text for piece in pieces),
        scores=tuple(piece.score for piece in pieces),
        added=added,
        prefix=bool(normalizer.get(_DUMMY_PREFIX, True)),
        single_spaces=bool(normalizer.get(_EXTRA_SPACES, True)),
        byte_fallback=sum(piece.type == _BYTE for piece in pieces) == _BYTES_OF_FALLBACK,
        bos=bos,
        unk=unk,
        eos=eos,
        add_bos=bos != NONE,
    )
    return SourceRules(rules)


def _expect_plain(trainer: dict[int, Any], normalizer: dict[int, Any]) -> None:
    kind = trainer.get(_MODEL_TYPE, _UNIGRAM)
    if kind != _BPE:
        raise NotHeldError(f"a SentencePiece model of the type {_TYPES.get(kind, kind)}")
    if normalizer.get(_CHARACTERS):
        raise NotHeldError(f"the normalization {normalizer.get(_NAME, b'').decode(errors='replace')!r:.40}")
    if not normalizer.get(_ESCAPED, True) or trainer.get(_AS_SUFFIX, False):
        raise NotHeldError("pieces that do not begin with U+2581 for a space")


def _piece(content: bytes) -> _Piece:
    fields = dict(_fields(content))
    return _Piece(fields.get(_PIECE, b""), fields.get(_SCORE, 0.0), fields.get(_TYPE))


def _fields(content: bytes) -> Iterator[tuple[int, Any]]:
    """Yield number and value of each field of a message."""
    at = 0
    while at < len(content):
        key, at = _varint(content, at)
        number, kind = key >> 3, key & 7
        if kind == _VARINT:
            value, at = _varint(content, at)
            yield number, value
            continue
        if kind == _SIZED:
            size, at = _varint(content, at)
        elif kind in (_FIXED64, _FIXED32):
            size = 8 if kind == _FIXED64 else 4
        else:
            raise ValueError(f"a field of the wire type {kind}")
        if size > len(content) - at:
            raise ValueError("a field beyond the end")
        raw = content[at : at + size]
        at += size
        yield number, struct.unpack("<f", raw)[0] if kind == _FIXED32 else raw


def _varint(content: bytes, at: int) -> tuple[int, int]:
    """Return the number that begins at a byte, and where the next field begins."""
    value = 0
    for place, byte in enumerate(content[at : at + _LONGEST_VARINT]):
        value |= (byte & 0x7F) << 7 * place
        if not byte & 0x80:
            return value, at + place + 1
    raise ValueError("a number beyond the end")
