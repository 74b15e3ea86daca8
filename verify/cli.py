"""The command line. Exit status: 0 pass, 1 judged and failed, 2 could not be judged, 130 interrupted, 70 a bug."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import traceback
from collections.abc import Callable
from functools import partial
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from verify.interrupts import heard, listening

if TYPE_CHECKING:
    import exporter
    from verify.evidence import Evidence
    from verify.ladder import Progress
    from verify.report.model import Report

# sysexits' EX_SOFTWARE
INTERNAL_ERROR = 70

# PyTorch starts as many as it is told to, and ends the process where the system refuses.
MOST_THREADS = 256

Command = TypeVar("Command", bound=Callable[..., Any])

PATH = click.Path(path_type=Path)


@click.group(epilog="Exit status: 0 pass; 1 judged and failed; 2 could not be judged.")
@click.version_option(package_name="export-and-verify", message="%(package)s %(version)s")
def app() -> None:
    """Writes llama2.c-style .bin files from PyTorch checkpoints and proves what they compute."""


def _read_storage(_context: click.Context, _: click.Parameter, given: tuple[str, ...]) -> str | dict[str, str]:
    """One storage for all, or patterns with theirs; a storage without a pattern among patterns is for all names."""
    if not given:
        return "source"
    if len(given) == 1 and "=" not in given[0]:
        return given[0]
    patterns: dict[str, str] = {}
    for text in given:
        pattern, _sign, storage = text.rpartition("=") if "=" in text else ("*", "=", text)
        # again at the end: it is the order that counts
        patterns.pop(pattern, None)
        patterns[pattern] = storage
    return patterns


def _print_policy(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        from verify.policy import DEFAULT_POLICY  # noqa: PLC0415

        click.echo(DEFAULT_POLICY.read_text(encoding="utf-8"), nl=False)
        context.exit()


# Options that several commands have, in the order of --help.
_SOURCE = (
    click.argument("source", type=PATH),
    click.option("--source-kind", metavar="KIND", help="llama2c, meta, huggingface or v3.  [default: found out]"),
)
_EXPORT = (
    click.option("--format", "format_name", metavar="F", required=True, help="v0, v1, v1-fp32, v2, v3 or hf."),
    click.option("--group-size", default=64, show_default=True, help="Of Q8_0; backs off to what divides every row."),
    click.option("--exact-group-size", is_flag=True, help="Refuse to back off from --group-size."),
    click.option(
        "--storage",
        multiple=True,
        callback=_read_storage,
        metavar="[PATTERN=]S",
        help="Of v3's tensors: source (without loss), fp32, fp16, bf16 or q8_0; of those whose names match PATTERN. "
        "May be given often: the last that matches counts.  [default: source]",
    ),
    click.option(
        "--no-provenance",
        "provenance",
        is_flag=True,
        flag_value=False,
        default=True,
        help="Leave the digests of the source's files out of v3.",
    ),
    click.option("--overwrite", is_flag=True, help="Replace an existing OUT."),
)
_MAX_SEQ_LEN = click.option(
    "--max-seq-len", type=int, metavar="N", help="Length in the header, at most the source's own if it says one."
)
_EVIDENCE = (
    click.option("--text", type=PATH, metavar="FILE", help="UTF-8 text to judge on; needs the source's tokenizer."),
    click.option(
        "--tokenizer", type=PATH, metavar="FILE", help="tokenizer.model or .json.  [default: the one beside SOURCE]"
    ),
    click.option("--tokens", type=PATH, metavar="FILE", help="Integers [windows, length] to judge on, as .npy."),
    click.option("--windows", type=int, metavar="N", help="Random windows, and most of text.  [default: by depth]"),
    click.option("--length", type=int, metavar="T", help="Tokens a window.  [default: by depth]"),
    click.option("--seed", default=0, show_default=True, metavar="S", help="Of the random windows."),
    click.option(
        "--depth", default="standard", show_default=True, help="quick, standard or full: how much evidence."
    ),
)
_JUDGEMENT = (
    click.option(
        "--policy", type=PATH, metavar="FILE", help="Thresholds, in TOML.  [default: shipped in the package]"
    ),
    click.option(
        "--print-policy",
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=_print_policy,
        help="Print the default policy and stop.",
    ),
)
_OUTPUT = (
    click.option("--report", type=PATH, metavar="DIR", help="Write report.json into this directory."),
    click.option("--json", is_flag=True, help="Print report.json on standard output, and nothing else there."),
    click.option("--quiet", is_flag=True, help="Print nothing but errors."),
    click.option("--threads", type=int, metavar="N", help="Threads of PyTorch.  [default: all cores]"),
)


def _with(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Apply shared options in the order in which they are listed."""

    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


@app.command(epilog="Example: export-and-verify demo --out /tmp/demo")
@click.option(
    "--out", type=PATH, metavar="DIR", default=Path("demo"), show_default=True, help="For files and reports."
)
def demo(out: Path) -> int:
    """The main job on the bundled checkpoint: export every format, verify each, print the table."""
    import exporter  # noqa: PLC0415
    from verify.demo import CHECKPOINT, HELD_OUT_TEXT  # noqa: PLC0415
    from verify.evidence import Evidence  # noqa: PLC0415
    from verify.ladder import verify as judge  # noqa: PLC0415
    from verify.report.terminal import progress_bar, show_formats, stdout_console  # noqa: PLC0415

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
                evidence=Evidence(text=HELD_OUT_TEXT),
                progress=partial(_in_format, progress, name),
            )
        _tell_group_size(summary)
        _write_report(report, out / f"{name}-report")
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
@_with(_SOURCE[0], click.argument("out", type=PATH), *_EXPORT, _MAX_SEQ_LEN, _SOURCE[1], _OUTPUT[2])
def export(
    source: Path,
    out: Path,
    source_kind: str | None,
    format_name: str,
    max_seq_len: int | None,
    quiet: bool,
    **options: Any,
) -> int:
    """Write one file (or, as hf, a directory). It appears under its name whole or not at all."""
    import exporter  # noqa: PLC0415
    from verify.report.terminal import progress_bar, stdout_console  # noqa: PLC0415

    with progress_bar(enabled=not quiet) as progress:
        summary = exporter.export(
            exporter.open_checkpoint(source, source_kind, max_seq_len=max_seq_len),
            out,
            format=format_name,
            max_seq_len=max_seq_len,
            progress=lambda done, total: progress("export", done, total),
            **options,
        )
    _tell_group_size(summary)
    if not quiet:
        stdout_console().print(
            f"{summary.path}: {summary.format}, {summary.bytes:,} bytes, {len(summary.tensors)} tensors, "
            f"{summary.seconds:.2f} s, sha256 {summary.sha256}",
            soft_wrap=True,
            markup=False,
        )
    return 0


@app.command(epilog="Example: export-and-verify verify model.pt model.bin --text heldout.txt --report report")
@_with(_SOURCE[0], click.argument("file", type=PATH), _MAX_SEQ_LEN, _SOURCE[1], *_EVIDENCE, *_JUDGEMENT, *_OUTPUT)
def verify(
    source: Path,
    file: Path,
    max_seq_len: int | None,
    source_kind: str | None,
    policy: Path | None,
    report: Path | None,
    json: bool,
    quiet: bool,
    **options: Any,
) -> int:
    """Every check on an existing file, whoever wrote it."""
    evidence = _prepare(report=report, **options)
    from verify.ladder import verify as judge  # noqa: PLC0415
    from verify.report.terminal import progress_bar  # noqa: PLC0415

    with progress_bar(enabled=not quiet) as progress:
        result = judge(
            source,
            file,
            policy,
            evidence=evidence,
            source_kind=source_kind,
            max_seq_len=max_seq_len,
            progress=progress,
        )
    return _deliver(result, report, json=json, quiet=quiet)


@app.command(epilog="Example: export-and-verify release model.pt model.bin --format v2 --text heldout.txt")
@_with(
    _SOURCE[0],
    click.argument("out", type=PATH),
    *_EXPORT,
    _MAX_SEQ_LEN,
    _SOURCE[1],
    *_EVIDENCE,
    *_JUDGEMENT,
    *_OUTPUT,
)
def release(
    source: Path,
    out: Path,
    source_kind: str | None,
    format_name: str,
    group_size: int,
    exact_group_size: bool,
    storage: str | dict[str, str],
    provenance: bool,
    overwrite: bool,
    max_seq_len: int | None,
    policy: Path | None,
    report: Path | None,
    json: bool,
    quiet: bool,
    **options: Any,
) -> int:
    """Export, verify, judge: only a pass appears as OUT. A fail leaves an earlier OUT untouched."""
    evidence = _prepare(report=report, **options)
    from verify.release import release as run  # noqa: PLC0415
    from verify.report.terminal import progress_bar  # noqa: PLC0415

    with progress_bar(enabled=not quiet) as progress:
        summary, result = run(
            source,
            out,
            source_kind=source_kind,
            format_name=format_name,
            group_size=group_size,
            exact_group_size=exact_group_size,
            storage=storage,
            provenance=provenance,
            max_seq_len=max_seq_len,
            overwrite=overwrite,
            policy=policy,
            evidence=evidence,
            progress=progress,
            # a report that cannot be written keeps the file from appearing
            before_publishing=lambda result: _write_report(result, report) if report else None,
        )
    _tell_group_size(summary)
    return _deliver(result, None, json=json, quiet=quiet)


@app.command(epilog="Example: export-and-verify inspect model.bin")
@click.argument("file", type=PATH)
@click.option("--json", is_flag=True, help="Print JSON.")
def inspect(file: Path, json: bool) -> int:
    """Header, tensor table, sizes, digest, and what the format cannot express. Needs no source."""
    from verify.inspect import inspect_file, show_inspection  # noqa: PLC0415

    contents = inspect_file(file)
    if json:
        import json as encoder  # noqa: PLC0415

        click.echo(encoder.dumps(contents, indent=2))
    else:
        show_inspection(contents)
    return 0


# ---- what the commands share ----


def _prepare(*, report: Path | None, threads: int | None, seed: int, **options: Any) -> Evidence:
    """Evidence from the options; everything that can be refused early is."""
    from verify.errors import CannotJudgeError  # noqa: PLC0415
    from verify.evidence import Evidence  # noqa: PLC0415

    if seed < 0:
        raise CannotJudgeError(f"--seed: expected 0 or more, found {seed}")
    if threads is not None:
        if not 1 <= threads <= MOST_THREADS:
            raise CannotJudgeError(f"--threads: expected 1 to {MOST_THREADS}, found {threads}")
        import torch  # noqa: PLC0415

        torch.set_num_threads(threads)
    if report is not None:
        _check_directory(report)
    return Evidence(seed=seed, **options)


def _check_directory(directory: Path) -> None:
    """Refuse early what could not be written to late; nothing is made before there is something to write."""
    from verify.errors import CannotJudgeError  # noqa: PLC0415

    nearest = next(path for path in (directory, *directory.absolute().parents) if path.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        raise CannotJudgeError(f"{directory}: expected a directory that can be written to, found none")


def _deliver(result: Report, directory: Path | None, *, json: bool, quiet: bool) -> int:
    if directory is not None:
        _write_report(result, directory)
    # whoever stops reading does not change the verdict
    with contextlib.suppress(BrokenPipeError):
        if json:
            click.echo(result.to_json(), nl=False)
        elif not quiet:
            from verify.report.terminal import show_report, stdout_console  # noqa: PLC0415

            show_report(stdout_console(), result)
    return 0 if result.passed else 1


def _write_report(result: Report, directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "report.json"
    temporary = path.with_suffix(".partial")
    temporary.write_text(result.to_json(), encoding="utf-8")
    temporary.replace(path)


def _tell_group_size(summary: exporter.ExportSummary) -> None:
    if summary.group_size and summary.group_size != summary.requested_group_size:
        click.echo(
            f"note: {summary.format}: group size {summary.requested_group_size} does not divide every row of this "
            f"model; {summary.group_size} is used",
            err=True,
        )


def _refuse(message: object, status: int = 2) -> NoReturn:
    """One line on standard error, whatever the message held."""
    _settle_output()
    click.echo(f"error: {' '.join(str(message).split())}", err=True)
    sys.exit(status)


def _leave(status: int) -> NoReturn:
    """A reader that went away (head, less) is no error of ours; a full disk is."""
    error = _settle_output()
    if error and not isinstance(error, BrokenPipeError):
        _refuse(f"standard output: cannot be written: {(error.strerror or '').lower()}")
    sys.exit(status)


def _settle_output() -> OSError | None:
    """Flush standard output while an error can still be told; what cannot be flushed is not tried again at exit,
    where Python would answer with a status of its own."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return error
    return None


def main() -> NoReturn:
    """Run the command line and turn every foreseen failure into one line and its status."""
    try:
        # not app.main(): it has its own answers to a broken pipe and to Ctrl-C
        with listening(), app.make_context("export-and-verify", sys.argv[1:]) as context:
            status = app.invoke(context)
    except click.exceptions.Exit as stop:
        _leave(stop.exit_code)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        _leave(2)
    except click.ClickException as error:
        _refuse(error.format_message())
    except KeyboardInterrupt:
        # SIGTERM is what CI systems end a job with: unwound like Ctrl-C, but nobody is there to be told
        if heard() == signal.SIGTERM:
            sys.exit(128 + signal.SIGTERM)
        _refuse("interrupted", 128 + signal.SIGINT)
    except BrokenPipeError:
        _leave(0)
    except OSError as error:
        # exporter's and reader_c's own messages already say what and where
        _refuse(error if error.filename is None else f"{error.filename}: {(error.strerror or '').lower()}")
    except MemoryError as error:
        _refuse(f"out of memory: {error}")
    except Exception as error:  # any other is a bug: it keeps its traceback, but status 1 would say "judged"
        if not _speaks_of_input(error):
            traceback.print_exc()
            sys.exit(INTERNAL_ERROR)
        _refuse(error)
    _leave(status)


def _speaks_of_input(error: Exception) -> bool:
    import exporter  # noqa: PLC0415
    import reader_c  # noqa: PLC0415
    from verify.errors import CannotJudgeError  # noqa: PLC0415

    return isinstance(error, (exporter.ExportError, reader_c.ReaderError, CannotJudgeError))
