"""The command certify: how long greedy text is certain, and whether an engine's text has a defect."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import rich_click as click

from verify.cli import panels
from verify.cli.arguments import expect_order, explaining
from verify.cli.option_types import PATH, Choice
from verify.cli.options import READING, SOURCE, with_options
from verify.cli.prepare import start_pytorch
from verify.cli.results import print_json

_of_text = partial(click.option, panel=panels.EVIDENCE)


@click.command(
    cls=panels.Command,
    epilog='Example: export-and-verify certify model.pt model.bin mine.txt theirs.txt --prompt "Once upon a time"',
)
@with_options(
    SOURCE,
    click.argument("file", type=PATH, metavar="FILE", panel=panels.SOURCE, help="The .bin file that engines run."),
    click.argument(
        "outputs",
        type=PATH,
        nargs=-1,
        metavar="[OUTPUT]...",
        panel=panels.SOURCE,
        help="What engines gave: a text with its prompt; as .npy token ids [length], or float32 logits "
        "[length, vocab_size].",
    ),
    *READING,
    _of_text("--prompt", metavar="TEXT", help="The text that greedy text continues."),
    _of_text("--prompt-file", type=PATH, metavar="FILE", help="The file that holds this text; - for standard input."),
    _of_text("--ids", type=PATH, metavar="FILE", help="Token ids [length] instead, as .npy; logits are theirs."),
    _of_text("--tokenizer", type=PATH, metavar="FILE", help="For texts.  [default: the one beside SOURCE]"),
    _of_text("--steps", type=int, default=64, show_default=True, metavar="N", help="Tokens to certify of no OUTPUT."),
    _of_text(
        "--activations",
        type=Choice(("fp32", "q8")),
        default="fp32",
        show_default=True,
        metavar="KIND",
        help="q8: the engines round activations to int8, as runq.c does; their choices are exact.",
    ),
    click.option("--json", is_flag=True, panel=panels.OUTPUT, help="Print JSON, and nothing else."),
    click.option("--quiet", is_flag=True, panel=panels.OUTPUT, help="Print nothing but errors: the status answers."),
)
def certify(
    source: str,
    file: Path,
    outputs: tuple[Path, ...],
    prompt: str | None,
    prompt_file: Path | None,
    ids: Path | None,
    tokenizer: Path | None,
    steps: int,
    activations: str,
    json: bool,
    quiet: bool,
    **given: Any,
) -> int:
    """Say how long greedy text is certain, or whether what engines gave is a tie within rounding or a defect.

    Exit status: 0 if a correct engine may have made every choice, 1 for a defect, 2 for trouble.
    """
    expect_order(source, file, "certify")
    if steps < 1:
        raise click.UsageError(f"--steps: expected 1 or more, found {steps}")
    from verify.cli.prompts import prompt_of  # noqa: PLC0415
    from verify.run.progress import no_progress  # noqa: PLC0415

    prompt = prompt_of(prompt or "", prompt_file, "--prompt")
    start_pytorch(None, no_progress)
    import reader_c  # noqa: PLC0415
    from verify.sources import open_source  # noqa: PLC0415
    from verify.system.numerics import pinned_numerics  # noqa: PLC0415
    from verify.vectors.certified import certify_greedy_text, certify_outputs  # noqa: PLC0415
    from verify.vectors.choices import GreedyJudge  # noqa: PLC0415
    from verify.vectors.engine_outputs import read_output, read_prompt  # noqa: PLC0415
    from verify.vectors.sentences import spelling  # noqa: PLC0415

    opened = open_source(source, kind=given.pop("source_kind"), **given)
    words, vocab_size = tokenizer or opened.tokenizer_path, opened.hyperparameters.vocab_size
    fed = read_prompt(prompt, ids, words, vocab_size)
    given_outputs = [read_output(path, fed, words, vocab_size) for path in outputs]
    with explaining(file), pinned_numerics(), reader_c.open(file, mapped=True, check_digests=False) as model:
        judge = GreedyJudge(model, opened, int8=activations == "q8")
        if given_outputs:
            found = certify_outputs(judge, given_outputs, words)
        else:
            found = certify_greedy_text(judge, fed, steps)
    if json:
        print_json({"file": str(file), "activations": activations, **found.to_dict()})
    elif not quiet:
        for line in found.lines(spelling(words)):
            click.echo(line)
    return 0 if found.passed else 1
