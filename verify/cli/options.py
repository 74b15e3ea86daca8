"""Options that several commands have, in the order of --help."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])


class _Path(click.Path):
    """An empty one, as a variable that is not set gives, would be the working directory."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            self.fail("expected a path, found none", param, ctx)
        return super().convert(value, param, ctx)


PATH = _Path(path_type=Path)


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


_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


def _read_bytes(_context: click.Context, option: click.Parameter, given: str | None) -> int | None:
    """A size as people write it: 4GiB, 500MB, 1.5 GB, or plain bytes."""
    if given is None:
        return None
    found = re.fullmatch(r"\s*([0-9]{1,15}(?:\.[0-9]{1,6})?)\s*([A-Za-z]*)\s*", given)
    if not found or found[2].upper() not in _UNITS or not (size := int(float(found[1]) * _UNITS[found[2].upper()])):
        from verify.errors import CannotJudgeError  # noqa: PLC0415

        raise CannotJudgeError(f"{option.opts[0]}: expected a size as 4GiB or 500MB, found {given!r}")
    return size


def _print_policy(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        from verify.checks.policy import DEFAULT_POLICY  # noqa: PLC0415

        click.echo(DEFAULT_POLICY.read_text(encoding="utf-8"), nl=False)
        context.exit()


SOURCE = (
    click.argument("source", type=PATH),
    click.option("--source-kind", metavar="KIND", help="llama2c, meta, huggingface or v3.  [default: found out]"),
)
EXPORT = (
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
MAX_SEQ_LEN = click.option(
    "--max-seq-len", type=int, metavar="N", help="Length in the header, at most the source's own if it says one."
)
EVIDENCE = (
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
ENGINE = (
    click.option(
        "--engine",
        "engine_library",
        type=PATH,
        metavar="LIB",
        help="Judge this engine too: a shared library with llama2.c's build_transformer, forward and "
        "free_transformer.",
    ),
    click.option(
        "--engine-command",
        metavar="COMMAND",
        help="Likewise a program: 'mine {file} {tokens} {logits}' reads int32 token ids and writes float32 logits.",
    ),
    click.option(
        "--engine-activations", default="fp32", show_default=True, help="Of the engine: fp32 or q8 (runq.c)."
    ),
    click.option("--engine-timeout", default=600.0, show_default=True, metavar="S", help="Seconds for one window."),
    click.option(
        "--engine-memory",
        callback=_read_bytes,
        metavar="SIZE",
        help="Most address space of the engine, as 4GiB or 500MB.  [default: no limit]",
    ),
)
MEMORY = click.option(
    "--memory",
    callback=_read_bytes,
    metavar="SIZE",
    help="Take no more than this, as 4GiB: piece by piece, if need be.  [default: what there is]",
)
RESUME = click.option(
    "--resume",
    type=PATH,
    metavar="DIR",
    help="Keep evidence in DIR as it is found; a run that was interrupted goes on from there.",
)
CLUSTER = (
    click.option(
        "--cluster", metavar="ADDRESS", help="Judge windows on Ray's workers: local starts some here, or an address."
    ),
    click.option("--workers", type=int, metavar="N", help="How many of them.  [default: a core each]"),
)
JUDGEMENT = (
    click.option(
        "--policy", type=PATH, metavar="FILE", help="Thresholds, in TOML.  [default: shipped in the package]"
    ),
    click.option(
        "--baseline",
        type=PATH,
        metavar="REPORT",
        help="The last release's report.json, judged on the same windows: to be worse is a failure.",
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
OUTPUT = (
    click.option(
        "--report",
        type=PATH,
        metavar="DIR",
        help="Write report.json, report.html, junit.xml, attestation.json and summary.md into this directory.",
    ),
    click.option("--json", is_flag=True, help="Print report.json on standard output, and nothing else there."),
    click.option("--quiet", is_flag=True, help="Print nothing but errors."),
    click.option("--threads", type=int, metavar="N", help="Threads of PyTorch.  [default: all cores]"),
)


def with_options(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Apply shared options in the order in which they are listed."""

    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate
