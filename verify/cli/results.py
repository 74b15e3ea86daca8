"""What the commands do before and after the work itself."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    import exporter
    from verify.engine.command import Engine
    from verify.evidence import Evidence
    from verify.report.model import Report
    from verify.run.progress import Progress

# PyTorch starts as many as it is told to, and ends the process where the system refuses.
MOST_THREADS = 256
MOST_WORKERS = 10_000


def prepare(*, report: Path | None, threads: int | None, seed: int, **options: Any) -> Evidence:
    """Evidence from the options; everything that can be refused before PyTorch is imported is."""
    from verify.errors import CannotJudgeError  # noqa: PLC0415
    from verify.evidence import Evidence  # noqa: PLC0415

    if seed < 0:
        raise CannotJudgeError(f"--seed: expected 0 or more, found {seed}")
    if threads is not None and not 1 <= threads <= MOST_THREADS:
        raise CannotJudgeError(f"--threads: expected 1 to {MOST_THREADS}, found {threads}")
    if report is not None:
        check_directory(report)
    return Evidence(seed=seed, **options)


def check_workers(cluster: str | None, workers: int | None) -> None:
    from verify.errors import CannotJudgeError  # noqa: PLC0415

    if workers is not None and cluster is None:
        raise CannotJudgeError("--workers: expected --cluster beside it, found none")
    if workers is not None and not 1 <= workers <= MOST_WORKERS:
        raise CannotJudgeError(f"--workers: expected 1 to {MOST_WORKERS}, found {workers}")


def prepare_engine(
    library: Path | None, command: str | None, activations: str, seconds: float, memory: int | None
) -> Engine | None:
    """The engine that the options name, refused early where there is none to run; None where they name none."""
    if library is None and command is None:
        return None
    from verify.engine.command import Engine  # noqa: PLC0415

    engine = Engine(library, command, seconds, memory, activations)  # type: ignore[arg-type]  # it looks itself
    engine.check()
    return engine


def start_pytorch(threads: int | None, progress: Progress) -> None:
    """Imports it, which takes longer than anything before."""
    progress("PyTorch", 0, 1)
    import torch  # noqa: PLC0415

    if threads is not None:
        torch.set_num_threads(threads)
    progress("PyTorch", 1, 1)


def check_directory(directory: Path) -> None:
    """Refuse early what could not be written to late; nothing is made before there is something to write."""
    from verify.errors import CannotJudgeError  # noqa: PLC0415

    # a link that leads nowhere is in the way
    nearest = next(path for path in (directory, *directory.absolute().parents) if os.path.lexists(path))
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        raise CannotJudgeError(f"{directory}: expected a directory that can be written to, found none")


def deliver(result: Report, directory: Path | None, *, json: bool, quiet: bool, written: Path | None = None) -> int:
    """Write the report into directory, show it, and return the exit status. written: where it has been written."""
    if directory is not None:
        from verify.report_dir import write_report  # noqa: PLC0415

        write_report(result, directory)
        written = directory
    # whoever stops reading does not change the verdict
    with contextlib.suppress(BrokenPipeError):
        if json:
            click.echo(result.to_json(), nl=False)
        elif not quiet:
            from verify.report.console import stdout_console  # noqa: PLC0415
            from verify.report.terminal import show_report  # noqa: PLC0415

            show_report(stdout_console(), result, written)
    return 0 if result.passed else 1


def tell_group_size(summary: exporter.ExportSummary) -> None:
    if summary.group_size and summary.group_size != summary.requested_group_size:
        click.echo(
            f"note: {summary.format}: group size {summary.requested_group_size} does not divide every row of this "
            f"model; {summary.group_size} is used",
            err=True,
        )
