"""The command that writes a tokenizer's file in another format."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from verify.cli import panels
from verify.cli.option_types import SOURCE_PATH, Choice
from verify.cli.options import OUT, OVERWRITE, QUIET, with_options
from verify.cli.results import show_notes

# Those of exporter.TOKENIZER_FORMATS, which take long to import; a test compares them.
FORMATS = ("llama2c", "qwen3c", "v3")


@click.command(
    cls=panels.Command, epilog="Example: export-and-verify tokenizer tokenizer.model tokenizer.bin --format llama2c"
)
@with_options(
    click.argument(
        "source",
        type=SOURCE_PATH,
        metavar="SOURCE",
        panel=panels.SOURCE,
        help="A tokenizer's file, or a directory with one: tokenizer.json, tokenizer.model, vocab.json with "
        "merges.txt, qwen.tiktoken, tokenizer.bin.",
    ),
    OUT,
    click.option(
        "--format",
        "format_name",
        type=Choice(FORMATS),
        required=True,
        panel=panels.FORMAT,
        help="llama2.c's tokenizer.bin, qwen3.c's .tokenizer, or v3's tokenizer block.",
    ),
    click.option(
        "--vocab-size",
        type=click.IntRange(min=1),
        metavar="N",
        panel=panels.FORMAT,
        help="The model's number of tokens: fail if OUT would not serve it.",
    ),
    click.option(
        "--follow-links",
        is_flag=True,
        panel=panels.SOURCE,
        help="Also read files outside the source's directory that links lead to.",
    ),
    OVERWRITE,
    QUIET,
)
def tokenizer(
    source: str,
    out: Path,
    format_name: str,
    vocab_size: int | None,
    follow_links: bool,
    overwrite: bool,
    quiet: bool,
) -> int:
    """Write a tokenizer in another format, or name what that format cannot hold."""
    import exporter  # noqa: PLC0415
    from verify.report.console import stdout_console  # noqa: PLC0415

    summary = exporter.export_tokenizer(
        source, out, format=format_name, vocab_size=vocab_size, overwrite=overwrite, follow_links=follow_links
    )
    show_notes(summary.notes)
    if not quiet:
        stdout_console().print(
            f"{summary.path}: {summary.format}, {summary.bytes:,} bytes, {summary.tokens:,} tokens, "
            f"sha256 {summary.sha256}",
            soft_wrap=True,
            markup=False,
        )
    return 0
