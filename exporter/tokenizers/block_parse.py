"""Read v3's tokenizer block strictly: what is read must encode to the same bytes again."""

from __future__ import annotations

import math
import struct
from itertools import pairwise
from typing import NoReturn

from exporter.errors import CheckpointError, FormatError
from exporter.tokenizers.block import ADDED_FLAGS, ALIGNMENT, HEAD, KINDS, PATTERNS, write_block
from exporter.tokenizers.model import MOST_TOKENS, AddedToken, TokenizerModel


def parse_block(where: str, block: bytes) -> TokenizerModel:
    """Return the tokenizer of a block. Raises CheckpointError unless the block is what it says, byte for byte."""
    reader = _Reader(where, block)
    try:
        model = reader.model()
        again = write_block(model)
    except FormatError as error:
        raise CheckpointError(str(error)) from error
    except UnicodeDecodeError as error:
        raise CheckpointError(
            f"{where}: tokenizer block: chat template: expected UTF-8, found other bytes"
        ) from error
    if again != block:
        at = next((i for i, (a, b) in enumerate(zip(again, block, strict=False)) if a != b), len(again))
        raise CheckpointError(f"{where}: tokenizer block: byte {at}: expected the only legal one, found another")
    return model


class _Reader:
    """The parts of a block, one after the other."""

    def __init__(self, where: str, block: bytes) -> None:
        self.where, self.block = where, block
        if len(block) < HEAD.size or len(block) % ALIGNMENT:
            self.refuse("size", f"a multiple of {ALIGNMENT} from {HEAD.size} on", len(block))
        self.at = HEAD.size

    def refuse(self, field: str, expected: object, found: object) -> NoReturn:
        raise CheckpointError(f"{self.where}: tokenizer block: {field}: expected {expected}, found {found}")

    def model(self) -> TokenizerModel:
        """Return what the block says; its flags and padding are checked by encoding it again."""
        head = HEAD.unpack_from(self.block)
        kind, flags, pattern, tokens, merges, added, bos, unk, stops, eos, template, scored, piece_bytes = head
        if kind not in KINDS.values() or pattern not in PATTERNS.values():
            self.refuse("kind and pre-tokenizer", "1 or 2 and 0 to 3", f"{kind} and {pattern}")
        if not 1 <= tokens <= MOST_TOKENS:
            self.refuse("token_count", f"1 to {MOST_TOKENS}", tokens)
        if scored > 1:
            self.refuse("scored", "0 or 1", scored)
        pieces = self._pieces(tokens, piece_bytes)
        scores = self._numbers("f", tokens) if scored else None
        if scores is not None and not all(map(math.isfinite, scores)):
            self.refuse("scores", "finite numbers", "another")
        pairs = self._numbers("I", 2 * merges)
        tokens_and_flags = self._numbers("I", 2 * added)
        eos_ids = self._numbers("I", stops)
        text = self._take("chat template", template).decode()
        self._check_ids(pieces, pairs, tokens_and_flags[::2], eos_ids)
        bit = [bool(flags >> number & 1) for number in range(8)]
        return TokenizerModel(
            where=self.where,
            kind=next(name for name, number in KINDS.items() if number == kind),
            pieces=pieces,
            scores=scores,
            merges=tuple(zip(pairs[::2], pairs[1::2], strict=True)),
            added=tuple(map(_added, tokens_and_flags[::2], tokens_and_flags[1::2])),
            pattern=next(name for name, number in PATTERNS.items() if number == pattern),
            whole_words=bit[0],
            begins_with_bos=bit[1],
            ends_with_eos=bit[2],
            nfc=bit[3],
            digits=bit[4],
            space_first=bit[5],
            byte_fallback=bit[6],
            strips_spaces=bit[7],
            bos=None if bos == -1 else bos,
            eos=None if eos == -1 else eos,
            unk=None if unk == -1 else unk,
            eos_ids=eos_ids,
            template=text,
        )

    def _take(self, field: str, size: int) -> bytes:
        """Return the next bytes."""
        if size > len(self.block) - self.at:
            self.refuse(field, f"{size} bytes", len(self.block) - self.at)
        self.at += size
        return self.block[self.at - size : self.at]

    def _numbers(self, code: str, count: int) -> tuple[int, ...]:
        return struct.unpack(f"<{count}{code}", self._take("size", 4 * count))

    def _pieces(self, count: int, size: int) -> tuple[bytes, ...]:
        ends = (0, *self._numbers("I", count))
        if ends[-1] != size or any(start > end for start, end in pairwise(ends)):
            self.refuse("pieces", f"ascending ends up to {size}", "others")
        content = self._take("pieces", size + -size % 4)
        return tuple(content[start:end] for start, end in pairwise(ends))

    def _check_ids(
        self, pieces: tuple[bytes, ...], pairs: tuple[int, ...], added: tuple[int, ...], stops: tuple[int, ...]
    ) -> None:
        """Refuse ids beyond the pieces, repeated ones, and merges to no piece."""
        for field, ids in (("merges", pairs), ("added tokens", added), ("eos", stops)):
            if any(token >= len(pieces) for token in ids):
                self.refuse(field, f"ids below {len(pieces)}", max(ids))
        for field, ids in (("added tokens", added), ("eos", stops)):
            if any(first >= second for first, second in pairwise(ids)):
                self.refuse(field, "ascending ids", "others")
        known = set(pieces)
        seen = set()
        for pair in zip(pairs[::2], pairs[1::2], strict=True):
            joined = pieces[pair[0]] + pieces[pair[1]]
            if pair in seen or joined not in known or not (pieces[pair[0]] and pieces[pair[1]]):
                self.refuse("merges", "new pairs that join to a piece", pair)
            seen.add(pair)


def _added(token: int, flags: int) -> AddedToken:
    return AddedToken(token, **{name: bool(flags >> bit & 1) for bit, name in enumerate(ADDED_FLAGS)})
