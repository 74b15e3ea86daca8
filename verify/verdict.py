"""verify(): open what is to be judged, plan the run, run the checks, report."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import reader_c
from verify.checks.certificates import GreedyText
from verify.checks.coverage import check_coverage
from verify.checks.metrics import digest_of
from verify.checks.policy import DEFAULT_POLICY, load_policy
from verify.errors import CannotJudgeError
from verify.evidence import Window
from verify.evidence.coverage import Coverage
from verify.evidence.depth import traced_windows
from verify.evidence.seed import Seed, choose_seed
from verify.report.environment import date, environment
from verify.report.model import Report
from verify.report.saved import SavedReport, read_saved
from verify.run.cautions import cautions
from verify.run.check_findings import CheckFindings
from verify.run.cost import Cost, long_window_fits
from verify.run.forecast import RENDERED
from verify.run.header_size import explained_by, with_explained_size
from verify.run.last_release import check_comparable, with_baseline
from verify.run.memory import AT_EASE, Taken, Watch, keep_freed_memory
from verify.run.options import Options, StrPath
from verify.run.progress import Meter, Stopwatch, whole_stage
from verify.run.resume import EvidenceStore, program
from verify.run.subjects import Subject, open_subject
from verify.run.worker import Job
from verify.sources import Source
from verify.system.numerics import pinned_numerics
from verify.system.pulse import HASHED, IMPORTED, OF_TRANSFORMERS
from verify.vectors.engine_outputs import Prompt
from verify.vectors.prompts import certify_prompts, not_certified, read_prompts


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
    """Judge a .bin file or a Hugging Face directory, written by any program, against the checkpoint that it was made
    from.

    source: where the checkpoint is, or an open source. policy: a TOML file of limits; the default is in the package.
    baseline: report.json of the last release; a file that is worse fails. windows: how many random windows, or the
    token windows themselves, int [length] each. depth: quick, standard (the default) or full.
    options: everything else; changes: fields of Options by name, as engine=..., memory=..., max_seq_len=...
    Raises CannotJudgeError or reader_c.ReaderError if nothing can be judged, which is neither a pass nor a fail.
    """
    changes |= {name: path for name, path in (("policy", policy), ("baseline", baseline)) if path is not None}
    options = dataclasses.replace(options or Options(), **changes)
    options = options.with_windows(windows, depth)
    options.check()
    if options.cluster is not None and isinstance(source, Source):
        raise CannotJudgeError("cluster: expected a source that workers can open by its path, found an open one")
    progress = Stopwatch.around(options.progress)
    options = dataclasses.replace(options, progress=progress)
    earlier = None if options.baseline is None else read_saved(Path(options.baseline))
    keep_freed_memory()
    with pinned_numerics(), _open(source, path, options) as opened:
        plan = _plan(opened, options, earlier)
        prompts = read_prompts(opened.source, options.evidence, plan.length)
        store = EvidenceStore(Path(options.resume) if options.resume else None, _dependencies(plan.job, opened))
        findings = opened.subject.run(opened.source, plan.job, plan.length, options, store)
        texts, options = _greedy_texts(opened, plan, options, findings, prompts)
        taken = opened.watch.taken
        hashed = HASHED * _size(path)
        # what renders the report finishes the stage
        with Meter(progress, "report", hashed + RENDERED).part(hashed):
            if options.announce is not None:
                options.announce(taken.describe())
            opened.expect_unchanged()
        report = dataclasses.replace(_report(opened, plan, findings, options, taken), greedy_texts=texts)
    return report if earlier is None else with_baseline(report, earlier)


@dataclass(frozen=True)
class _Opened:
    """The source and the file or directory, while they are judged. where: the source's path as it was given."""

    source: Source
    where: str
    subject: Subject
    watch: Watch

    def expect_unchanged(self) -> None:
        """Raise CannotJudgeError if the subject or the source is no longer the one that was judged."""
        self.subject.expect_unchanged()
        self.source.expect_unchanged()


@contextmanager
def _open(source: StrPath | Source, path: StrPath, options: Options) -> Iterator[_Opened]:
    """Open what is judged, then the source; refuse paths that conflict."""
    watch = Watch()
    with ExitStack() as stack:
        work = HASHED * (_size(path) + _size(source))
        if not isinstance(source, Source) and Path(source).is_dir() and "transformers" not in sys.modules:
            work += IMPORTED * OF_TRANSFORMERS
        with whole_stage(options.progress, "source", work):
            opening = explained_by(source, **options.reading)
            try:
                subject = stack.enter_context(open_subject(path, options))
            except reader_c.ReaderError as error:
                if explained := with_explained_size(error, path, opening):
                    raise explained from error
                raise
            stack.enter_context(watch.watching())
            opened = opening()
            where = os.fspath(source.path if isinstance(source, Source) else source)
        subject.refuse_conflicts(opened, options)
        yield _Opened(opened, where, subject, watch)


@dataclass(frozen=True)
class _Plan:
    """length: positions that the file should state. seed: of the random windows. cost: None if the file's shape
    differs, as little is judged. date: of the run's beginning."""

    job: Job
    length: int
    seed: Seed
    cost: Cost | None
    date: str


def _plan(opened: _Opened, options: Options, earlier: SavedReport | None) -> _Plan:
    """Choose the windows and predict the cost; refuse before anything is computed what cannot be judged."""
    source, subject = opened.source, opened.subject
    begun = date()
    most = source.hyperparameters.max_seq_len
    length = options.max_seq_len if options.max_seq_len is not None else most
    if not 1 <= length <= most:
        raise CannotJudgeError(f"max_seq_len: expected 1 to the source's {most}, found {length}")
    limits = load_policy(Path(options.policy) if options.policy else DEFAULT_POLICY, subject.section(source))
    seed = choose_seed(options.evidence.seed, subject.sha256, None if earlier is None else earlier.report.evidence)
    windows, cost = _windows(opened, options, length, seed)
    if earlier is not None:
        check_comparable(earlier, source, windows)
    if cost is not None and options.announce is not None:
        options.announce(cost.describe())
    job = Job(
        source=str(source.path.absolute()),
        reading={**options.reading, "kind": source.kind, "adapter": options.adapter and _absolute(options.adapter)},
        source_files=source.files,
        file=_absolute(subject.path),
        sha256=subject.sha256,
        policy=limits,
        windows=tuple(windows),
        depth=options.evidence.depth,
        memory=AT_EASE if cost is None else cost.plan,
        threads=torch.get_num_threads(),
    )
    return _Plan(job, length, seed, cost, begun)


def _windows(opened: _Opened, options: Options, length: int, seed: Seed) -> tuple[list[Window], Cost | None]:
    """Collect windows and predict their cost: with a long one, unless that is what does not fit in --memory."""
    source, evidence = opened.source, options.evidence
    affordable = partial(long_window_fits, source, evidence.depth, options.memory)
    windows = evidence.collect(source, length, seed, affordable)
    try:
        return windows, opened.subject.cost(source, windows, options)
    except CannotJudgeError:
        shorter = evidence.collect(source, length, seed, lambda _length: False)
        if len({len(window.tokens) for window in windows}) == len({len(window.tokens) for window in shorter}):
            raise
        return shorter, opened.subject.cost(source, shorter, options)


def _greedy_texts(
    opened: _Opened, plan: _Plan, options: Options, findings: CheckFindings, prompts: tuple[Prompt, ...]
) -> tuple[tuple[GreedyText, ...], Options]:
    """Certify greedy text from the prompts; return it, and the options with a note where it cannot be certified."""
    passed = {check.name for check in findings.checks if check.status == "pass"}
    if note := not_certified(prompts, passed):
        return (), dataclasses.replace(options, notes=(*options.notes, note))
    model = opened.subject.model
    if not prompts or model is None:
        return (), options
    steps, memory = options.evidence.steps, plan.job.memory
    return certify_prompts(model, opened.source, prompts, steps, memory, options.progress), options


def _report(opened: _Opened, plan: _Plan, findings: CheckFindings, options: Options, taken: Taken) -> Report:
    subject, cost = opened.subject, plan.cost
    coverage = _coverage(opened, plan, findings)
    demands = plan.job.policy.coverage
    # the cost differs from run to run, so it is reported only where a limit was given
    memory = {"memory": cost.beside(taken)} if options.memory is not None and cost is not None else {}
    # so do times
    seconds = {"seconds": Stopwatch.around(options.progress).seconds()} if options.timed else {}
    return Report(
        source={
            "path": opened.where,
            "kind": opened.source.kind,
            "sha256": opened.source.files,
            "notes": list(opened.source.notes),
        },
        file=subject.described(),
        config=subject.config(),
        policy=plan.job.policy,
        evidence={
            **options.evidence.describe(plan.job.windows, plan.seed),
            "coverage": coverage.to_dict(),
        },
        checks=(*findings.checks, *([] if demands is None else [check_coverage(coverage, demands)])),
        metrics=findings.metrics,
        metrics_q8_activations=findings.metrics_q8,
        windows=findings.windows,
        certificates=findings.certificates,
        tensors=findings.tensors,
        layers=findings.layers,
        diagnosis=findings.diagnosis,
        closure=findings.logit_error,
        attribution=findings.storage_cost,
        baseline=None,
        environment={
            **environment(findings.versions, subject.arithmetic),
            **memory,
            **seconds,
        },
        engine=findings.engine,
        tokenizers=findings.tokenizers,
        notes=(*options.notes, *cautions(subject.config(), plan.job.windows)),
        date=plan.date,
    )


def _coverage(opened: _Opened, plan: _Plan, findings: CheckFindings) -> Coverage:
    """Say what the checks covered that ran the model; nothing if none of them did."""
    hyper, ran = opened.source.hyperparameters, findings.ran
    windows = plan.job.windows if "quantization" in ran else ()
    coverage = Coverage.of(windows, hyper.vocab_size, plan.length)
    if not windows:
        return coverage
    traced = traced_windows(windows, plan.job.depth) if "operations" in ran else []
    return coverage.replaced(
        **opened.subject.coverage(plan.job.depth),
        engine_sequences=0 if findings.engine is None else findings.engine.sequences_per_process,
        traced_windows=len(traced),
        traced_positions=sum(len(windows[number].tokens) for number in traced),
        undecided_positions=findings.undecided.positions,
        router_margin=findings.undecided.margin,
    )


def _size(path: StrPath | Source) -> int:
    """Return about how many bytes there are to read; 1 for what is no file of this machine."""
    at = Path(path.path if isinstance(path, Source) else path)
    try:
        files = [at, *at.iterdir()] if at.is_dir() else [at]
        return 1 + sum(file.stat().st_size for file in files if file.is_file())
    except OSError:  # which opening it will explain
        return 1


def _absolute(path: StrPath) -> str:
    """Return a path that leads to the same file for workers in another working directory."""
    return os.path.abspath(path)  # noqa: PTH100  # a path of any bytes


def _dependencies(job: Job, opened: _Opened) -> dict[str, Any]:
    """Everything that evidence depends on. If any of it differs, the evidence of an earlier run is not used."""
    return {
        "source": opened.source.files,
        "file": opened.subject.sha256,
        "reading": {name: None if value is None else str(value) for name, value in job.reading.items()},
        "windows": [(window.origin, digest_of(window.tokens)) for window in job.windows],
        "depth": job.depth,
        "policy": job.policy.sha256,
        "threads": job.threads,
        "environment": environment(opened.subject.versions(opened.source), opened.subject.arithmetic),
        # a version stays the same while its code changes
        "program": program(),
    }
