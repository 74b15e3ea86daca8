"""release(): export, verify, and publish the file only if it passes."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import exporter
from exporter.disk.locks import lock_target
from exporter.disk.pair import Publish, staged_beside
from exporter.disk.publish import publish, publish_directory
from exporter.disk.target import resolve_directory_target, resolve_target
from exporter.disk.workspace import workspace
from exporter.errors import NotLastingError, WriteError, as_write_error, reason
from exporter.file_identity import Identity, identity
from exporter.tokenizers.embed import staged_with
from verify.errors import CannotJudgeError
from verify.report.model import Report
from verify.report.signature import SigningKey
from verify.report_dir import remove_report, staged
from verify.run.options import Options, StrPath
from verify.run.path_conflicts import refuse_inside, report_dirs
from verify.run.progress import Stopwatch
from verify.run.requested import Requested
from verify.system.signals import postponed
from verify.vectors import encode, make_vectors
from verify.verdict import verify


@dataclasses.dataclass(frozen=True)
class Released:
    """Is what release() returns.

    Attributes:
        summary: of the export. The file stands at summary.path if it passed.
        report: the verdict.
        report_dir: the directory with the report's files.
    """

    summary: exporter.ExportSummary
    report: Report
    report_dir: Path


@dataclasses.dataclass(frozen=True)
class ExportOptions:
    """How a file is exported; the fields are those of exporter.export()."""

    format: str
    group_size: int = 64
    exact_group_size: bool = False
    storage: str | Mapping[str, str] = "source"
    provenance: bool = True
    tokenizer_block: bool | None = None
    overwrite: bool = False

    @property
    def requested(self) -> Requested:
        """Return what the file must turn out to be."""
        return Requested(self.format, self.group_size, self.storage)


EXPORT_OPTIONS = tuple(field.name for field in dataclasses.fields(ExportOptions))


def release(
    source: StrPath,
    out: StrPath,
    *,
    format: str,  # noqa: A002  # as exporter.export() has it
    options: Options | None = None,
    sign_key: StrPath | None = None,
    tokenizer_out: StrPath | None = None,
    vectors: StrPath | None = None,
    **changes: Any,
) -> Released:
    """Export, verify, and publish the file at out only if it passes; an earlier file there stays otherwise.

    format: v0, v1, v1-fp32, v2, v3, ajc1, or hf for a directory, for which all of this holds as well. options: as in
    verify(). sign_key: an elliptic-curve private key in PEM, which signs the report. tokenizer_out, vectors: files of
    the tokenizer (llama2.c's, beside ajc1 qwen3.c's) and of golden vectors, which appear with the file or not at all.
    changes: fields of ExportOptions and of Options. report_dir: by default out.report, or out.rejected for a fail.

    The file is judged in a directory beside out, on the same file system, so that one rename publishes it; its report
    is complete on disk before. So where anything cannot be written, nothing has happened, unless the system refuses a
    later name: the error says so. Raises ExportError, CannotJudgeError or reader_c.ReaderError.
    """
    export = ExportOptions(format, **{name: changes.pop(name) for name in changes.keys() & EXPORT_OPTIONS})
    options = dataclasses.replace(options or Options(), **changes)
    options = dataclasses.replace(options, progress=Stopwatch.around(options.progress))
    key = None if sign_key is None else SigningKey(Path(sign_key))
    out, kind = Path(out), _Directory if export.format == "hf" else _File
    target = kind.resolve(out, overwrite=export.overwrite)
    checkpoint = exporter.open_checkpoint(source, **options.reading)
    kind.refuse_source(checkpoint, out)
    golden = _target_of_vectors(vectors, [out, tokenizer_out], checkpoint, export)
    for_pass, for_fail = _report_dirs(out, options, checkpoint, [sign_key, tokenizer_out, golden])
    words = staged_with(checkpoint, out, tokenizer_out, export.format, overwrite=export.overwrite)
    with workspace(target) as room, words as (beside, notes, tokenizer):
        candidate = room / target.name
        summary = _export(checkpoint, candidate, target, export, options)
        made = kind.identities(candidate)
        report = verify(source, candidate, options=_judging(options, export, tokenizer))
        if report.file["sha256"] != summary.sha256:
            raise CannotJudgeError(f"{target}: changed between its export and its verdict")
        report = _as_published(report, out, tokenizer_out)
        report_dir = for_pass if report.passed else for_fail
        with (
            _staged_vectors(source, candidate, golden, export, options, report) as with_vectors,
            # file and report appear together: an interrupt comes before both, and no other release comes between
            staged(report, report_dir, key) as publish_report,
            lock_target(target),
            postponed(),
        ):
            if not report.passed:
                publish_report()
            elif kind.identities(candidate) != made:
                raise CannotJudgeError(f"{target}: changed after its verdict, before it was published")
            else:
                publish_file = partial(kind.publish, room, target, overwrite=export.overwrite)
                _publish_all((beside, with_vectors), publish_file, publish_report, target)
                _remove_stale_reports(out, report_dir, target)
    options.progress("report", 1, 1)
    return Released(dataclasses.replace(summary, path=out, notes=(*summary.notes, *notes)), report, report_dir)


class _File:
    """How a file is released."""

    @staticmethod
    def resolve(out: Path, *, overwrite: bool) -> Path:
        return resolve_target(out, overwrite=overwrite)

    @staticmethod
    def refuse_source(checkpoint: exporter.Checkpoint, out: Path) -> None:
        checkpoint.refuse_as_target(out)

    @staticmethod
    def identities(candidate: Path) -> dict[str, Identity]:
        return {candidate.name: identity(candidate)}

    @staticmethod
    def publish(room: Path, target: Path, *, overwrite: bool) -> None:
        publish(room / target.name, target, overwrite=overwrite)


class _Directory:
    """How a Hugging Face directory is released."""

    @staticmethod
    def resolve(out: Path, *, overwrite: bool) -> Path:
        return resolve_directory_target(out, overwrite=overwrite)

    @staticmethod
    def refuse_source(checkpoint: exporter.Checkpoint, out: Path) -> None:
        checkpoint.refuse_as_directory(out)

    @staticmethod
    def identities(candidate: Path) -> dict[str, Identity]:
        return {path.name: identity(path) for path in sorted(candidate.iterdir())}

    @staticmethod
    def publish(room: Path, target: Path, *, overwrite: bool) -> None:
        """Raises NotLastingError if the directory has its name and something else went wrong: its report must get
        its own then."""
        made = (room / target.name).stat()
        try:
            publish_directory(room, target, overwrite=overwrite, locked=True)
        except WriteError as error:
            if target.exists() and os.path.samestat(target.stat(), made):
                raise NotLastingError(str(error)) from error
            raise


def _export(
    checkpoint: exporter.Checkpoint, candidate: Path, target: Path, export: ExportOptions, options: Options
) -> exporter.ExportSummary:
    """Export the candidate; errors name the target."""
    announce, progress = options.announce, options.progress
    try:
        return exporter.export(
            checkpoint,
            candidate,
            format=export.format,
            group_size=export.group_size,
            exact_group_size=export.exact_group_size,
            storage=export.storage,
            provenance=export.provenance,
            tokenizer_block=export.tokenizer_block,
            max_seq_len=options.max_seq_len,
            memory=options.memory,
            announce=None if announce is None else lambda line: announce(f"export: {line}"),
            progress=lambda done, total: progress("export", done, total),
        )
    except NotLastingError as error:
        # only the candidate was written, so nothing has happened to the file at the target
        with as_write_error(target):
            raise (error.__cause__ or error) from None


def _target_of_vectors(
    vectors: StrPath | None, others: list[StrPath | None], checkpoint: exporter.Checkpoint, export: ExportOptions
) -> Path | None:
    """Return where golden vectors are to stand. Raises ExportError where none can be."""
    if vectors is None:
        return None
    if export.format == "hf":
        raise exporter.FormatError("vectors: expected none for hf, as they are of a .bin file")
    if os.path.realpath(vectors) in [os.path.realpath(other) for other in others if other is not None]:
        raise WriteError(f"{os.fspath(vectors)}: vectors: expected a path of their own, found that of another output")
    checkpoint.refuse_as_target(Path(vectors))
    return resolve_target(Path(vectors), overwrite=export.overwrite)


@contextmanager
def _staged_vectors(
    source: StrPath, candidate: Path, target: Path | None, export: ExportOptions, options: Options, report: Report
) -> Iterator[Publish]:
    """Make golden vectors of a candidate that passed; yield what publishes them with the file."""
    if target is None or not report.passed:
        yield nullcontext
        return
    path, evidence, progress = os.fspath(source), options.evidence, options.progress
    made = make_vectors(path, candidate, report=report, judged_on=evidence, progress=progress, **options.reading)
    with staged_beside(encode(made.vectors), target, overwrite=export.overwrite) as (with_file, _):
        yield with_file


def _report_dirs(
    out: Path, options: Options, checkpoint: exporter.Checkpoint, others: list[StrPath | None]
) -> tuple[Path, Path]:
    """Return the directories of a pass's report and of a fail's. others: files that must not lie in them."""
    read = [*checkpoint.files, checkpoint.tokenizer, options.policy, *options.evidence.files, *others]
    directory = None if options.report_dir is None else Path(options.report_dir)
    found = report_dirs(out, directory, read, options.baseline)
    refuse_inside(directory, out)
    return found


def _judging(options: Options, export: ExportOptions, words: Path | None) -> Options:
    """Return the options of the verdict on a candidate, and on the tokenizer beside it, if there is one."""
    # the report goes elsewhere than verify() would look for it
    judged = dataclasses.replace(options, requested=export.requested, report_dir=None)
    return judged if words is None else dataclasses.replace(judged, tokenizer_file=words)


def _as_published(report: Report, out: Path, tokenizer_out: StrPath | None) -> Report:
    """Return the report with the paths at which files appear.

    A candidate that failed is removed: its report must not be taken for a report on the file at out.
    """
    path = os.fspath(out) if report.passed else f"{os.fspath(out)} (not released)"
    tokenizers = tuple(
        one if one.path is None or tokenizer_out is None else dataclasses.replace(one, path=os.fspath(tokenizer_out))
        for one in report.tokenizers
    )
    return dataclasses.replace(report, file={**report.file, "path": path}, tokenizers=tokenizers)


def _publish_all(
    beside: tuple[Publish, ...], publish_file: Callable[[], None], publish_report: Callable[[], None], target: Path
) -> None:
    """Publish the file with all beside it, then the report. Raises WriteError, which says what stands at target."""
    doubt = None
    try:
        with as_write_error(target), ExitStack() as others:
            for one in beside:
                others.enter_context(one())
            publish_file()
    except NotLastingError as error:
        # the file stands there, so its report must too
        doubt = error
    try:
        publish_report()
    except WriteError as error:
        raise WriteError(f"{target}: written, but not all of its report: {error}") from error
    if doubt:
        raise doubt


def _remove_stale_reports(out: Path, report_dir: Path, target: Path) -> None:
    """Remove the reports of earlier runs: they are not about the file that now stands at out."""
    for stale in (out.with_name(f"{out.name}.{kind}") for kind in ("report", "rejected")):
        if os.path.realpath(stale) == os.path.realpath(report_dir):
            continue
        try:
            remove_report(stale)
        except OSError as error:
            where = f"{target}: written, but {stale}, of an earlier run,"
            raise WriteError(f"{where} cannot be removed: {reason(error)}") from error
