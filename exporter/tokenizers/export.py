"""export_tokenizer(): a tokenizer's file in another format, complete or not at all."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from exporter.disk.atomic import atomic_file
from exporter.disk.target import resolve_target
from exporter.errors import FormatError, WriteError
from exporter.tokenizers.block import write_block
from exporter.tokenizers.llama2c import notes_of_llama2c, write_llama2c
from exporter.tokenizers.model import TokenizerModel
from exporter.tokenizers.qwen3c import notes_of_qwen3c, write_qwen3c
from exporter.tokenizers.read import read_tokenizer

FORMATS = ("llama2c", "qwen3c", "v3")


@dataclass(frozen=True)
class TokenizerSummary:
    """What export_tokenizer() wrote.

    Attributes:
        path, format, bytes, sha256: of the file.
        tokens: how many ids it has.
        notes: lines that say what its reader does differently, for the user.
    """

    path: Path
    format: str
    bytes: int
    sha256: str
    tokens: int
    notes: tuple[str, ...]


def export_tokenizer(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    format: str,  # noqa: A002  # as export() has it
    vocab_size: int | None = None,
    overwrite: bool = False,
    follow_links: bool = False,
) -> TokenizerSummary:
    """Write a tokenizer as llama2.c's tokenizer.bin, qwen3.c's .tokenizer, or v3's tokenizer block.

    Args:
        source: a tokenizer's file, or a directory with one: tokenizer.json, tokenizer.model (SentencePiece's or Llama
            3's), vocab.json with merges.txt, qwen.tiktoken, tokenizer.bin.
        out: the path of the file, which appears complete or not at all.
        format: one of "llama2c", "qwen3c" and "v3".
        vocab_size: the model's number of tokens, which the format must be able to serve.
        overwrite: replace an existing file.
        follow_links: also read files that links outside the source's directory lead to.

    Returns:
        What was written, with notes on what the format's reader does differently.

    Raises:
        ExportError: CheckpointError for a source that is not understood, FormatError for what the format cannot hold,
            WriteError. Nothing on disk has changed then, unless the message says what was written.
    """
    check_format(format)
    target = resolve_target(Path(out), overwrite=overwrite)
    model = read_tokenizer(source, follow_links=follow_links)
    if target.exists() and target.samefile(model.where):
        raise WriteError(
            f"{out}: expected a file other than the source, found the source itself; choose another path"
        )
    content, notes = encode_tokenizer(model, format, vocab_size)
    with atomic_file(target, overwrite=overwrite) as file:
        file.write(content)
    digest = hashlib.sha256(content).hexdigest()
    return TokenizerSummary(Path(out), format, len(content), digest, len(model.pieces), notes)


def check_format(format_name: str) -> None:
    """Raise FormatError for a format that is none of FORMATS."""
    if format_name not in FORMATS:
        raise FormatError(f"format: expected one of {', '.join(FORMATS)}, found {format_name!r}")


def encode_tokenizer(
    model: TokenizerModel, format_name: str, vocab_size: int | None = None
) -> tuple[bytes, tuple[str, ...]]:
    """Return a tokenizer's bytes in a format, with notes. Raises FormatError, which names what it cannot hold."""
    count = len(model.pieces)
    if vocab_size is not None and (count > vocab_size or (format_name == "llama2c" and count != vocab_size)):
        most = "" if format_name == "llama2c" else "at most "
        raise FormatError(
            f"{model.where}: {format_name}: tokens: expected {most}{vocab_size} as the model has, found {count}"
        )
    if format_name == "llama2c":
        return write_llama2c(model), notes_of_llama2c(model)
    if format_name == "qwen3c":
        return write_qwen3c(model), notes_of_qwen3c(model)
    return write_block(model), ()
