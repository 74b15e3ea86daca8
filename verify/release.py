"""release(): export, verify, judge, and only a pass appears under its name."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import exporter
from exporter.disk.locks import lock_target
from exporter.disk.publish import publish
from exporter.disk.target import resolve_target
from exporter.disk.workspace import workspace
from exporter.errors import NotLastingError, WriteError, as_write_error, reason
from exporter.file_identity import identity
from verify.errors import CannotJudgeError
from verify.evidence import Evidence
from verify.report.model import Report
from verify.report_dir import remove_report, staged
from verify.run.path_conflicts import reports_of
from verify.run.progress import Progress, no_progress
from verify.run.requested import Asked
from verify.system.signals import postponed
from verify.verdict import verify


@dataclasses.dataclass(frozen=True)
class Released:
    """What release() did: report.passed says whether the file stands at summary.path. reports: the directory of the
    report's files."""

    summary: exporter.ExportSummary
    report: Report
    reports: Path


def release(
    source: Path,
    out: Path,
    *,
    format_name: str,
    source_kind: str | None = None,
    group_size: int = 64,
    exact_group_size: bool = False,
    storage: str | Mapping[str, str] = "source",
    provenance: bool = True,
    max_seq_len: int | None = None,
    overwrite: bool = False,
    policy: Path | None = None,
    baseline: Path | None = None,
    evidence: Evidence | None = None,
    reports: Path | None = None,
    memory: int | None = None,
    keep: Path | None = None,
    cluster: str | None = None,
    workers: int | None = None,
    announce: Callable[[str], None] | None = None,
    progress: Progress = no_progress,
) -> Released:
    """Like export, but what fails verification never gets the name out; an earlier file there stays.

    memory, keep, cluster, workers, announce: of verify(). reports: a directory for the report's files; by default
    out.report of a pass, beside the file, and out.rejected otherwise, so that the report of an earlier file stays
    with it. The file is judged in a directory of its own beside out, on the same file system, so that publishing it
    is one rename; the report is complete on disk before that, and gets its names after it: where anything cannot be
    written, nothing has happened, but for names that the system refuses or cannot make last after the file has got
    its own, which is told.
    """
    if format_name == "hf":
        raise CannotJudgeError(
            "format: expected v0, v1, v1-fp32, v2 or v3, found hf: what another engine runs is exported, not judged"
        )
    target = resolve_target(out, overwrite=overwrite)
    checkpoint = exporter.open_checkpoint(source, source_kind, max_seq_len=max_seq_len)
    checkpoint.refuse_as_target(out)
    read = [*checkpoint.files, checkpoint.tokenizer, policy, *(evidence.files if evidence else ())]
    for_pass, for_fail = reports_of(out, reports, read, baseline)
    with workspace(target) as room:
        candidate = room / target.name
        try:
            summary = exporter.export(
                checkpoint,
                candidate,
                format=format_name,
                group_size=group_size,
                exact_group_size=exact_group_size,
                storage=storage,
                provenance=provenance,
                max_seq_len=max_seq_len,
                memory=memory,
                announce=None if announce is None else lambda line: announce(f"export: {line}"),
                progress=lambda done, total: progress("export", done, total),
            )
        except NotLastingError as error:
            # only a candidate was written: nothing has happened to what stands at the target
            with as_write_error(target):
                raise (error.__cause__ or error) from None
        made = identity(candidate)
        report = verify(
            source,
            candidate,
            policy,
            baseline,
            evidence=evidence,
            asked=Asked(format_name, group_size, storage),
            source_kind=source_kind,
            max_seq_len=max_seq_len,
            memory=memory,
            keep=keep,
            cluster=cluster,
            workers=workers,
            announce=announce,
            progress=progress,
        )
        if report.file["sha256"] != summary.sha256:
            raise CannotJudgeError(f"{target}: changed between its export and its verdict")
        # a candidate that failed is gone in a moment: its report must not be taken for one of what stands at out
        path = os.fspath(out) if report.passed else f"{os.fspath(out)} (not released)"
        report = dataclasses.replace(report, file={**report.file, "path": path})
        directory = for_pass if report.passed else for_fail
        # the file and its report appear together, or an interrupt comes before both; no other release's come between
        with staged(report, directory) as publish_report, lock_target(target), postponed():
            if not report.passed:
                publish_report()
            elif identity(candidate) != made:
                raise CannotJudgeError(f"{target}: changed after its verdict, before it got its name")
            else:
                _publish_both(partial(publish, candidate, target, overwrite=overwrite), publish_report, target)
                # neither is about the file that stands there now
                for stale in (out.with_name(f"{out.name}.{kind}") for kind in ("report", "rejected")):
                    if os.path.realpath(stale) != os.path.realpath(directory):
                        _remove_stale(stale, target)
    return Released(dataclasses.replace(summary, path=out), report, directory)


def _publish_both(publish_file: Callable[[], None], publish_report: Callable[[], None], target: Path) -> None:
    """Raises WriteError, which tells what stands there."""
    doubt = None
    try:
        with as_write_error(target):
            publish_file()
    except NotLastingError as error:
        # it stands there, and so must its report
        doubt = error
    try:
        publish_report()
    except WriteError as error:
        raise WriteError(f"{target}: written, but not all of its report: {error}") from error
    if doubt:
        raise doubt


def _remove_stale(directory: Path, target: Path) -> None:
    try:
        remove_report(directory)
    except OSError as error:
        raise WriteError(
            f"{target}: written, but {directory}, of an earlier run, cannot be removed: {reason(error)}"
        ) from error
