"""Write the .tokenizer file of qwen3.c, as its export.py does.

qwen3.c cuts a text into no words and normalizes nothing: that is so for every tokenizer, its own Qwen 3 included, and
the notes say it. It takes any piece <...> of up to 64 bytes for a token of its own.
"""

from __future__ import annotations

import math
import struct

from exporter.errors import FormatError
from exporter.tokenizers.model import TokenizerModel

_LONGEST_ADDED = 64
_NOT_MERGED = -1e6


def write_qwen3c(model: TokenizerModel) -> bytes:
    """Return the bytes of the file. Raises FormatError, which names what the format cannot hold."""
    _check(model)
    pieces = model.pieces
    of_piece = {piece: token for token, piece in enumerate(pieces)}
    scores = [_NOT_MERGED] * len(pieces)
    for rank, (left, right) in enumerate(model.merges):
        # as there, a later merge to the same piece counts
        scores[of_piece[pieces[left] + pieces[right]]] = -math.log(rank + 1)
    head = struct.pack("<III", max(map(len, pieces)), model.bos or 0, model.eos or 0)
    entries = (struct.pack("<fI", score, len(piece)) + piece for piece, score in zip(pieces, scores, strict=True))
    return head + b"".join(entries)


def notes_of_qwen3c(model: TokenizerModel) -> tuple[str, ...]:
    """Return what qwen3.c leaves out when it encodes a text."""
    left_out = []
    if model.pattern != "none" or model.digits:
        left_out.append("cuts no text into words")
    if model.nfc:
        left_out.append("normalizes no text to NFC")
    if not left_out:
        return ()
    return (f"{model.where}: qwen3.c {' and '.join(left_out)}, so that some texts have other token ids there",)


def _check(model: TokenizerModel) -> None:
    def refuse(field: str, expected: str, found: object) -> FormatError:
        return FormatError(f"{model.where}: qwen3c: {field}: expected {expected}, found {found}")

    if model.kind != "bytes":
        raise refuse("pieces", "bytes as in GPT-2 and Qwen", "characters")
    if model.space_first:
        raise refuse("space before the text", "none", "one")
    for name, token in (("bos", model.bos), ("eos", model.eos)):
        if token is None or token >= len(model.pieces):
            raise refuse(name, f"a token below {len(model.pieces)}", "none" if token is None else token)
    for added in model.added:
        piece = model.pieces[added.id]
        if not (piece.startswith(b"<") and piece.endswith(b">") and len(piece) <= _LONGEST_ADDED):
            expected = f"<...> of at most {_LONGEST_ADDED} bytes"
            raise refuse("added tokens", expected, model.shown(added.id))
        if added.lstrip or added.rstrip or added.single_word:
            raise refuse("added tokens", "no white space rules", model.shown(added.id))
    known: dict[bytes, int] = {}
    for token, piece in enumerate(model.pieces):
        if not piece:
            raise refuse(f"token {token}", "a piece", "none")
        if piece in known:
            raise refuse(f"token {token}", "a piece of its own", f"that of token {known[piece]}")
        known[piece] = token
