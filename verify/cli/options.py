"""Options that several commands share, in the order of --help."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])


class _Path(click.Path):
    """A path that is not empty: an unset shell variable would otherwise mean the working directory."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            self.fail("expected a path, found none", param, ctx)
        return super().convert(value, param, ctx)


PATH = _Path(path_type=Path)
# as it was typed: "./a/b" is a path, and "a/b" may be a hub id
_SOURCE = _Path(path_type=str)


def _read_storage(_context: click.Context, _: click.Parameter, given: tuple[str, ...]) -> str | dict[str, str]:
    """Return one storage for all tensors, or patterns with theirs; a storage without a pattern matches all names."""
    if not given:
        return "source"
    if len(given) == 1 and "=" not in given[0]:
        return given[0]
    patterns: dict[str, str] = {}
    for text in given:
        pattern, _sign, storage = text.rpartition("=") if "=" in text else ("*", "=", text)
        # repeated at the end, because the order counts
        patterns.pop(pattern, None)
        patterns[pattern] = storage
    return patterns


_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


def _read_bytes(_context: click.Context, option: click.Parameter, given: str | None) -> int | None:
    """Return the bytes of a size such as 4GiB, 500MB, 1.5 GB, or plain bytes."""
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
    click.argument("source", type=_SOURCE),
    click.option("--source-kind", metavar="KIND", help="llama2c, meta, huggingface, v3 or bin.  [default: detected]"),
    click.option(
        "--follow-links", is_flag=True, help="Also read files outside the source's directory that links lead to."
    ),
    click.option(
        "--adapter", type=PATH, metavar="DIR", help="Merge this LoRA adapter of PEFT into a Hugging Face model."
    ),
    click.option("--rope-theta", type=float, metavar="X", help="RoPE's theta, where Meta's params.json omits it."),
    click.option(
        "--rope-scaling-factor",
        type=float,
        metavar="X",
        help="RoPE's scaling factor, where Meta's params.json omits it: 8 for Llama 3.1, 32 for Llama 3.2.",
    ),
    click.option(
        "--tied/--untied",
        default=None,
        help="Read one matrix as embedding and classifier, or two, where a llama2.c or Meta source leaves it open.",
    ),
)
EXPORT = (
    click.option("--format", "format_name", metavar="F", required=True, help="v0, v1, v1-fp32, v2, v3 or hf."),
    click.option(
        "--group-size",
        default=64,
        show_default=True,
        help="Weights that share a Q8_0 scale; reduced until it divides every row.",
    ),
    click.option("--exact-group-size", is_flag=True, help="Fail if --group-size does not divide every row."),
    click.option(
        "--storage",
        multiple=True,
        callback=_read_storage,
        metavar="[PATTERN=]S",
        help="Storage of v3's tensors: source (lossless), fp32, fp16, bf16 or q8_0; with PATTERN, of tensors whose "
        "names match. Repeat it as needed: the last match counts.  [default: source]",
    ),
    click.option(
        "--no-provenance",
        "provenance",
        is_flag=True,
        flag_value=False,
        default=True,
        help="Omit the digests of the source's files from v3.",
    ),
    click.option("--overwrite", is_flag=True, help="Replace an existing OUT."),
)
MAX_SEQ_LEN = click.option(
    "--max-seq-len",
    type=int,
    metavar="N",
    help="Sequence length in the header, at most the source's own if it states one.",
)
EVIDENCE = (
    click.option("--text", type=PATH, metavar="FILE", help="UTF-8 text to judge on; needs the source's tokenizer."),
    click.option(
        "--tokenizer",
        type=PATH,
        metavar="FILE",
        help="tokenizer.json, tokenizer.model or vocab.json.  [default: the one beside SOURCE]",
    ),
    click.option("--tokens", type=PATH, metavar="FILE", help="Integers [windows, length] to judge on, as .npy."),
    click.option(
        "--windows",
        type=int,
        metavar="N",
        help="Number of random windows, and most windows of text.  [default: by depth]",
    ),
    click.option("--length", type=int, metavar="T", help="Tokens in a window.  [default: by depth]"),
    click.option(
        "--seed",
        type=int,
        metavar="S",
        help="Seed of the random windows.  [default: the baseline's; without one, from the file's sha256]",
    ),
    click.option(
        "--depth", default="standard", show_default=True, help="How much evidence: quick, standard or full."
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
        help="Judge this program too: 'mine {file} {tokens} {logits}' reads int32 ids and writes float32 logits.",
    ),
    click.option(
        "--engine-activations",
        default="fp32",
        show_default=True,
        help="Activations of the engine: fp32 or q8 (runq.c).",
    ),
    click.option(
        "--engine-timeout",
        default=600.0,
        show_default=True,
        metavar="S",
        help="Seconds that the engine may take for one window.",
    ),
    click.option(
        "--engine-memory",
        callback=_read_bytes,
        metavar="SIZE",
        help="Address space that the engine may take, as 4GiB or 500MB.  [default: no limit]",
    ),
)
MEMORY = click.option(
    "--memory",
    callback=_read_bytes,
    metavar="SIZE",
    help="Memory to take at most, as 4GiB; a larger model is read layer by layer.  [default: no limit]",
)
RESUME = click.option(
    "--resume",
    type=PATH,
    metavar="DIR",
    help="Store evidence in DIR; an interrupted run continues from there.",
)
CLUSTER = (
    click.option(
        "--cluster",
        metavar="ADDRESS",
        help="Judge windows on Ray's workers: local to start some here, or an address.",
    ),
    click.option("--workers", type=int, metavar="N", help="Number of workers.  [default: one a core]"),
)
JUDGEMENT = (
    click.option("--policy", type=PATH, metavar="FILE", help="Limits, in TOML.  [default: the package's own]"),
    click.option(
        "--baseline",
        type=PATH,
        metavar="REPORT",
        help="report.json of the last release, on the same windows: a worse file fails.",
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
SIGN_KEY = click.option(
    "--sign-key",
    type=PATH,
    metavar="KEY.pem",
    help="Sign the report with this elliptic-curve private key, as report.sig; needs the extra sign.",
)
PUBLIC_KEY = click.option(
    "--public-key",
    type=PATH,
    metavar="KEY.pub",
    help="Judge only a report that is signed by the private key of this public key.",
)
OUTPUT = (
    click.option(
        "--report",
        type=PATH,
        metavar="DIR",
        help="Write report.json, report.html, junit.xml, attestation.json and summary.md into this directory.",
    ),
    click.option("--json", is_flag=True, help="Print report.json, and nothing else, on standard output."),
    click.option("--quiet", is_flag=True, help="Print nothing but errors."),
    click.option("--threads", type=int, metavar="N", help="Threads of PyTorch.  [default: all cores]"),
)


VERBOSE = click.option(
    "--verbose", is_flag=True, help="Show how long each stage takes; report.json and junit.xml then say so, too."
)


def with_options(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Apply shared options in the order of the list."""

    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate
