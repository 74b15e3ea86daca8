"""Sources: one file a kind, and the function that tells them apart."""

from __future__ import annotations

import os
from pathlib import Path

from exporter.checkpoint import Checkpoint
from exporter.errors import CheckpointError
from exporter.sources.options import SourceOptions
from exporter.sources.recognise import detect, is_hub_id, refuse_other_kind

KINDS = ("llama2c", "meta", "huggingface", "v3", "bin")


def open_checkpoint(
    path: str | os.PathLike[str],
    kind: str | None = None,
    *,
    max_seq_len: int | None = None,
    follow_links: bool = False,
    adapter: str | os.PathLike[str] | None = None,
    rope_theta: float | None = None,
    rope_scaling_factor: float | None = None,
    tied: bool | None = None,
) -> Checkpoint:
    """Open a checkpoint of any known kind; none of its weights is read yet.

    Args:
        path: a llama2.c .pt or .bin, a v3 file, a directory with Meta's params.json or Hugging Face's config.json, or
            a hub id.
        kind: one of SOURCE_KINDS, detected by default.
        max_seq_len: for Meta's directories, whose params.json need not say it, and for Hugging Face's, whose sliding
            window may be exact up to it.
        follow_links: open files that links out of a source's directory lead to.
        adapter: a directory with a LoRA adapter of PEFT's for a Hugging Face model.
        rope_theta, rope_scaling_factor: for Meta's directories, where params.json does not say them.
        tied: whether output.weight is embedding and classifier in one, for a .pt whose two matrices differ (False:
            they stay two) and for a directory of Meta's that lacks one (True: the embedding is both).

    Returns:
        A checkpoint, which reads a tensor when it is asked for it.

    Raises:
        CheckpointError: the source is not one that this package understands exactly.
    """
    if kind is not None and kind not in KINDS:
        raise CheckpointError(f"--source-kind: expected one of {', '.join(KINDS)}, found {kind!r}")
    name, where = os.fspath(path), Path(path)
    options = SourceOptions(
        max_seq_len=max_seq_len,
        follow_links=follow_links,
        adapter=None if adapter is None else Path(adapter),
        rope_theta=rope_theta,
        rope_scaling_factor=rope_scaling_factor,
        tied=tied,
    )
    # imported late: what a source is read with takes seconds to load
    if not os.path.lexists(where) and kind in (None, "huggingface") and is_hub_id(name, asked_for=kind is not None):
        from exporter.sources.hub import download  # noqa: PLC0415

        where, kind = download(name), "huggingface"
    if kind is None:
        kind = detect(where, name)
    else:
        refuse_other_kind(where, kind)
    options.refuse_for(kind)
    return _open(where, kind, options)


def _open(where: Path, kind: str, options: SourceOptions) -> Checkpoint:
    if kind == "meta":
        from exporter.sources.meta import open_meta  # noqa: PLC0415

        return open_meta(where, options)
    if kind == "huggingface":
        from exporter.sources.huggingface import open_huggingface  # noqa: PLC0415

        return open_huggingface(where, options)
    if kind == "v3":
        from exporter.sources.v3 import open_v3  # noqa: PLC0415

        return open_v3(where)
    if kind == "bin":
        from exporter.sources.bin import open_bin  # noqa: PLC0415

        return open_bin(where)
    from exporter.sources.llama2c import open_llama2c  # noqa: PLC0415

    return open_llama2c(where, options)
