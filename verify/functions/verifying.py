"""verify(), as Python programs call it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from verify import verdict
from verify.engine.command import Engine
from verify.evidence import Evidence
from verify.functions.parameters import options_of
from verify.report.model import Report
from verify.run.options import StrPath
from verify.run.progress import Progress
from verify.sources import Source


def verify(
    source: StrPath | Source,
    path: StrPath,
    policy: StrPath | None = None,
    baseline: StrPath | None = None,
    windows: int | Sequence[NDArray[np.int64]] | None = None,
    depth: str | None = None,
    *,
    evidence: Evidence | None = None,
    engine: Engine | None = None,
    tokenizer_file: StrPath | None = None,
    max_seq_len: int | None = None,
    source_kind: str | None = None,
    follow_links: bool = False,
    adapter: StrPath | None = None,
    rope_theta: float | None = None,
    rope_scaling_factor: float | None = None,
    tied: bool | None = None,
    memory: int | None = None,
    resume: StrPath | None = None,
    cluster: str | None = None,
    workers: int | None = None,
    announce: Callable[[str], None] | None = None,
    progress: Progress | None = None,
    forecast: Callable[[Mapping[str, float]], None] | None = None,
    timed: bool = False,
) -> Report:
    """Judge a .bin file or a Hugging Face directory, written by any program, against its checkpoint.

    Args:
        source: the checkpoint's path or hub id, or a source from verify.testing.source_of().
        path: the file or directory to judge.
        policy, baseline: a TOML file of limits (default: the package's); report.json of the last release.
        windows: the number of random windows, or your own windows of token ids, int64 [length] each.
        depth: how much evidence: quick, standard (the default) or full.
        evidence: the text, the windows and the seed in one object, instead of windows.
        engine: an engine of your own, judged on the same windows.
        tokenizer_file: a tokenizer.bin of llama2.c, or a .tokenizer of qwen3.c, judged with the file.
        max_seq_len: the length that the file states, if it is shorter than the source's.
        source_kind, follow_links, adapter, rope_theta, rope_scaling_factor, tied: as in exporter.open_checkpoint().
        memory: the most bytes that this process may take; a larger model is read layer by layer.
        resume: a directory that keeps evidence; an interrupted run continues from there.
        cluster, workers: "local" or the address of a Ray cluster; how many workers.
        announce, progress: receives the predicted and measured cost, as sentences; (stage, steps done, steps in all).
        forecast: receives the predicted seconds of each stage, in their order, before the first one begins.
        timed: report how long each stage took; two reports of the same file then differ.

    Returns:
        The report. report.passed is the verdict.

    Raises:
        CannotJudgeError, reader_c.ReaderError: nothing can be judged, which is neither a pass nor a fail.
    """
    given = locals()
    return verdict.verify(source, path, windows=windows, depth=depth, options=options_of(given))
