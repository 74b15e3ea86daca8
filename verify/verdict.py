"""verify(): open what is to be judged, plan the run, run the checks, report."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import reader_c
from verify.checks.config import same_shapes
from verify.checks.metrics import digest_of
from verify.checks.policy import DEFAULT_POLICY, load_policy, policy_section
from verify.errors import CannotJudgeError
from verify.evidence import Evidence
from verify.report.environment import environment
from verify.report.model import Report
from verify.report.saved import SavedReport, read_saved
from verify.run.cost import Cost, cost_of
from verify.run.ladder import Findings, Ladder
from verify.run.last_release import check_comparable, with_baseline
from verify.run.memory import AT_EASE, Taken, Watch, mapped
from verify.run.options import Options, StrPath
from verify.run.path_conflicts import refuse_conflicts
from verify.run.reference_logits import versions_of
from verify.run.resume import EvidenceStore, program
from verify.run.worker import ARITHMETIC, Job
from verify.sources import Source, open_source
from verify.sources.unchanged_files import Identity, identity
from verify.system.numerics import pinned_numerics


def verify(
    source: StrPath | Source,
    path: StrPath,
    policy: StrPath | None = None,
    baseline: StrPath | None = None,
    windows: int | Sequence[NDArray[np.int64]] | None = None,
    depth: str | None = None,
    *,
    options: Options | None = None,
    **changes: Any,
) -> Report:
    """Judge a .bin file against the checkpoint that it was made from, whoever wrote it.

    source: where the checkpoint is, or an open source. policy: a TOML file of limits; the default is in the package.
    baseline: report.json of the last release; a file that is worse fails. windows: how many random windows, or the
    token windows themselves, int [length] each. depth: quick, standard (the default) or full.
    options: everything else; changes: fields of Options by name, as engine=..., memory=..., max_seq_len=...
    Raises CannotJudgeError or reader_c.ReaderError if nothing can be judged, which is neither a pass nor a fail.
    """
    changes |= {name: path for name, path in (("policy", policy), ("baseline", baseline)) if path is not None}
    options = dataclasses.replace(options or Options(), **changes)
    if windows is not None and options.evidence != Evidence():
        raise ValueError("give windows or evidence, not both")
    options = options.with_windows(windows, depth)
    options.check()
    if options.cluster is not None and isinstance(source, Source):
        raise CannotJudgeError("cluster: expected a source that workers can open by its path, found an open one")
    earlier = None if options.baseline is None else read_saved(Path(options.baseline))
    with pinned_numerics(), _open(source, path, options) as opened:
        plan = _plan(opened, options, earlier)
        store = EvidenceStore(Path(options.resume) if options.resume else None, _dependencies(plan.job, opened))
        findings = Ladder(opened.model, opened.source, plan.job, plan.length, options, store).run()
        taken = opened.watch.taken
        if options.announce is not None:
            options.announce(taken.describe())
        opened.expect_unchanged()
        report = _report(opened, plan, findings, options, taken)
    return report if earlier is None else with_baseline(report, earlier)


@dataclass(frozen=True)
class _Opened:
    """The source and the file, while they are judged. where: the source's path as it was given. sha256: of the
    file's bytes that were read, whatever its path names by now. at_first: the file's identity before that."""

    source: Source
    where: str
    model: reader_c.Model
    path: StrPath
    sha256: str
    at_first: Identity | None
    watch: Watch

    def expect_unchanged(self) -> None:
        """Raise CannotJudgeError if the file or the source is no longer the one that was judged."""
        # the reader may have copied the file, so its path must still lead to the same bytes
        same_bytes = self.sha256 == hashlib.sha256(self.model.content).hexdigest()
        if not same_bytes or _identity(self.path) != self.at_first:
            raise CannotJudgeError(f"{self.path}: changed while it was being judged")
        self.source.expect_unchanged()


@contextmanager
def _open(source: StrPath | Source, path: StrPath, options: Options) -> Iterator[_Opened]:
    """Open the file, then the source; refuse paths that conflict."""
    at_first = _identity(path)
    watch = Watch()
    with reader_c.open(path, mapped=mapped(path, options.memory)) as model, watch.watching():
        sha256 = hashlib.sha256(model.content).hexdigest()
        if isinstance(source, Source):
            opened, where = source, os.fspath(source.path)
        else:
            opened = open_source(source, options.source_kind, max_seq_len=options.max_seq_len)
            where = os.fspath(source)
        refuse_conflicts(path, opened, options.report_dir, options.files_read)
        yield _Opened(opened, where, model, path, sha256, at_first, watch)


@dataclass(frozen=True)
class _Plan:
    """length: positions that the file should state. cost: None if the file's shape differs, as little is judged."""

    job: Job
    length: int
    cost: Cost | None


def _plan(opened: _Opened, options: Options, earlier: SavedReport | None) -> _Plan:
    """Choose the windows and predict the cost; refuse before anything is computed what cannot be judged."""
    source, model = opened.source, opened.model
    most = source.hyperparameters.max_seq_len
    length = options.max_seq_len if options.max_seq_len is not None else most
    if not 1 <= length <= most:
        raise CannotJudgeError(f"max_seq_len: expected 1 to the source's {most}, found {length}")
    limits = load_policy(Path(options.policy) if options.policy else DEFAULT_POLICY, policy_section(model, source))
    windows = options.evidence.collect(source, length)
    if earlier is not None:
        check_comparable(earlier, source, windows)
    whole, depth = options.engine is not None, options.evidence.depth
    cost = None
    if same_shapes(model, source.hyperparameters):
        cost = cost_of(model, source, windows, depth, options.memory, whole=whole)
        if options.announce is not None:
            options.announce(cost.describe())
    job = Job(
        source=str(source.path.absolute()),
        source_kind=source.kind,
        source_files=source.files,
        max_seq_len=options.max_seq_len,
        file=os.path.abspath(model.path),  # noqa: PTH100  # a path of any bytes
        sha256=opened.sha256,
        policy=limits,
        windows=tuple(windows),
        depth=depth,
        whole=whole,
        memory=AT_EASE if cost is None else cost.plan,
        threads=torch.get_num_threads(),
    )
    return _Plan(job, length, cost)


def _report(opened: _Opened, plan: _Plan, findings: Findings, options: Options, taken: Taken) -> Report:
    model, cost = opened.model, plan.cost
    # the cost differs from run to run, so it is reported only where a limit was given
    memory = {"memory": cost.beside(taken)} if options.memory is not None and cost is not None else {}
    return Report(
        source={"path": opened.where, "kind": opened.source.kind, "sha256": opened.source.files},
        file={"path": model.path, "format": model.format, "bytes": model.file_size, "sha256": opened.sha256},
        # the header's fields, and what the format implies
        config=dataclasses.asdict(model.config),
        policy=plan.job.policy,
        evidence=options.evidence.describe(plan.job.windows),
        checks=findings.checks,
        metrics=findings.metrics,
        metrics_q8_activations=findings.metrics_q8,
        windows=findings.windows,
        tensors=findings.tensors,
        layers=findings.layers,
        diagnosis=findings.diagnosis,
        closure=findings.logit_error,
        attribution=findings.storage_cost,
        baseline=None,
        environment={
            **environment(findings.versions, ARITHMETIC),
            **memory,
        },
        engine=findings.engine,
    )


def _identity(path: StrPath) -> Identity | None:
    """Return a file's identity; None if there is no file, which the reader then reports."""
    try:
        return identity(path)
    except (OSError, ValueError):
        return None


def _dependencies(job: Job, opened: _Opened) -> dict[str, Any]:
    """Everything that evidence depends on. If any of it differs, the evidence of an earlier run is not used."""
    return {
        "source": opened.source.files,
        "file": opened.sha256,
        "length": job.max_seq_len,
        "windows": [(window.origin, digest_of(window.tokens)) for window in job.windows],
        "depth": job.depth,
        "policy": job.policy.sha256,
        "threads": job.threads,
        "environment": environment(versions_of(opened.source), ARITHMETIC),
        # a version stays the same while its code changes
        "program": program(),
    }
