"""The commands. Slow imports stand inside the commands, so that --help does not wait for them."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from functools import partial
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from verify.cli.options import (
    CLUSTER,
    ENGINE,
    EVIDENCE,
    EXPORT,
    JUDGEMENT,
    MAX_SEQ_LEN,
    MEMORY,
    OUTPUT,
    PATH,
    PUBLIC_KEY,
    RESUME,
    SIGN_KEY,
    SOURCE,
    with_options,
)
from verify.cli.prepare import check_directory, signing_key, start_pytorch, verdict_options
from verify.cli.results import deliver, show_notes, tell_group_size
from verify.cli.text import generate, perplexity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from verify.report.console import Bar
    from verify.run.options import Options
    from verify.run.progress import Progress


_OF_EXPORT = ("group_size", "exact_group_size", "storage", "provenance", "overwrite")


@click.group(
    commands=[generate, perplexity], epilog="Exit status: 0 pass; 1 judged and failed; 2 could not be judged."
)
@click.version_option(package_name="export-and-verify", message="%(package)s %(version)s")
def app() -> None:
    """Writes llama2.c-style .bin files from PyTorch checkpoints and proves what they compute."""


@app.command(epilog="Example: export-and-verify demo --out /tmp/demo")
@click.option(
    "--out",
    type=PATH,
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


@app.command(epilog="Example: export-and-verify export model.pt model.bin --format v2")
@with_options(SOURCE[0], click.argument("out", type=PATH), *EXPORT, MAX_SEQ_LEN, *SOURCE[1:], MEMORY, OUTPUT[2])
def export(
    source: str,
    out: Path,
    source_kind: str | None,
    format_name: str,
    max_seq_len: int | None,
    memory: int | None,
    quiet: bool,
    **given: Any,
) -> int:
    """Export one file (or, as hf, a directory). It appears complete or not at all."""
    import exporter  # noqa: PLC0415
    from verify.report.console import progress_bar, stdout_console  # noqa: PLC0415

    with progress_bar(enabled=not quiet) as progress, _watched(progress, wanted=memory is not None):
        reading = {name: given[name] for name in given.keys() - _OF_EXPORT}
        checkpoint = exporter.open_checkpoint(source, source_kind, max_seq_len=max_seq_len, **reading)
        summary = exporter.export(
            checkpoint,
            out,
            format=format_name,
            max_seq_len=max_seq_len,
            memory=memory,
            announce=None if memory is None else progress.tell,
            progress=lambda done, total: progress("export", done, total),
            **{name: given[name] for name in _OF_EXPORT},
        )
    show_notes(checkpoint.notes)
    tell_group_size(summary)
    if not quiet:
        stdout_console().print(
            f"{summary.path}: {summary.format}, {summary.bytes:,} bytes, {len(summary.tensors)} tensors, "
            f"{summary.seconds:.2f} s, sha256 {summary.sha256}",
            soft_wrap=True,
            markup=False,
        )
    return 0


@contextlib.contextmanager
def _watched(progress: Bar, *, wanted: bool) -> Iterator[None]:
    """Report the measured cost beside the prediction."""
    if not wanted:
        yield
        return
    from verify.run.memory import Watch  # noqa: PLC0415

    watch = Watch()
    with watch.watching():
        yield
        progress.tell(watch.taken.describe())


@app.command(epilog="Example: export-and-verify verify model.pt model.bin --text heldout.txt --report report")
@with_options(
    SOURCE[0],
    click.argument("file", type=PATH),
    MAX_SEQ_LEN,
    *SOURCE[1:],
    *EVIDENCE,
    *ENGINE,
    MEMORY,
    RESUME,
    *CLUSTER,
    *JUDGEMENT,
    SIGN_KEY,
    *OUTPUT,
)
def verify(
    source: str, file: Path, json: bool, quiet: bool, threads: int | None, sign_key: Path | None, **given: Any
) -> int:
    """Run every check on an existing file or Hugging Face directory, written by any program."""
    options = verdict_options({**given, "threads": threads})
    key = signing_key(sign_key, given["report"])
    from verify.inspect import headline  # noqa: PLC0415
    from verify.report.console import progress_bar, tell  # noqa: PLC0415

    tell(headline(file), enabled=not quiet)
    with progress_bar(enabled=not quiet) as progress:
        start_pytorch(threads, progress)
        from verify.verdict import verify as judge_file  # noqa: PLC0415

        report = judge_file(source, file, options=_shown(options, progress))
    return deliver(report, given["report"], json=json, quiet=quiet, key=key)


def _shown(options: Options, progress: Bar) -> Options:
    """Show progress, and the cost where a limit was given."""
    announce = None if options.memory is None else progress.tell
    return replace(options, announce=announce, progress=progress)


@app.command(epilog="Example: export-and-verify release model.pt model.bin --format v2 --text heldout.txt")
@with_options(
    SOURCE[0],
    click.argument("out", type=PATH),
    *EXPORT,
    MAX_SEQ_LEN,
    *SOURCE[1:],
    *EVIDENCE,
    MEMORY,
    RESUME,
    *CLUSTER,
    *JUDGEMENT,
    SIGN_KEY,
    *OUTPUT,
)
def release(
    source: str,
    out: Path,
    format_name: str,
    json: bool,
    quiet: bool,
    threads: int | None,
    sign_key: Path | None,
    **given: Any,
) -> int:
    """Export, verify, and publish OUT only if it passes, with its report in OUT.report. A fail leaves an earlier OUT
    untouched; its report is in OUT.rejected."""
    options = verdict_options(given := {**given, "threads": threads})
    export = {name: given[name] for name in _OF_EXPORT}
    from verify.report.console import progress_bar, tell  # noqa: PLC0415

    tell(f"{source} -> {out} as {format_name}, if it passes", enabled=not quiet)
    with progress_bar(enabled=not quiet) as progress:
        start_pytorch(threads, progress)
        from verify.release import release as run  # noqa: PLC0415

        released = run(
            source, out, format=format_name, options=_shown(options, progress), sign_key=sign_key, **export
        )
    show_notes(released.report.source["notes"])
    tell_group_size(released.summary)
    return deliver(released.report, None, json=json, quiet=quiet, written=released.report_dir)


@app.command(epilog="Example: export-and-verify judge model.bin.report/report.json model.bin --policy strict.toml")
@with_options(
    click.argument("saved", type=PATH, metavar="REPORT.json"),
    click.argument("file", type=PATH, required=False),
    *JUDGEMENT,
    PUBLIC_KEY,
    SIGN_KEY,
    *OUTPUT[:-1],
)
def judge(
    saved: Path,
    file: Path | None,
    policy: Path | None,
    baseline: Path | None,
    public_key: Path | None,
    sign_key: Path | None,
    report: Path | None,
    json: bool,
    quiet: bool,
) -> int:
    """Judge a saved report under another policy or against a baseline. Runs no model.

    With FILE, which is hashed again, the report must be about it. Without FILE the verdict is "as reported", and
    there is no attestation.
    """
    if report is not None:
        check_directory(report)
    key = signing_key(sign_key, report, hashed=file is not None)
    from verify.judge import judge as judge_again  # noqa: PLC0415
    from verify.run.path_conflicts import refuse_inside, refuse_replacing  # noqa: PLC0415

    # the saved report may stand there: the report that replaces it holds the same findings
    refuse_replacing(report, [file, policy, baseline, public_key])
    if file is not None and file.is_dir():
        refuse_inside(report, file)
    judged = judge_again(saved, file, policy, baseline, public_key=public_key)
    return deliver(judged, report, json=json, quiet=quiet, key=key)


@app.command(epilog="Example: export-and-verify inspect model.bin")
@click.argument("file", type=PATH)
@click.option("--json", is_flag=True, help="Print JSON.")
def inspect(file: Path, json: bool) -> int:
    """Show a file's header, tensor table, sizes and digest, and what the format cannot express. Needs no source."""
    from verify.inspect import inspect_file, show_inspection  # noqa: PLC0415

    contents = inspect_file(file)
    if json:
        import json as encoder  # noqa: PLC0415

        click.echo(encoder.dumps(contents, indent=2))
    else:
        show_inspection(contents)
    return 0
