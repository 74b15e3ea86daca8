"""Read tiktoken's rank files: Llama 3's tokenizer.model and Qwen's qwen.tiktoken.

Each line is a piece in base64 and its rank, which is its id. Everything else stands in the code that reads the file:
the regular expression, the special tokens, and for Qwen the normalization. Sources: class Tokenizer of
github.com/meta-llama/llama3, llama/tokenizer.py; class QWenTokenizer of huggingface.co/Qwen, tokenization_qwen.py.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass

from exporter.errors import CheckpointError
from exporter.tokenizers.files import Files
from exporter.tokenizers.merging import merges_of_ranks
from exporter.tokenizers.model import AddedToken, Pattern, TokenizerModel
from exporter.tokenizers.settings import Settings

RANKED_LINE = re.compile(rb"[A-Za-z0-9+/]+={0,2} [0-9]{1,9}\r?\n")
_ENTRY = re.compile(rb"([A-Za-z0-9+/]+={0,2}) ([0-9]{1,9})")
# To find the merges takes time that grows with the square of a piece's length; Llama 3's pieces add up to 10^7.
_MOST_SQUARES = 10**8


@dataclass(frozen=True)
class _Family:
    """What code knows of a file with this number of ranks.

    special: tokens by their distance from the last rank. stops: those of them that end a text.
    """

    name: str
    pattern: Pattern
    nfc: bool
    begins_with_bos: bool
    count: int
    special: Mapping[int, str]
    stops: tuple[int, ...]


# Llama 3.0, 3.1 and 3.2 have one file of ranks, and name the other special tokens differently.
_LLAMA3_SPECIAL = {
    0: "<|begin_of_text|>",
    1: "<|end_of_text|>",
    2: "<|reserved_special_token_0|>",
    3: "<|reserved_special_token_1|>",
    6: "<|start_header_id|>",
    7: "<|end_header_id|>",
    9: "<|eot_id|>",
}
_QWEN_TEXTS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", *(f"<|extra_{number}|>" for number in range(205)))
_QWEN_SPECIAL = dict(enumerate(_QWEN_TEXTS))
_FAMILIES = {
    128_000: _Family(
        "Llama 3", "llama3", nfc=False, begins_with_bos=True, count=256, special=_LLAMA3_SPECIAL, stops=(1, 9)
    ),
    151_643: _Family(
        "Qwen",
        "qwen2",
        nfc=True,
        begins_with_bos=False,
        count=208,
        special=_QWEN_SPECIAL,
        stops=(0,),
    ),
}


def read_ranks(files: Files, settings: Settings) -> TokenizerModel:
    """Read a file of ranks, which the number of its ranks tells apart. Raises CheckpointError."""
    where = str(files.path)
    ranked = _pieces(where, files.content())
    family = _FAMILIES.get(len(ranked))
    if family is None:
        known = " or ".join(f"{count} ({family.name})" for count, family in _FAMILIES.items())
        raise CheckpointError(
            f"{where}: ranks: expected {known}, found {len(ranked)}: give the model's tokenizer.json"
        )
    special = [family.special.get(number, "").encode() for number in range(family.count)]
    added = [AddedToken(len(ranked) + number) for number in family.special]
    bos = len(ranked) if family.begins_with_bos else settings.bos_id
    stops = tuple(len(ranked) + number for number in family.stops)
    return TokenizerModel(
        where=where,
        kind="bytes",
        pieces=(*ranked, *special),
        merges=tuple(merges_of_ranks(ranked)),
        added=tuple(added),
        pattern=family.pattern,
        begins_with_bos=family.begins_with_bos,
        nfc=family.nfc,
        whole_words=True,
        bos=bos,
        eos=stops[0],
        eos_ids=settings.eos_ids or stops,
        template=settings.template,
    )


def _pieces(where: str, content: bytes) -> list[bytes]:
    """Return the pieces. Raises CheckpointError unless ranks are 0, 1, 2, ... and every byte is a piece."""
    pieces: dict[bytes, int] = {}
    squares = 0
    for number, line in enumerate(content.splitlines(), start=1):
        if not line:
            continue
        match = _ENTRY.fullmatch(line)
        # base64 writes four characters for each three bytes
        if not match or len(match[1]) % 4:
            raise CheckpointError(
                f"{where}: line {number}: expected a piece in base64 and its rank, found {line[:40]!r}"
            )
        piece, rank = base64.b64decode(match[1]), int(match[2])
        if rank != len(pieces):
            raise CheckpointError(f"{where}: line {number}: rank: expected {len(pieces)}, found {rank}")
        if piece in pieces:
            raise CheckpointError(f"{where}: line {number}: expected a new piece, found that of {pieces[piece]}")
        squares += len(piece) ** 2
        if squares > _MOST_SQUARES:
            raise CheckpointError(f"{where}: line {number}: expected short pieces, found one of {len(piece)} bytes")
        pieces[piece] = rank
    missing = [byte for byte in range(256) if bytes([byte]) not in pieces]
    if missing:
        raise CheckpointError(f"{where}: expected every byte as a piece, found none for byte 0x{missing[0]:02X}")
    return list(pieces)
