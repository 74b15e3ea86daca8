"""Reads sources for the verifier with its own code, never the exporter's."""

from __future__ import annotations

import os
from pathlib import Path

from verify.errors import CannotJudgeError
from verify.sources.options import SourceOptions
from verify.sources.recognise import KINDS, expect_kind, is_hub_id, recognised
from verify.sources.source import Hyperparameters, LayerKind, Merge, RopeScaling, Source

__all__ = ["KINDS", "Hyperparameters", "LayerKind", "Merge", "RopeScaling", "Source", "SourceOptions", "open_source"]


def open_source(
    path: str | os.PathLike[str],
    kind: str | None = None,
    *,
    max_seq_len: int | None = None,
    follow_links: bool = False,
    adapter: str | os.PathLike[str] | None = None,
    rope_theta: float | None = None,
    rope_scaling_factor: float | None = None,
    tied: bool | None = None,
) -> Source:
    """Open a source of any known kind; the options are those of SourceOptions. Raises CannotJudgeError."""
    if kind is not None and kind not in KINDS:
        raise CannotJudgeError(f"--source-kind: expected one of {', '.join(KINDS)}, found {kind!r}")
    options = SourceOptions(max_seq_len, follow_links, adapter, rope_theta, rope_scaling_factor, tied)
    text, path = os.fspath(path), Path(path)
    if kind in (None, "huggingface") and is_hub_id(text):
        from verify.sources.hub import snapshot  # noqa: PLC0415

        path, kind = snapshot(text), "huggingface"
    if kind is None:
        kind = recognised(path)
    else:
        expect_kind(path, kind)
    options.expect_only_for(kind)
    match kind:
        case "meta":
            from verify.sources.meta import MetaSource  # noqa: PLC0415

            return MetaSource(path, options)
        case "huggingface":
            from verify.sources.huggingface import HuggingFaceSource  # noqa: PLC0415

            return HuggingFaceSource(path, options)
        case "v3":
            from verify.sources.v3 import V3Source  # noqa: PLC0415

            return V3Source(path)
        case "bin":
            from verify.sources.bin_file import BinSource  # noqa: PLC0415

            return BinSource(path)
    from verify.sources.llama2c import Llama2cSource  # noqa: PLC0415

    return Llama2cSource(path, options)
