"""verify(): opens what is to be judged, has it judged, and makes the report."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import reader_c
from verify.checks.config import same_shapes
from verify.checks.metrics import digest_of
from verify.checks.policy import DEFAULT_POLICY, load_policy, policy_section
from verify.engine.command import Engine
from verify.errors import CannotJudgeError
from verify.evidence import Evidence
from verify.report.environment import environment
from verify.report.model import Report
from verify.report.saved import read_saved
from verify.run.cost import budget_of
from verify.run.ladder import Judgement
from verify.run.last_release import check_comparable, with_baseline
from verify.run.memory import AT_EASE, Watch, mapped
from verify.run.path_conflicts import check_apart
from verify.run.progress import Progress, no_progress
from verify.run.reference_logits import versions_of
from verify.run.requested import Asked
from verify.run.resume import Kept, program
from verify.run.worker import ARITHMETIC, Job
from verify.sources import Source, open_source
from verify.sources.unchanged_files import Identity, identity


def verify(
    source: str | os.PathLike[str] | Source,
    path: str | os.PathLike[str],
    policy: str | os.PathLike[str] | None = None,
    baseline: str | os.PathLike[str] | None = None,
    windows: int | Sequence[NDArray[np.int64]] | None = None,
    depth: str = "standard",
    *,
    engine: Engine | None = None,
    evidence: Evidence | None = None,
    asked: Asked | None = None,
    max_seq_len: int | None = None,
    source_kind: str | None = None,
    memory: int | None = None,
    keep: str | os.PathLike[str] | None = None,
    reports: str | os.PathLike[str] | None = None,
    cluster: str | None = None,
    workers: int | None = None,
    announce: Callable[[str], None] | None = None,
    progress: Progress = no_progress,
) -> Report:
    """Judge a .bin file against the checkpoint it was made from, whoever wrote it.

    source: where the checkpoint is, or one that is open already. policy: a TOML file of limits; the default ships in
    the package. baseline: the last release's report.json: to be worse than it is a failure. windows: how many random
    windows, or the token windows themselves. engine: one of the user's own, judged on the same windows. evidence:
    everything about the windows, in place of windows and depth. asked: what the file was to be, where that is known.
    max_seq_len: what the file should say, where it was shortened on purpose. source_kind: one of
    verify.sources.KINDS, where it is not to be recognised. memory: bytes that the process may take; models larger
    than that are gone through layer by layer, and what cannot be done within it is refused before it is begun.
    keep: a directory for evidence, in which a run that was interrupted finds what it had. reports: where the report
    is going to be written, refused if that would replace a file that is read. cluster: "local" or the address of a
    Ray cluster whose workers judge the windows; workers: how many. announce: is told what is predicted.
    Raises CannotJudgeError or reader_c.ReaderError where there is nothing to judge: not a pass, not a fail.
    """
    if evidence is not None and windows is not None:
        raise ValueError("give windows or evidence, not both")
    if evidence is None:
        count = windows if isinstance(windows, int) else None
        tokens = None if windows is None or isinstance(windows, int) else list(windows)
        evidence = Evidence(depth=depth, windows=count, tokens=tokens)
    _check_ways(source, engine, keep, cluster)
    earlier = None if baseline is None else read_saved(Path(baseline))
    at_first = _identity(path)
    watch = Watch()
    with reader_c.open(path, mapped=mapped(path, memory)) as model, watch.watching():
        # of the bytes that were read, not of what the path may name by now
        digest = hashlib.sha256(model.content).hexdigest()
        if isinstance(source, Source):
            opened, where = source, os.fspath(source.path)
        else:
            opened, where = open_source(source, source_kind, max_seq_len=max_seq_len), os.fspath(source)
        program = None if engine is None else engine.program()
        check_apart(path, opened, reports, [policy, baseline, program, *evidence.files])
        length = max_seq_len if max_seq_len is not None else opened.hyperparameters.max_seq_len
        if not 1 <= length <= opened.hyperparameters.max_seq_len:
            limit = opened.hyperparameters.max_seq_len
            raise CannotJudgeError(f"max_seq_len: expected 1 to the source's {limit}, found {length}")
        limits = load_policy(Path(policy) if policy else DEFAULT_POLICY, policy_section(model, opened))
        # before any check, so that bad evidence is told at once
        windows_to_judge = evidence.collect(opened, length)
        if earlier is not None:
            check_comparable(earlier, opened, windows_to_judge)
        budget = None
        if same_shapes(
            model, opened.hyperparameters
        ):  # any other file is judged no further, which takes next to nothing
            budget = budget_of(model, opened, windows_to_judge, evidence, memory, whole=engine is not None)
            if announce is not None:
                announce(budget.describe())
        job = Job(
            source=str(opened.path.absolute()),
            source_kind=opened.kind,
            source_files=opened.files,
            max_seq_len=max_seq_len,
            file=os.path.abspath(model.path),  # noqa: PTH100  # a path of any bytes
            sha256=digest,
            policy=limits,
            windows=tuple(windows_to_judge),
            depth=evidence.depth,
            whole=engine is not None,
            memory=AT_EASE if budget is None else budget.plan,
            threads=torch.get_num_threads(),
        )
        kept = Kept(None, {}) if keep is None else Kept(Path(keep), _decides(job, opened, digest))
        judged = Judgement(model, opened, job, length, engine, kept, progress)
        if cluster is not None:
            judged.on_cluster(cluster, workers)
        judged.run(windows_to_judge, evidence, asked)
        taken = watch.taken
        if announce is not None:
            announce(taken.describe())
        # what was read may be a copy: whoever reads the file next should find the one that was judged
        if digest != hashlib.sha256(model.content).hexdigest() or _identity(path) != at_first:
            raise CannotJudgeError(f"{path}: changed while it was being judged")
        # and whoever reads the source next, the one that it was judged against
        opened.expect_unchanged()
        report = Report(
            source={"path": where, "kind": opened.kind, "sha256": opened.files},
            file={"path": model.path, "format": model.format, "bytes": model.file_size, "sha256": digest},
            # what the file says, and what its format implies
            config=dataclasses.asdict(model.config),
            policy=limits,
            evidence=evidence.describe(windows_to_judge),
            checks=tuple(judged.checks),
            metrics=judged.metrics,
            metrics_q8_activations=judged.metrics_q8,
            windows=tuple(judged.windows),
            tensors=tuple(judged.tensors),
            layers=judged.layers,
            diagnosis=judged.diagnosis,
            closure=judged.closure,
            attribution=judged.attribution,
            baseline=None,
            environment={
                **environment(judged.versions, ARITHMETIC),
                # what differs from run to run is told only where it was asked for
                **({} if memory is None or budget is None else {"memory": budget.held_against(taken)}),
            },
            engine=None if judged.trial is None else judged.trial.report,
        )
    return report if earlier is None else with_baseline(report, earlier)


def _check_ways(
    source: str | os.PathLike[str] | Source,
    engine: Engine | None,
    keep: str | os.PathLike[str] | None,
    cluster: str | None,
) -> None:
    """What does not go together, or is not there, is told before anything is computed."""
    if engine is not None:
        engine.check()
        if keep is not None or cluster is not None:
            raise CannotJudgeError("engine: expected to be judged in one run here, found --resume or --cluster")
    if cluster is not None:
        if isinstance(source, Source):
            raise CannotJudgeError("cluster: expected a source that workers can open by its path, found an open one")
        from verify.run.ray_cluster import check  # noqa: PLC0415  # optional

        check(cluster)


def _identity(path: str | os.PathLike[str]) -> Identity | None:
    """None where there is no file, which is for the reader to tell."""
    try:
        return identity(path)
    except (OSError, ValueError):
        return None


def _decides(job: Job, source: Source, digest: str) -> dict[str, Any]:
    """All that evidence depends on: with anything else, what was kept of an earlier run is of no use."""
    return {
        "source": source.files,
        "file": digest,
        "length": job.max_seq_len,
        "windows": [(window.origin, digest_of(window.tokens)) for window in job.windows],
        "depth": job.depth,
        "policy": job.policy.sha256,
        "threads": job.threads,
        "environment": environment(versions_of(source), ARITHMETIC),
        # a version stays the same while its code is worked on
        "program": program(),
    }
