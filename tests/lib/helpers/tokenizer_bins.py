"""Writes llama2.c's tokenizer.bin, and encodes by it in the plain way that run.c does."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import sentencepiece

from verify.demo import HELD_OUT_TEXT

Entry = tuple[bytes, float]

BOS, EOS, FIRST_BYTE = 1, 2, 3


def content(entries: Sequence[Entry], longest: int | None = None) -> bytes:
    """Return the file's bytes; longest: max_token_length, if it is not to be that of the longest piece."""
    head = struct.pack("<i", max(len(piece) for piece, _ in entries) if longest is None else longest)
    return head + b"".join(struct.pack("<fi", score, len(piece)) + piece for piece, score in entries)


def save(path: Path, entries: Sequence[Entry], longest: int | None = None) -> Path:
    path.write_bytes(content(entries, longest))
    return path


def from_sentencepiece(processor: sentencepiece.SentencePieceProcessor) -> list[Entry]:
    """Return what llama2.c writes of such a model: spaces for U+2581, and bos and eos between line ends."""
    entries = []
    for token in range(processor.vocab_size()):
        piece = processor.id_to_piece(token).replace("\u2581", " ")
        if token in (processor.bos_id(), processor.eos_id()):
            piece = f"\n{piece}\n"
        entries.append((piece.encode(), processor.get_score(token)))
    return entries


def trained(vocab_size: int, text: str | None = None) -> sentencepiece.SentencePieceProcessor:
    """Train SentencePiece as llama2.c trains the vocabularies of its TinyStories models."""
    lines = (HELD_OUT_TEXT.read_text() if text is None else text).splitlines()
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_writer=model,
        model_type="bpe",
        vocab_size=vocab_size,
        character_coverage=1.0,
        split_digits=True,
        allow_whitespace_only_pieces=True,
        byte_fallback=True,
        unk_surface=r" \342\201\207 ",
        normalization_rule_name="identity",
        minloglevel=2,
    )
    return sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())


def byte_entries() -> list[Entry]:
    """Return the first 259 entries of llama2.c's vocabularies: three special tokens and the bytes."""
    special = [(b"<unk>", 0.0), (b"\n<s>\n", 0.0), (b"\n</s>\n", 0.0)]
    return special + [(f"<0x{byte:02X}>".encode(), 0.0) for byte in range(256)]


def plain_encode(entries: Sequence[Entry], text: bytes, *, bos: bool = False, eos: bool = False) -> list[int]:
    """Encode in run.c's order of steps, with no regard for time: the best merge of all, again and again."""
    token_of = {piece: token for token, (piece, _) in enumerate(entries)}
    scores = np.array([score for _, score in entries], np.float32)
    tokens = ([BOS] if bos else []) + ([token_of[b" "]] if text else [])
    for character in _characters(text):
        known = token_of.get(character)
        tokens += [byte + FIRST_BYTE for byte in character] if known is None else [known]
    while True:
        best, best_score = None, np.float32(-1e10)
        for at in range(len(tokens) - 1):
            merged = token_of.get(entries[tokens[at]][0] + entries[tokens[at + 1]][0])
            if merged is not None and scores[merged] > best_score:
                best, best_score = (at, merged), scores[merged]
        if best is None:
            return tokens + ([EOS] if eos else [])
        tokens[best[0] : best[0] + 2] = [best[1]]


def _characters(text: bytes) -> list[bytes]:
    """Return a byte and up to three that continue it, again and again."""
    found: list[bytes] = []
    for byte in text:
        if found and byte & 0xC0 == 0x80 and len(found[-1]) < 4:
            found[-1] += bytes([byte])
        else:
            found.append(bytes([byte]))
    return found
