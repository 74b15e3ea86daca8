"""The command line. Exit status: 0 pass, 1 judged and failed, 2 could not be judged, 130 interrupted."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import click
import typer

if TYPE_CHECKING:
    import exporter
    from verify.evidence import Evidence
    from verify.report.model import Report

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Writes llama2.c-style .bin files from PyTorch checkpoints and proves what they compute.",
    epilog="Exit status: 0 pass; 1 judged and failed; 2 could not be judged.",
)

SourceArgument = Annotated[Path, typer.Argument(metavar="SOURCE", help="A llama2.c checkpoint (.pt).", show_default=False)]
OutArgument = Annotated[Path, typer.Argument(metavar="OUT", help="The .bin file to write.", show_default=False)]
FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="A .bin file of any format.", show_default=False)]
FormatOption = Annotated[
    str, typer.Option("--format", metavar="F", help="v0, v1, v1-fp32 or v2.", show_default=False)
]
GroupSizeOption = Annotated[int, typer.Option(help="Q8_0 group size; backs off to what divides every row.")]
ExactOption = Annotated[bool, typer.Option("--exact-group-size", help="Refuse to back off from --group-size.")]
MaxSeqLenOption = Annotated[
    int | None, typer.Option(help="Length that the header says, at most the source's.", show_default=False)
]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace an existing OUT.")]
KindOption = Annotated[
    str | None, typer.Option("--source-kind", help="llama2c; detected by default.", show_default=False)
]
TextOption = Annotated[
    Path | None, typer.Option(help="UTF-8 text to judge on; needs the source's tokenizer.", show_default=False)
]
TokenizerOption = Annotated[
    Path | None, typer.Option(help="SentencePiece model; tokenizer.model beside SOURCE by default.", show_default=False)
]
TokensOption = Annotated[
    Path | None, typer.Option(help="Token windows: integers of shape [windows, length], .npy.", show_default=False)
]
WindowsOption = Annotated[int | None, typer.Option(help="Random windows, and most of text.", show_default="by depth")]
LengthOption = Annotated[int | None, typer.Option(help="Tokens a window.", show_default="by depth")]
SeedOption = Annotated[int, typer.Option(help="Of the random windows.")]
DepthOption = Annotated[str, typer.Option(help="quick, standard or full: how many windows, and how long.")]
PolicyOption = Annotated[Path | None, typer.Option(help="Thresholds (TOML).", show_default="shipped with the package")]
ReportOption = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Directory to write report.json into.", show_default=False)
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on standard output, and nothing else there.")]
QuietOption = Annotated[bool, typer.Option("--quiet", help="Print nothing but errors.")]
ThreadsOption = Annotated[int | None, typer.Option(help="Threads of PyTorch.", show_default="all cores")]


def _print_policy(wanted: bool) -> None:
    if wanted:
        from verify.policy import DEFAULT_POLICY  # noqa: PLC0415

        typer.echo(DEFAULT_POLICY.read_text(encoding="utf-8"), nl=False)
        raise typer.Exit


PrintPolicyOption = Annotated[
    bool, typer.Option("--print-policy", help="Print the default policy and stop.", callback=_print_policy, is_eager=True)
]


@app.command(epilog="Example: export-and-verify demo --out /tmp/demo")
def demo(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Directory for the files and their reports.")] = Path("demo"),
) -> int:
    """The main job on the bundled checkpoint: export every format, verify each, print the table."""
    import exporter  # noqa: PLC0415
    from verify.demo import CHECKPOINT, HELD_OUT_TEXT  # noqa: PLC0415
    from verify.evidence import Evidence  # noqa: PLC0415
    from verify.ladder import verify as judge  # noqa: PLC0415
    from verify.report.terminal import progress_bar, show_formats, stdout_console  # noqa: PLC0415

    out.mkdir(parents=True, exist_ok=True)
    checkpoint = exporter.open_checkpoint(CHECKPOINT)
    rows = []
    for name in exporter.FORMATS:
        with progress_bar(enabled=True) as progress:
            summary = exporter.export(checkpoint, out / f"{name}.bin", format=name, overwrite=True)
            _tell_group_size(summary)
            report = judge(
                CHECKPOINT,
                summary.path,
                evidence=Evidence(text=HELD_OUT_TEXT),
                progress=lambda stage, done, total, name=name: progress(f"{name} {stage}", done, total),
            )
        _write_report(report, out / f"{name}-report")
        float_bytes = 4 * sum(_product(shape) for shape in map(checkpoint.shape, checkpoint.names))
        rows.append((report, float_bytes))
    console = stdout_console()
    show_formats(console, rows)
    console.print(f"files and reports: {out}", highlight=False, soft_wrap=True)
    return 0 if all(report.passed for report, _ in rows) else 1


@app.command(epilog="Example: export-and-verify export model.pt model.bin --format v2")
def export(
    source: SourceArgument,
    out: OutArgument,
    format_name: FormatOption,
    group_size: GroupSizeOption = 64,
    exact_group_size: ExactOption = False,
    max_seq_len: MaxSeqLenOption = None,
    overwrite: OverwriteOption = False,
    source_kind: KindOption = None,
    quiet: QuietOption = False,
) -> int:
    """Write one file. It appears under its name whole or not at all."""
    import exporter  # noqa: PLC0415
    from verify.report.terminal import progress_bar, stdout_console  # noqa: PLC0415

    with progress_bar(enabled=not quiet) as progress:
        summary = exporter.export(
            exporter.open_checkpoint(source, source_kind),
            out,
            format=format_name,
            group_size=group_size,
            exact_group_size=exact_group_size,
            max_seq_len=max_seq_len,
            overwrite=overwrite,
            progress=lambda done, total: progress("export", done, total),
        )
    _tell_group_size(summary)
    if not quiet:
        stdout_console().print(
            f"{summary.path}: {summary.format}, {summary.bytes:,} bytes, {len(summary.tensors)} tensors, "
            f"{summary.seconds:.2f} s, sha256 {summary.sha256}",
            highlight=False,
            soft_wrap=True,
            markup=False,
        )
    return 0


@app.command(epilog="Example: export-and-verify verify model.pt model.bin --text heldout.txt --report report")
def verify(
    source: SourceArgument,
    file: FileArgument,
    max_seq_len: MaxSeqLenOption = None,
    source_kind: KindOption = None,
    text: TextOption = None,
    tokenizer: TokenizerOption = None,
    tokens: TokensOption = None,
    windows: WindowsOption = None,
    length: LengthOption = None,
    seed: SeedOption = 0,
    depth: DepthOption = "standard",
    policy: PolicyOption = None,
    print_policy: PrintPolicyOption = False,  # noqa: ARG001  # acts in its callback
    report: ReportOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
    threads: ThreadsOption = None,
) -> int:
    """Every check on an existing file, whoever wrote it."""
    evidence = _prepare(source_kind, text, tokenizer, tokens, windows, length, seed, depth, report, threads)
    from verify.ladder import verify as judge  # noqa: PLC0415
    from verify.report.terminal import progress_bar  # noqa: PLC0415

    with progress_bar(enabled=not quiet) as progress:
        result = judge(source, file, policy, evidence=evidence, max_seq_len=max_seq_len, progress=progress)
    return _deliver(result, report, json=json, quiet=quiet)


@app.command(epilog="Example: export-and-verify release model.pt model.bin --format v2 --text heldout.txt")
def release(
    source: SourceArgument,
    out: OutArgument,
    format_name: FormatOption,
    group_size: GroupSizeOption = 64,
    exact_group_size: ExactOption = False,
    max_seq_len: MaxSeqLenOption = None,
    overwrite: OverwriteOption = False,
    source_kind: KindOption = None,
    text: TextOption = None,
    tokenizer: TokenizerOption = None,
    tokens: TokensOption = None,
    windows: WindowsOption = None,
    length: LengthOption = None,
    seed: SeedOption = 0,
    depth: DepthOption = "standard",
    policy: PolicyOption = None,
    print_policy: PrintPolicyOption = False,  # noqa: ARG001  # acts in its callback
    report: ReportOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
    threads: ThreadsOption = None,
) -> int:
    """Export, verify, judge: only a pass appears as OUT. A fail leaves an earlier OUT untouched."""
    evidence = _prepare(source_kind, text, tokenizer, tokens, windows, length, seed, depth, report, threads)
    from verify.release import release as run  # noqa: PLC0415
    from verify.report.terminal import progress_bar  # noqa: PLC0415

    with progress_bar(enabled=not quiet) as progress:
        summary, result = run(
            source,
            out,
            format_name=format_name,
            group_size=group_size,
            exact_group_size=exact_group_size,
            max_seq_len=max_seq_len,
            overwrite=overwrite,
            policy=policy,
            evidence=evidence,
            progress=progress,
        )
    _tell_group_size(summary)
    return _deliver(result, report, json=json, quiet=quiet)


@app.command(epilog="Example: export-and-verify inspect model.bin")
def inspect(file: FileArgument, json: JsonOption = False) -> int:
    """Header, tensor table, sizes, digest, and what the format cannot express. Needs no source."""
    from verify.inspect import inspect_file, show_inspection  # noqa: PLC0415

    contents = inspect_file(file)
    if json:
        import json as encoder  # noqa: PLC0415

        typer.echo(encoder.dumps(contents, indent=2))
    else:
        show_inspection(contents)
    return 0


# ---- what the commands share ----


def _prepare(
    source_kind: str | None,
    text: Path | None,
    tokenizer: Path | None,
    tokens: Path | None,
    windows: int | None,
    length: int | None,
    seed: int,
    depth: str,
    report: Path | None,
    threads: int | None,
) -> Evidence:
    """Evidence from the options; everything that can be refused early is."""
    import exporter  # noqa: PLC0415
    from verify.errors import CannotJudgeError  # noqa: PLC0415
    from verify.evidence import Evidence  # noqa: PLC0415

    if source_kind is not None and source_kind not in exporter.SOURCE_KINDS:
        raise CannotJudgeError(f"--source-kind: expected {' or '.join(exporter.SOURCE_KINDS)}, found {source_kind!r}")
    if seed < 0:
        raise CannotJudgeError(f"--seed: expected 0 or more, found {seed}")
    if threads is not None:
        if threads < 1:
            raise CannotJudgeError(f"--threads: expected at least 1, found {threads}")
        import torch  # noqa: PLC0415

        torch.set_num_threads(threads)
    if report is not None:
        report.mkdir(parents=True, exist_ok=True)
    return Evidence(depth, windows, length, seed, text, tokenizer, tokens)


def _deliver(result: Report, directory: Path | None, *, json: bool, quiet: bool) -> int:
    if directory is not None:
        _write_report(result, directory)
    if json:
        typer.echo(result.to_json(), nl=False)
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
        typer.echo(
            f"note: {summary.format}: group size {summary.requested_group_size} does not divide every row of this "
            f"model; {summary.group_size} is used",
            err=True,
        )


def _product(shape: tuple[int, ...]) -> int:
    result = 1
    for size in shape:
        result *= size
    return result


def _refuse(message: object, status: int = 2) -> NoReturn:
    """One line on standard error, whatever the message held."""
    typer.echo(f"error: {' '.join(str(message).split())}", err=True)
    sys.exit(status)


def _leave(status: int) -> NoReturn:
    """Flush first: a reader that went away (head, less) is no error of ours."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(status)


def main() -> NoReturn:
    """Run the command line and turn every foreseen failure into one line and its status."""
    try:
        status = app(standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        typer.echo(error.format_message())
        sys.exit(2)
    except click.ClickException as error:
        _refuse(error.format_message())
    except (KeyboardInterrupt, click.Abort):
        _refuse("interrupted", 130)
    except BrokenPipeError:
        _leave(0)
    except OSError as error:
        # exporter's and reader_c's own messages already say what and where
        _refuse(error if error.filename is None else f"{error.filename}: {(error.strerror or '').lower()}")
    except ValueError as error:
        _refuse_known(error)
    except MemoryError as error:
        _refuse(f"out of memory: {error}")
    _leave(status if isinstance(status, int) else 0)


def _refuse_known(error: ValueError) -> NoReturn:
    """Only errors that speak of the input; any other ValueError is a bug and keeps its traceback."""
    import exporter  # noqa: PLC0415
    import reader_c  # noqa: PLC0415
    from verify.errors import CannotJudgeError  # noqa: PLC0415

    if isinstance(error, (exporter.ExportError, reader_c.ReaderError, CannotJudgeError)):
        _refuse(error)
    raise error
