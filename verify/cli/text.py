"""The commands about words: generate and perplexity. Slow imports stand inside the commands."""

from __future__ import annotations

import shlex
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click
from click.core import ParameterSource

from verify.cli import panels
from verify.cli.arguments import explaining, naming_options
from verify.cli.option_types import PATH, Choice
from verify.cli.options import ACTIVATIONS, with_options
from verify.cli.prompts import prompt_of
from verify.cli.streaming import Rate, Text
from verify.cli.usage import PROGRAM
from verify.system.signals import Interrupted, heed

if TYPE_CHECKING:
    import reader_c

_of_text, _of_output = (partial(click.option, panel=panel) for panel in (panels.TEXT, panels.OUTPUT))

_FILE = click.argument("file", type=PATH, metavar="FILE", panel=panels.SOURCE, help="A .bin file.")
_COMPUTING = (
    click.option(
        "--arithmetic",
        type=Choice(("fast", "mirror")),
        default="fast",
        show_default=True,
        panel=panels.RESOURCES,
        help="fast, or mirror: the order of operations of run.c and runq.c.",
    ),
    click.option(
        "--activations",
        type=Choice(ACTIVATIONS),
        default="fp32",
        show_default=True,
        panel=panels.RESOURCES,
        help="fp32, or q8 (runq.c) for Q8_0 files.",
    ),
    click.option(
        "--threads",
        type=int,
        metavar="N",
        panel=panels.RESOURCES,
        help="Threads of the reader.  [default: one a core]",
    ),
)
# how the reader ends its message where it was given a tokenizer of another kind
_OTHER_TOKENIZERS = ("tokenizer.json?)", "SentencePiece model?)")
_QUIET = _of_output("--quiet", is_flag=True, help="Print nothing else.")


@click.command(
    cls=panels.Command, epilog='Example: export-and-verify generate model.bin "Once upon a time" --temperature 0.8'
)
@with_options(
    _FILE,
    click.argument(
        "prompt",
        default="",
        metavar="[PROMPT]",
        panel=panels.SOURCE,
        help="The text to continue; - for that of standard input.",
    ),
    _of_text("--prompt-file", type=PATH, metavar="FILE", help="Continue the text in this file."),
    _of_text(
        "--tokenizer",
        type=PATH,
        metavar="FILE",
        help="llama2.c's tokenizer.bin.  [default: the model's own, else the one beside FILE]",
    ),
    _of_text("--temperature", default=1.0, show_default=True, metavar="X", help="0 for the most probable token."),
    _of_text(
        "--top-p",
        default=0.9,
        show_default=True,
        metavar="P",
        help="Draw from the fewest tokens that are more probable than P together; 0 or 1 for all tokens.",
    ),
    _of_text("--seed", type=int, metavar="S", help="Seed of the draws, at least 1.  [default: from the time]"),
    _of_text(
        "--steps",
        default=256,
        show_default=True,
        metavar="N",
        help="Tokens, the prompt's included; 0 for as many as fit.",
    ),
    _of_text(
        "--chat",
        is_flag=True,
        help="Answer PROMPT by the chat template in FILE; on a terminal, go on with what you type.",
    ),
    *_COMPUTING,
    _QUIET,
)
@click.pass_context
def generate(
    context: click.RichContext,
    /,
    file: Path,
    prompt: str,
    prompt_file: Path | None,
    tokenizer: Path | None,
    seed: int | None,
    chat: bool,
    quiet: bool,
    **how: Any,
) -> int:
    """Continue PROMPT with the model in FILE. With --arithmetic mirror, the text is run.c's own, byte for byte."""
    import reader_c  # noqa: PLC0415

    prompt = prompt_of(prompt, prompt_file)
    seed = time.time_ns() % 2**32 + 1 if seed is None else seed
    if chat:
        if context.get_parameter_source("steps") is ParameterSource.DEFAULT:
            how["steps"] = 0
        return _chat(file, prompt, tokenizer, seed, quiet=quiet, **how)
    with explaining(file), naming_options(), reader_c.open(file) as model:
        words = model.tokenizer if tokenizer is None else None
        words = words or _open_tokenizer(file, tokenizer, model.config.vocab_size)
        out, rate, fed = Text(), Rate(), len(words.encode(prompt, bos=False, eos=False))
        try:
            for number, piece in enumerate(reader_c.generate(model, words, prompt, seed=seed, **how)):
                heed()
                out.write(piece)
                rate.count_token()
                if number < fed:
                    rate.pause()
        except Interrupted:
            out.write(b"\n")
            raise
        out.write(b"\n")
        if not quiet:
            _note_full(model.config.max_seq_len, how["steps"], fed)
    if not quiet:
        rate.show(seed)
    return 0


def _note_full(longest: int, steps: int, tokens: int) -> None:
    """Say why nothing was generated, if the prompt alone takes all steps."""
    most = min(steps or longest, longest)
    if tokens >= most:
        advice = "give more --steps" if most < longest else "the model's max_seq_len allows no more"
        click.echo(
            f"note: PROMPT: expected fewer than {most:,} tokens, found {tokens:,}: nothing follows them; {advice}",
            err=True,
        )


def _chat(
    file: Path,
    prompt: str,
    tokenizer: Path | None,
    seed: int,
    *,
    temperature: float,
    top_p: float,
    steps: int,
    threads: int | None,
    quiet: bool,
    **how: Any,
) -> int:
    """Answer the prompt, then whatever a person types, by the file's own tokenizer and template."""
    import reader_c  # noqa: PLC0415
    from verify.cli.chatting import Conversation, tokenizer_with_template, turns  # noqa: PLC0415
    from verify.errors import CannotJudgeError  # noqa: PLC0415

    if tokenizer is not None:
        raise CannotJudgeError("--tokenizer: expected none beside --chat, which takes the one in FILE, found one")
    if steps < 0:
        raise CannotJudgeError(f"--steps: expected 0 or more, found {steps}")
    if not prompt and not sys.stdin.isatty():
        raise CannotJudgeError("--chat: expected PROMPT, found none")
    with explaining(file), naming_options(), reader_c.open(file) as model:
        words = tokenizer_with_template(model, file)
        sampler = reader_c.Sampler(temperature, top_p, seed)
        talk = Conversation(model, words, sampler, steps=steps, threads=threads, **how)
        out, rate = Text(), Rate()
        try:
            for said in turns(prompt):
                for piece in talk.answer(said):
                    heed()
                    out.write(piece)
                    rate.count_token()
                out.write(b"\n")
                rate.pause()
        except Interrupted:
            out.write(b"\n")
            raise
        finally:
            talk.close()
    if not quiet:
        rate.show(seed)
    return 0


@click.command(
    cls=panels.Command,
    epilog="Example: export-and-verify perplexity model.bin heldout.txt --tokenizer tokenizer.model",
)
@with_options(
    _FILE,
    click.argument("text", type=PATH, metavar="TEXT", panel=panels.SOURCE, help="The text to score."),
    _of_text(
        "--tokenizer",
        type=PATH,
        metavar="FILE",
        help="tokenizer.bin, tokenizer.json, tokenizer.model or vocab.json.  [default: FILE's, or one beside it]",
    ),
    _of_text("--length", type=int, metavar="T", help="Tokens in a window.  [default: 1024, or max_seq_len]"),
    *_COMPUTING,
    _of_output("--json", is_flag=True, help="Print JSON, and nothing else, on standard output."),
    _of_output("--quiet", is_flag=True, help="Show no progress."),
)
def perplexity(file: Path, text: Path, tokenizer: Path | None, json: bool, quiet: bool, **how: Any) -> int:
    """Score every token of TEXT but the first: nats a token, perplexity, bits a byte. Needs no source."""
    from dataclasses import asdict  # noqa: PLC0415

    from verify.report.console import progress_bar, stdout_console  # noqa: PLC0415
    from verify.text import perplexity as measure  # noqa: PLC0415

    with explaining(file), naming_options(), progress_bar(enabled=not quiet) as progress:
        found = measure(file, text, tokenizer, progress=progress, **how)
    if json:
        import json as encoder  # noqa: PLC0415

        more = {"perplexity": found.perplexity, "perplexity_ci": found.perplexity_ci}
        click.echo(encoder.dumps({**asdict(found), **more}, indent=2))
        return 0
    console = stdout_console()
    for line in (
        f"nats a token: {found.nats_per_token:.4f}{_interval(found.nats_per_token_ci, 4)}",
        f"perplexity: {found.perplexity:.3f}{_interval(found.perplexity_ci, 3)}",
        f"bits a byte: {found.bits_per_byte:.4f}",
        f"scored: {found.scored:,} of {found.tokens:,} tokens, {found.bytes:,} bytes, in "
        f"{_windows(found.windows)} of up to {found.length} tokens; {found.arithmetic}, "
        f"activations {found.activations}",
    ):
        console.print(line, soft_wrap=True, markup=False)
    return 0


def _windows(count: int) -> str:
    return "1 window" if count == 1 else f"{count:,} windows"


def _interval(interval: tuple[float, float] | None, digits: int) -> str:
    if interval is None:
        return " (no interval: one window)"
    return f" (95 % interval {interval[0]:.{digits}f} to {interval[1]:.{digits}f})"


def _open_tokenizer(file: Path, given: Path | None, vocab_size: int) -> reader_c.Tokenizer:
    """Open the tokenizer.bin that was given, or the one beside the file. Raises CannotJudgeError, ReaderError."""
    import reader_c  # noqa: PLC0415
    from verify.errors import CannotJudgeError  # noqa: PLC0415

    path = given or file.parent / "tokenizer.bin"
    if given is None and not path.is_file():
        raise CannotJudgeError(f"{path}: expected llama2.c's tokenizer, found none: give one with --tokenizer FILE")
    try:
        return reader_c.Tokenizer(path, vocab_size)
    except reader_c.InvalidFileError as error:
        if not error.found.endswith(_OTHER_TOKENIZERS):
            raise
        write = shlex.join([PROGRAM, "tokenizer", str(path), "tokenizer.bin", "--format", "llama2c"])
        raise CannotJudgeError(f"{error}: write it in llama2.c's format first: `{write}`") from error
