"""The commands about golden vectors: vectors and check-vectors. Slow imports stand inside the commands."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import rich_click as click

from verify.cli import panels
from verify.cli.arguments import expect_order, explaining
from verify.cli.option_types import PATH, TARGET
from verify.cli.options import ENGINE, OVERWRITE, READING, SOURCE, with_options
from verify.cli.prepare import OF_ENGINE, engine_of, expect_engine, start_pytorch

_of_evidence, _of_output = (partial(click.option, panel=panel) for panel in (panels.EVIDENCE, panels.OUTPUT))
_EVIDENCE = ("text", "tokenizer", "tokens", "windows", "length", "seed")


@click.command(
    cls=panels.Command,
    epilog="Example: export-and-verify vectors model.pt model.bin model.vec --checker check_vectors.c",
)
@with_options(
    SOURCE,
    click.argument("file", type=PATH, metavar="FILE", panel=panels.SOURCE, help="The .bin file."),
    click.argument("out", type=TARGET, metavar="OUT", panel=panels.SOURCE, help="The file of vectors to write."),
    *READING,
    _of_evidence("--text", type=PATH, metavar="FILE", help="UTF-8 text for windows; needs the source's tokenizer."),
    _of_evidence("--tokenizer", type=PATH, metavar="FILE", help="For --text.  [default: the one beside SOURCE]"),
    _of_evidence("--tokens", type=PATH, metavar="FILE", help="Integers [windows, length] for windows, as .npy."),
    _of_evidence("--windows", type=int, metavar="N", help="Random windows.  [default: 4, and a long one]"),
    _of_evidence("--length", type=int, metavar="T", help="Tokens in a window.  [default: 64]"),
    _of_evidence("--seed", type=int, metavar="S", help="Of random windows.  [default: from the file's digest]"),
    _of_evidence(
        "--kept", type=int, default=32, show_default=True, metavar="K", help="Logits to keep of each position."
    ),
    _of_evidence(
        "--worst-of",
        type=PATH,
        metavar="REPORT",
        help="report.json of a verdict on FILE: keep the positions that its execution and engine found worst.",
    ),
    _of_output("--as-json", type=TARGET, metavar="FILE", help="Write the same as JSON, too."),
    _of_output("--checker", type=TARGET, metavar="FILE", help="Write the checker, one file of C11, to FILE."),
    OVERWRITE,
    _of_output("--quiet", is_flag=True, help="Show nothing but errors."),
)
def vectors(
    source: str,
    file: Path,
    out: Path,
    kept: int,
    worst_of: Path | None,
    as_json: Path | None,
    checker: Path | None,
    overwrite: bool,
    quiet: bool,
    **given: Any,
) -> int:
    """Write golden vectors: reference logits of FILE, and how far float32 rounding may move each of them.

    Needs a FILE that holds the model of SOURCE to the bit.
    """
    expect_order(source, file)
    import json  # noqa: PLC0415

    from exporter.disk.atomic import atomic_file  # noqa: PLC0415
    from exporter.disk.target import resolve_target  # noqa: PLC0415
    from verify.report.console import progress_bar  # noqa: PLC0415

    targets = [resolve_target(path, overwrite=overwrite) for path in (out, as_json, checker) if path is not None]
    with progress_bar(enabled=not quiet) as progress, explaining(file):
        start_pytorch(None, progress)
        from verify.evidence import Evidence  # noqa: PLC0415
        from verify.report.saved import read_report  # noqa: PLC0415
        from verify.vectors import as_json as plain  # noqa: PLC0415
        from verify.vectors import checker_source, encode, make_vectors  # noqa: PLC0415

        asked = {name: given.pop(name) for name in _EVIDENCE}
        evidence = Evidence(**asked) if any(value is not None for value in asked.values()) else None
        report = None if worst_of is None else read_report(worst_of)
        kind = given.pop("source_kind")
        made = make_vectors(
            source, file, evidence=evidence, kept=kept, report=report, progress=progress, kind=kind, **given
        )
    contents = [encode(made.vectors)]
    if as_json is not None:
        contents.append((json.dumps(plain(made.vectors)) + "\n").encode())
    if checker is not None:
        contents.append(checker_source().encode())
    for target, content in zip(targets, contents, strict=True):
        with atomic_file(target, overwrite=overwrite) as written:
            written.write(content)
    if not quiet:
        found = made.vectors
        click.echo(
            f"{out}: {len(contents[0]):,} bytes: {found.kept} logits at each of {found.positions:,} positions in "
            f"{len(found.windows)} windows{', with int8 logits' if found.int8 else ''}"
        )
        click.echo(
            f"most likely token certified at {made.certified:,} of {made.counted:,} positions "
            f"({made.certified / made.counted:.2%}); the reader's worst logit: {made.worst:.2f} of {found.limit:g} "
            f"standard deviations"
        )
        for window, position in made.from_report:
            click.echo(f"worst in the report: window {window}, position {position}")
    return 0


@click.command(
    cls=panels.Command,
    epilog="Example: export-and-verify check-vectors model.vec model.bin --engine ./libmine.so",
)
@with_options(
    click.argument("vectors", type=PATH, metavar="VECTORS", panel=panels.SOURCE, help="Golden vectors."),
    click.argument("file", type=PATH, metavar="FILE", panel=panels.SOURCE, help="The .bin file that they are of."),
    *ENGINE,
    _of_output("--quiet", is_flag=True, help="Print nothing but errors: the exit status answers."),
)
@click.pass_context
def check_vectors(context: click.RichContext, /, vectors: Path, file: Path, quiet: bool, **given: Any) -> int:
    """Compare an engine with golden vectors; without --engine, this package's own reader.

    Exit status: 0 if every kept logit is within the limit, 1 if one is not, 2 for trouble.
    """
    expect_engine(context)
    from verify.engine.command import EngineFailedError  # noqa: PLC0415
    from verify.vectors.asserting import success  # noqa: PLC0415
    from verify.vectors.checking import check_engine, check_reader, read_vectors  # noqa: PLC0415

    engine = engine_of(*(given[name] for name in OF_ENGINE))
    known = read_vectors(vectors)
    try:
        found = check_reader(known, file) if engine is None else check_engine(known, engine, file)
    except EngineFailedError as error:
        click.echo(f"fail: the engine failed: {error}")
        return 1
    if not quiet:
        if found.first is not None:
            click.echo(f"fail: {found.first}")
        else:
            click.echo(f"pass: {success(found, known, int8=given['engine_activations'] == 'q8')}")
    return 0 if found.passed else 1
