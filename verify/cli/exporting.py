"""The commands that write files without judging them, and the demo of everything."""

from __future__ import annotations

import contextlib
import os
from functools import partial
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from verify.cli import panels
from verify.cli.display import watched
from verify.cli.option_types import TARGET
from verify.cli.options import (
    CONFIG,
    FORMATS,
    MEMORY,
    OF_EXPORT,
    OUT,
    OVERWRITE,
    QUIET,
    READING,
    SOURCE,
    VERBOSE,
    format_options,
    with_options,
)
from verify.cli.results import show_notes, show_settings, tell_group_size

if TYPE_CHECKING:
    from verify.run.progress import Progress

# Of an export, until its own speed is measured.
_WEIGHTS_A_SECOND = 1e8


@click.command(cls=panels.Command, epilog="Example: export-and-verify demo --out /tmp/demo")
@click.option(
    "--out",
    type=TARGET,
    panel=panels.OUTPUT,
    metavar="DIR",
    default=Path("demo"),
    show_default=True,
    help="Directory for files and reports.",
)
def demo(out: Path) -> int:
    """Export the bundled checkpoint in every format, verify each file, print the table."""
    from verify.report.console import progress_bar, stdout_console, tell  # noqa: PLC0415

    tell(f"exporting and verifying the bundled checkpoint in every format: {out}", enabled=True)
    import exporter  # noqa: PLC0415
    from verify.demo import CHECKPOINT, HELD_OUT_TEXT  # noqa: PLC0415
    from verify.evidence import Evidence  # noqa: PLC0415
    from verify.report.terminal import show_formats  # noqa: PLC0415
    from verify.report_dir import write_report  # noqa: PLC0415
    from verify.verdict import verify as judge  # noqa: PLC0415

    if os.path.lexists(out) and not out.is_dir():
        raise click.UsageError(f"{out}: --out: expected a directory or nothing, found a file: choose another path")
    out.mkdir(parents=True, exist_ok=True)
    checkpoint = exporter.open_checkpoint(CHECKPOINT)
    reports = []
    for name in ("v0", "v1", "v1-fp32", "v2", "v3", "v3-q8_0"):
        with progress_bar(enabled=True) as progress:
            format_name, _, storage = name.partition("-q")
            summary = exporter.export(
                checkpoint,
                out / f"{name}.bin",
                format=format_name,
                storage=f"q{storage}" if storage else "source",
                overwrite=True,
            )
            report = judge(
                CHECKPOINT,
                summary.path,
                # one seed, so that all formats are compared on the same windows
                evidence=Evidence(text=HELD_OUT_TEXT, seed=0),
                progress=partial(_in_format, progress, name),
            )
        tell_group_size(summary)
        write_report(report, out / f"{name}-report")
        reports.append((name, report))
    console = stdout_console()
    float_bytes = 4 * sum(prod(checkpoint.shape(tensor)) for tensor in checkpoint.names)
    with contextlib.suppress(BrokenPipeError):
        show_formats(console, reports, float_bytes)
        console.print(f"files and reports: {out}", soft_wrap=True, markup=False)
    return 0 if all(report.passed for _, report in reports) else 1


def _in_format(progress: Progress, name: str, stage: str, done: int, total: int) -> None:
    progress(f"{name} {stage}", done, total)


@click.command(cls=panels.Command, epilog="Example: export-and-verify export model.pt model.bin --format v2")
@with_options(SOURCE, OUT, *READING, *format_options(FORMATS), MEMORY, OVERWRITE, QUIET, VERBOSE, CONFIG)
@click.pass_context
def export(
    context: click.RichContext,
    /,
    source: str,
    out: Path,
    source_kind: str | None,
    format_name: str,
    max_seq_len: int | None,
    memory: int | None,
    quiet: bool,
    verbose: bool,
    **given: Any,
) -> int:
    """Export one file (or, as hf, a directory). It appears complete or not at all."""
    show_settings(context, verbose=verbose)
    import exporter  # noqa: PLC0415
    from verify.report.console import progress_bar, stdout_console  # noqa: PLC0415

    with (
        progress_bar(enabled=not quiet, verbose=verbose) as progress,
        watched(progress, wanted=(wordy := memory is not None or progress.announces)),
    ):
        reading = {name: given[name] for name in given.keys() - OF_EXPORT}
        checkpoint = exporter.open_checkpoint(source, source_kind, max_seq_len=max_seq_len, **reading)
        weights = sum(prod(checkpoint.shape(name)) for name in checkpoint.names)
        progress.plan({"export": weights / _WEIGHTS_A_SECOND})
        summary = exporter.export(
            checkpoint,
            out,
            format=format_name,
            max_seq_len=max_seq_len,
            memory=memory,
            announce=progress.tell if wordy else None,
            progress=lambda done, total: progress("export", done, total),
            **{name: given[name] for name in OF_EXPORT},
        )
    show_notes((*checkpoint.notes, *summary.notes))
    tell_group_size(summary)
    if not quiet:
        stdout_console().print(
            f"{summary.path}: {summary.format}, {summary.bytes:,} bytes, {len(summary.tensors)} tensors, "
            f"{summary.seconds:.2f} s, sha256 {summary.sha256}",
            soft_wrap=True,
            markup=False,
        )
    return 0
