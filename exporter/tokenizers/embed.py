"""The tokenizer of a checkpoint that is exported: as v3's block, or as llama2.c's or qwen3.c's file."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from exporter.checkpoint import Checkpoint
from exporter.disk.pair import Publish, staged_beside
from exporter.disk.target import resolve_target
from exporter.errors import CheckpointError, ExportError, FormatError, WriteError
from exporter.tokenizers.block_parse import parse_block
from exporter.tokenizers.export import encode_tokenizer
from exporter.tokenizers.model import TokenizerModel
from exporter.tokenizers.read import read_tokenizer


def tokenizer_block(checkpoint: Checkpoint, vocab_size: int, wanted: bool | None) -> tuple[bytes, tuple[str, ...]]:
    """Return the block, empty without one, and notes that say why there is none.

    wanted: None leaves out a tokenizer that the block cannot hold, True refuses it, and False leaves every one out.
    Raises ExportError where it is wanted and cannot be held.
    """
    if wanted is False:
        return b"", ()
    try:
        model = _tokenizer_of(checkpoint)
        if model is None and wanted:
            raise _missing(checkpoint, "give --no-tokenizer (tokenizer_block=False)")
        return (b"", ()) if model is None else encode_tokenizer(model, "v3", vocab_size)
    except ExportError as error:
        if wanted:
            raise
        return b"", (f"v3 without a tokenizer block: {error}",)


@contextlib.contextmanager
def staged_tokenizer(
    checkpoint: Checkpoint, out: Path, *, overwrite: bool, form: str = "llama2c"
) -> Iterator[tuple[Publish, tuple[str, ...], Path | None]]:
    """Write a tokenizer beside out; yield what publishes it with the weights, notes, and where it is until then.

    form: "llama2c" for llama2.c's tokenizer.bin, "qwen3c" for qwen3.c's .tokenizer.
    Raises ExportError where the format cannot hold the tokenizer, or out cannot be written.
    """
    target = resolve_target(out, overwrite=overwrite)
    checkpoint.refuse_as_target(target)
    model = _tokenizer_of(checkpoint)
    if model is None:
        raise _missing(checkpoint, "omit --tokenizer-out (tokenizer_out)")
    content, notes = encode_tokenizer(model, form, checkpoint.config.vocab_size)
    with staged_beside(content, target, overwrite=overwrite) as (publish, temporary):
        yield publish, notes, temporary


def staged_with(
    checkpoint: Checkpoint,
    out: Path,
    tokenizer_out: str | os.PathLike[str] | None,
    file_format: str,
    *,
    overwrite: bool,
) -> AbstractContextManager[tuple[Publish, tuple[str, ...], Path | None]]:
    """Stage the tokenizer, if any, that is published with the file of a format at out. Raises ExportError."""
    if tokenizer_out is None:
        return contextlib.nullcontext((contextlib.nullcontext, (), None))
    if file_format == "hf":
        raise FormatError("tokenizer_out: expected none for hf, which carries the source's tokenizer along")
    if os.path.realpath(out) == os.path.realpath(tokenizer_out):
        raise WriteError(f"{os.fspath(tokenizer_out)}: tokenizer_out: expected another path than OUT, found the same")
    form = "qwen3c" if file_format == "ajc1" else "llama2c"
    return staged_tokenizer(checkpoint, Path(tokenizer_out), overwrite=overwrite, form=form)


def _tokenizer_of(checkpoint: Checkpoint) -> TokenizerModel | None:
    """Return the tokenizer of a v3 file's block, or of the file beside a source; None without one."""
    if checkpoint.tokenizer_block:
        return parse_block(checkpoint.where, checkpoint.tokenizer_block)
    if checkpoint.tokenizer is None:
        return None
    return read_tokenizer(checkpoint.tokenizer, follow_links=checkpoint.follow_links)


def _missing(checkpoint: Checkpoint, advice: str) -> CheckpointError:
    return CheckpointError(f"{checkpoint.where}: expected a tokenizer beside the source, found none: {advice}")
