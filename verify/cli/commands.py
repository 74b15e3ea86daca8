"""The program and its commands."""

from __future__ import annotations

import rich_click as click

from verify.cli import certifying, exporting, golden, help_pages, judging, looking, panels, text, tokenizers
from verify.cli.defaults import give_variables


@click.group(
    cls=panels.Group,
    epilog="Exit status: 0 pass; 1 judged and failed; 2 could not be judged.\nExample: export-and-verify demo",
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.rich_config(help_config=panels.HELP)
@click.version_option(None, "-V", "--version", package_name="export-and-verify", message="%(package)s %(version)s")
@click.command_panel("Release", commands=["demo", "export", "verify", "release", "judge"])
@click.command_panel("Look into files", commands=["inspect", "diff"])
@click.command_panel("Engines", commands=["vectors", "check-vectors", "certify"])
@click.command_panel("Text", commands=["generate", "perplexity", "tokenizer"])
@click.command_panel("Help", commands=["docs", "completion"])
def app() -> None:
    """Writes llama2.c-style .bin files from PyTorch checkpoints and proves what they compute."""


for _command in (
    exporting.demo,
    exporting.export,
    judging.verify,
    judging.release,
    judging.judge,
    looking.inspect,
    looking.diff,
    golden.vectors,
    golden.check_vectors,
    certifying.certify,
    text.generate,
    text.perplexity,
    tokenizers.tokenizer,
    help_pages.docs,
    help_pages.completion,
):
    app.add_command(_command)
give_variables(app.commands.values())
