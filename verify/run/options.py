"""Everything that decides how one file is verified, in one frozen object."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.engine.command import Engine
from verify.errors import CannotJudgeError
from verify.evidence import Evidence
from verify.run.progress import Progress, no_forecast, no_progress
from verify.run.requested import Requested

StrPath = str | os.PathLike[str]


@dataclass(frozen=True)
class Options:
    """The options of one verdict. The command line, verify(), release() and the pytest plugin pass this object on.

    policy: a TOML file of limits; None for the one in the package.
    baseline: report.json of the last release; a file that is worse fails.
    evidence: the token windows, and how deep the checks look into them.
    engine: an engine of the user's own, judged on the same windows.
    requested: the format, storage and group size that the file must have, where these are known.
    tokenizer_file: a tokenizer.bin of llama2.c or a .tokenizer of qwen3.c that belongs to the file, judged with it.
    max_seq_len: the length that the file should state, where it was shortened on purpose.
    source_kind: one of verify.sources.KINDS; None to detect it.
    follow_links, adapter, rope_theta, rope_scaling_factor, tied: as in verify.sources.open_source().
    memory: bytes that the process may take. A larger model is read layer by layer; a verdict that cannot be
        reached within the limit is refused before it begins.
    resume: a directory for evidence; an interrupted run continues from there.
    report_dir: where the report will be written; refused if it would replace a file that is read.
    cluster: "local", or the address of a Ray cluster whose workers judge the windows. workers: how many of them.
    notes: what the report says about settings that nobody typed.
    announce: a function that receives the predicted and the measured cost, as sentences.
    progress: a function that receives the stage, the work done and the work in all, often within each stage.
    forecast: a function that receives the predicted seconds of each stage, in their order.
    timed: report how long each stage took. Two reports of the same file then differ.
    """

    policy: StrPath | None = None
    baseline: StrPath | None = None
    evidence: Evidence = field(default_factory=Evidence)
    engine: Engine | None = None
    requested: Requested | None = None
    tokenizer_file: StrPath | None = None
    max_seq_len: int | None = None
    source_kind: str | None = None
    follow_links: bool = False
    adapter: StrPath | None = None
    rope_theta: float | None = None
    rope_scaling_factor: float | None = None
    tied: bool | None = None
    memory: int | None = None
    resume: StrPath | None = None
    report_dir: StrPath | None = None
    cluster: str | None = None
    workers: int | None = None
    notes: tuple[str, ...] = ()
    announce: Callable[[str], None] | None = None
    progress: Progress = no_progress
    forecast: Callable[[Mapping[str, float]], None] = no_forecast
    timed: bool = False

    def with_windows(self, windows: int | Sequence[NDArray[np.int64]] | None, depth: str | None) -> Options:
        """Return the options with this many random windows, or these token windows, at this depth.

        Raises ValueError where the evidence already says which windows.
        """
        if windows is not None and self.evidence != Evidence():
            raise ValueError("give windows or evidence, not both")
        changes: dict[str, Any] = {} if depth is None else {"depth": depth}
        if isinstance(windows, int):
            changes["windows"] = windows
        elif windows is not None:
            changes["tokens"] = list(windows)
        return replace(self, evidence=replace(self.evidence, **changes))

    def check(self) -> None:
        """Raise CannotJudgeError for options that exclude each other, an engine that cannot start, a cluster that
        does not answer."""
        if self.engine is not None:
            self.engine.check()
            if self.resume is not None or self.cluster is not None:
                raise CannotJudgeError("engine: expected to be judged in one run here, found --resume or --cluster")
        if self.cluster is not None:
            from verify.run.ray_cluster import check  # noqa: PLC0415  # Ray is optional

            check(self.cluster)

    @property
    def reading(self) -> dict[str, Any]:
        """The arguments with which both open_source() and exporter.open_checkpoint() read the source."""
        return {
            "kind": self.source_kind,
            "max_seq_len": self.max_seq_len,
            "follow_links": self.follow_links,
            "adapter": self.adapter,
            "rope_theta": self.rope_theta,
            "rope_scaling_factor": self.rope_scaling_factor,
            "tied": self.tied,
        }

    @property
    def files_read(self) -> list[StrPath | None]:
        """The files that a verdict reads besides the source and the file."""
        program = None if self.engine is None else self.engine.program()
        return [self.policy, self.baseline, program, self.tokenizer_file, *self.evidence.files]
