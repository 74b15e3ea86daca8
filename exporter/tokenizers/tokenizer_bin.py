"""Read llama2.c's tokenizer.bin as a source: what it means is what run.c does with it."""

from __future__ import annotations

import math
import struct

from exporter.errors import CheckpointError
from exporter.tokenizers.files import Files
from exporter.tokenizers.model import LONGEST_PIECE, MOST_TOKENS, SPACE, TokenizerModel, byte_piece
from exporter.tokenizers.settings import Settings

_HEAD = struct.Struct("<i")
_ENTRY = struct.Struct("<fi")
BOS, EOS, FIRST_BYTE = 1, 2, 3


def is_tokenizer_bin(content: bytes) -> bool:
    """Return whether a file begins as a tokenizer.bin: with a small number and a first entry that fits it."""
    if len(content) < _HEAD.size + _ENTRY.size:
        return False
    (longest,) = _HEAD.unpack_from(content)
    score, length = _ENTRY.unpack_from(content, _HEAD.size)
    return 1 <= length <= longest <= LONGEST_PIECE and not math.isnan(score)


def read_tokenizer_bin(files: Files, settings: Settings) -> TokenizerModel:
    """Read a tokenizer.bin. Raises CheckpointError.

    A space of its pieces is U+2581 in the model; so a piece that has U+2581 itself is refused.
    """
    where, content = str(files.path), files.content()
    if not is_tokenizer_bin(content):
        raise CheckpointError(f"{where}: expected a tokenizer, found none of a known format: give its tokenizer.json")
    pieces, scores = _entries(where, content)
    wrong = [byte for byte in range(256) if pieces[FIRST_BYTE + byte : FIRST_BYTE + byte + 1] != [byte_piece(byte)]]
    if wrong:
        raise CheckpointError(
            f"{where}: token {FIRST_BYTE + wrong[0]}: expected {byte_piece(wrong[0]).decode()}, found another piece"
        )
    return TokenizerModel(
        where=where,
        kind="characters",
        pieces=tuple(pieces),
        scores=tuple(scores),
        begins_with_bos=True,
        space_first=True,
        byte_fallback=True,
        bos=BOS,
        eos=EOS,
        unk=0,
        eos_ids=settings.stops(EOS),
        template=settings.template,
    )


def _entries(where: str, content: bytes) -> tuple[list[bytes], list[float]]:
    """Return pieces, with U+2581 for a space, and scores."""
    (longest,) = _HEAD.unpack_from(content)
    pieces: dict[bytes, int] = {}
    scores = []
    at = _HEAD.size
    while at < len(content):
        entry = f"{where}: token {len(pieces)}"
        if len(content) - at < _ENTRY.size:
            raise CheckpointError(f"{entry}: expected {_ENTRY.size} bytes, found {len(content) - at}")
        score, length = _ENTRY.unpack_from(content, at)
        at += _ENTRY.size
        if not 1 <= length <= min(longest, len(content) - at):
            most = min(longest, len(content) - at)
            raise CheckpointError(f"{entry}: length: expected 1 to {most}, found {length}")
        piece = content[at : at + length]
        at += length
        if not math.isfinite(score):
            raise CheckpointError(f"{entry}: score: expected a finite number, found {score}")
        if SPACE.encode() in piece:
            raise CheckpointError(f"{entry}: expected a space, found U+2581, which stands for one")
        if b"\0" in piece:
            raise CheckpointError(f"{entry}: expected no zero byte, found one")
        piece = piece.replace(b" ", SPACE.encode())
        if piece in pieces:
            raise CheckpointError(f"{entry}: expected a new piece, found that of {pieces[piece]}")
        pieces[piece] = len(pieces)
        scores.append(score)
        if len(pieces) > MOST_TOKENS:
            raise CheckpointError(f"{where}: expected at most {MOST_TOKENS} tokens, found more")
    return list(pieces), scores
