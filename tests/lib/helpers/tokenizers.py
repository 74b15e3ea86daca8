"""Writes small tokenizers in the formats that people have, with the library's own tokenizer to judge them by."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from verify.demo import HELD_OUT_TEXT

# Llama 3's and Qwen2's, as transformers has them; they differ in how many digits make a piece.
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

# What the formats treat differently: digits, contractions, white space, marks, other scripts, special tokens as text.
HARD_TEXT = (
    "It's 1234567 DON'T we'Ll  stop\r\n\n\n   x\t\t y\u00a0z \u2028 e\u0301 \u00e9 \u65e5\u672c\u8a9e\u306e "
    "\U0001f469\u200d\U0001f680 \u0f0b\u0300 ... !?\n <|begin_of_text|><|eot_id|> "
    "\u0130\u0131 \u0661\u0662\u0663\u0664 \x00\x7f  "
)


def trained(pieces: str | None, size: int = 800) -> Tokenizer:
    """Train byte-level byte pairs on the demo's text; pieces: a regular expression, or None for GPT-2's."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.decoder = decoders.ByteLevel()
    if pieces is None:
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    else:
        split = pre_tokenizers.Split(Regex(pieces), behavior="isolated")
        byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, byte_level])
    trainer = trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator([HELD_OUT_TEXT.read_text()], trainer)
    return tokenizer


def save_ranks(tokenizer: Tokenizer, path: Path) -> Path:
    """Write tiktoken's format: ids are in the order of merges, so they are ranks."""
    symbols = bytes_of_symbols()
    by_id = sorted((number, word) for word, number in tokenizer.get_vocab().items())
    tokens = (bytes(symbols[symbol] for symbol in word) for _, word in by_id)
    path.write_bytes(b"".join(base64.b64encode(token) + b" %d\n" % rank for rank, token in enumerate(tokens)))
    return path


def save_byte_pairs(tokenizer: Tokenizer, directory: Path, config: dict[str, Any] | None) -> Path:
    """Write vocab.json, merges.txt and tokenizer_config.json; return the path of vocab.json."""
    tokenizer.model.save(str(directory))
    if config is not None:
        (directory / "tokenizer_config.json").write_text(json.dumps(config))
    return directory / "vocab.json"


def bytes_of_symbols() -> dict[str, int]:
    """GPT-2's table: printable bytes stand for themselves, the others for characters from 256 on."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAC + 1), *range(0xAE, 0xFF + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + n): byte for n, byte in enumerate(others)}
