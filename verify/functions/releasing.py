"""release(), as Python programs call it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify import release_file
from verify.engine.command import Engine
from verify.evidence import Evidence
from verify.functions.parameters import options_of
from verify.release_file import Released
from verify.run.options import StrPath
from verify.run.progress import Progress

_BESIDE = ("sign_key", "tokenizer_out", "vectors")


def release(
    source: StrPath,
    out: StrPath,
    *,
    format: str,  # noqa: A002  # the word of the public interface
    group_size: int = 64,
    exact_group_size: bool = False,
    storage: str | Mapping[str, str] = "source",
    provenance: bool = True,
    tokenizer_block: bool | None = None,
    tokenizer_out: StrPath | None = None,
    vectors: StrPath | None = None,
    overwrite: bool = False,
    policy: StrPath | None = None,
    baseline: StrPath | None = None,
    windows: int | Sequence[NDArray[np.int64]] | None = None,
    depth: str | None = None,
    evidence: Evidence | None = None,
    engine: Engine | None = None,
    max_seq_len: int | None = None,
    source_kind: str | None = None,
    follow_links: bool = False,
    adapter: StrPath | None = None,
    rope_theta: float | None = None,
    rope_scaling_factor: float | None = None,
    tied: bool | None = None,
    memory: int | None = None,
    resume: StrPath | None = None,
    report_dir: StrPath | None = None,
    sign_key: StrPath | None = None,
    cluster: str | None = None,
    workers: int | None = None,
    announce: Callable[[str], None] | None = None,
    progress: Progress | None = None,
    forecast: Callable[[Mapping[str, float]], None] | None = None,
    timed: bool = False,
) -> Released:
    """Export, verify, and publish the file at out only if it passes; a fail leaves an earlier file there as it was.

    Args:
        source, out: the checkpoint's path or hub id; the file's path, or the directory's.
        format, group_size, exact_group_size, storage, provenance, overwrite: as in exporter.export().
        tokenizer_block, tokenizer_out, vectors: as in exporter.export(); tokenizer and golden vectors with the file.
        policy, baseline, windows, depth, evidence, engine, max_seq_len, memory, resume, cluster, workers, announce,
            progress, forecast, timed: as in verify.verify().
        source_kind, follow_links, adapter, rope_theta, rope_scaling_factor, tied: as in exporter.open_checkpoint().
        report_dir: a directory for the report; by default out.report, or out.rejected after a fail.
        sign_key: an elliptic-curve private key in PEM, which signs the report.

    Returns:
        The summary of the export, the report, and the report's directory. report.passed: whether the file appeared.

    Raises:
        exporter.ExportError: nothing can be exported, or the file or its report cannot be written.
        CannotJudgeError, reader_c.ReaderError: nothing can be judged.
    """
    given = locals()
    own: dict[str, Any] = {name: given[name] for name in (*release_file.EXPORT_OPTIONS, *_BESIDE)}
    options = options_of(given).with_windows(windows, depth)
    return release_file.release(source, out, options=options, **own)
