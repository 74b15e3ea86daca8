"""The commands that give a verdict. Slow imports stand inside them, so that --help does not wait."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from verify.cli import panels
from verify.cli.arguments import expect_order, explaining
from verify.cli.defaults import notes_of
from verify.cli.display import shown
from verify.cli.option_types import PATH, TARGET
from verify.cli.options import (
    ENGINE,
    EVIDENCE,
    FILE,
    FORMATS,
    JUDGEMENT,
    MAX_SEQ_LEN,
    OF_EXPORT,
    OUT,
    OUTPUT,
    OVERWRITE,
    PUBLIC_KEY,
    READING,
    RESOURCES,
    SIGN_KEY,
    SOURCE,
    TOKENIZER_FILE,
    format_options,
    with_options,
)
from verify.cli.prepare import (
    check_directory,
    expect_engine,
    expect_prompts,
    signing_key,
    start_pytorch,
    verdict_options,
)
from verify.cli.results import deliver, show_notes, show_settings, tell_group_size

if TYPE_CHECKING:
    from reader_c import ReaderError

_GREEDY_TEXT = (
    click.option(
        "--prompt",
        "prompts",
        multiple=True,
        metavar="TEXT",
        panel=panels.EVIDENCE,
        help="Report how long greedy text from TEXT is certain; needs the source's tokenizer. May be repeated.",
    ),
    click.option(
        "--steps",
        type=int,
        default=64,
        show_default=True,
        metavar="N",
        panel=panels.EVIDENCE,
        help="Tokens of greedy text, for each --prompt.",
    ),
)


@click.command(
    cls=panels.Command,
    epilog="Example: export-and-verify verify model.pt model.bin --text heldout.txt --report report",
)
@with_options(
    SOURCE,
    FILE,
    *READING,
    MAX_SEQ_LEN,
    *EVIDENCE,
    *_GREEDY_TEXT,
    TOKENIZER_FILE,
    *JUDGEMENT,
    *ENGINE,
    *RESOURCES,
    SIGN_KEY,
    *OUTPUT,
)
@click.pass_context
def verify(
    context: click.RichContext,
    /,
    source: str,
    file: Path,
    json: bool,
    quiet: bool,
    verbose: bool,
    threads: int | None,
    sign_key: Path | None,
    **given: Any,
) -> int:
    """Run every check on an existing file or Hugging Face directory, written by any program."""
    show_settings(context, verbose=verbose)
    expect_order(source, file)
    expect_engine(context)
    expect_prompts(context)
    options = verdict_options({**given, "threads": threads}, notes_of(context))
    key = signing_key(sign_key, given["report"])
    from verify.inspect_file import headline  # noqa: PLC0415
    from verify.report.console import progress_bar, tell  # noqa: PLC0415

    def by_source(error: ReaderError) -> ReaderError | None:
        from verify.run.header_size import explained_by, with_explained_size  # noqa: PLC0415

        return with_explained_size(error, file, explained_by(source, **options.reading))

    with explaining(file, by_source):
        tell(headline(file), enabled=not quiet)
    with progress_bar(enabled=not quiet, verbose=verbose) as progress:
        options = shown(options, progress, verbose=verbose)
        start_pytorch(threads, options.progress)
        from verify.verdict import verify as judge_file  # noqa: PLC0415

        report = judge_file(source, file, options=options)
    return deliver(report, given["report"], json=json, quiet=quiet, key=key)


_TOKENIZER_OUT = click.option(
    "--tokenizer-out",
    type=TARGET,
    metavar="FILE",
    panel=panels.OUTPUT,
    help="Also write the source's tokenizer as llama2.c's tokenizer.bin, beside ajc1 as qwen3.c's .tokenizer: "
    "with OUT, or not at all.",
)
_VECTORS = click.option(
    "--vectors",
    type=TARGET,
    metavar="FILE",
    panel=panels.OUTPUT,
    help="Also write golden vectors, for tests of engines: with OUT, or not at all.",
)


@click.command(
    cls=panels.Command, epilog="Example: export-and-verify release model.pt model.bin --format v2 --text heldout.txt"
)
@with_options(
    SOURCE,
    OUT,
    *READING,
    *format_options(FORMATS),
    *EVIDENCE,
    *_GREEDY_TEXT,
    *JUDGEMENT,
    *ENGINE,
    *RESOURCES,
    _TOKENIZER_OUT,
    _VECTORS,
    OVERWRITE,
    SIGN_KEY,
    *OUTPUT,
)
@click.pass_context
def release(
    context: click.RichContext,
    /,
    source: str,
    out: Path,
    format_name: str,
    json: bool,
    quiet: bool,
    verbose: bool,
    threads: int | None,
    sign_key: Path | None,
    tokenizer_out: Path | None,
    vectors: Path | None,
    **given: Any,
) -> int:
    """Export, verify, and publish OUT only if it passes, with its report in OUT.report.

    A fail leaves an earlier OUT untouched; its report is in OUT.rejected.
    """
    show_settings(context, verbose=verbose)
    expect_engine(context)
    expect_prompts(context)
    options = verdict_options(given := {**given, "threads": threads}, notes_of(context))
    export = {name: given[name] for name in OF_EXPORT}
    from verify.report.console import progress_bar, tell  # noqa: PLC0415

    tell(f"{source} -> {out} as {format_name}, if it passes", enabled=not quiet)
    with progress_bar(enabled=not quiet, verbose=verbose) as progress:
        options = shown(options, progress, verbose=verbose)
        start_pytorch(threads, options.progress)
        from verify.release_file import release as run  # noqa: PLC0415

        beside = {"sign_key": sign_key, "tokenizer_out": tokenizer_out, "vectors": vectors}
        released = run(source, out, format=format_name, options=options, **beside, **export)
    show_notes((*released.report.source["notes"], *released.summary.notes))
    tell_group_size(released.summary)
    return deliver(released.report, None, json=json, quiet=quiet, written=released.report_dir)


@click.command(
    cls=panels.Command,
    epilog="Example: export-and-verify judge model.bin.report/report.json model.bin --policy strict.toml",
)
@with_options(
    click.argument("saved", type=PATH, metavar="REPORT.json", panel=panels.SOURCE, help="A report that was saved."),
    click.argument(
        "file", type=PATH, required=False, metavar="[FILE]", panel=panels.SOURCE, help="The file that it is about."
    ),
    *JUDGEMENT,
    PUBLIC_KEY,
    SIGN_KEY,
    *OUTPUT,
)
@click.pass_context
def judge(
    context: click.RichContext,
    /,
    saved: Path,
    file: Path | None,
    policy: Path | None,
    baseline: Path | None,
    public_key: Path | None,
    sign_key: Path | None,
    report: Path | None,
    json: bool,
    quiet: bool,
    verbose: bool,
) -> int:
    """Judge a saved report under another policy or against a baseline. Runs no model.

    With FILE, which is hashed again, the report must be about it. Without FILE the verdict is "as reported", and
    there is no attestation.
    """
    show_settings(context, verbose=verbose)
    if report is not None:
        check_directory(report)
    key = signing_key(sign_key, report, hashed=file is not None)
    from verify.judge_report import judge as judge_again  # noqa: PLC0415
    from verify.run.path_conflicts import refuse_inside, refuse_replacing  # noqa: PLC0415

    # the saved report may stand there: the report that replaces it holds the same findings
    refuse_replacing(report, [file, policy, baseline, public_key])
    if file is not None and file.is_dir():
        refuse_inside(report, file)
    judged = judge_again(saved, file, policy, baseline, public_key=public_key)
    judged = replace(judged, notes=(*judged.notes, *notes_of(context)))
    return deliver(judged, report, json=json, quiet=quiet, key=key)
