"""Options that several commands share, in the order of --help."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import rich_click as click

from verify.cli import panels
from verify.cli.defaults import read_config
from verify.cli.option_types import PATH, SIZE, SOURCE_PATH, TARGET, Choice, one_of, read_group_size, read_storage

Command = TypeVar("Command", bound=Callable[..., Any])

# Those of exporter.FORMATS and of verify's own tables, which take long to import; a test compares them.
FORMATS = ("v0", "v1", "v1-fp32", "v2", "v3", "ajc1", "hf")
KINDS = ("llama2c", "meta", "huggingface", "v3", "bin")
DEPTHS = ("quick", "standard", "full")
ACTIVATIONS = ("fp32", "q8")
# What says how a file is exported, besides its format; other options say how the source is read.
OF_EXPORT = ("group_size", "exact_group_size", "storage", "provenance", "tokenizer_block", "overwrite")

_of_source, _of_format, _of_evidence, _of_judgement, _of_engine, _of_resources, _of_output = (
    partial(click.option, panel=panel)
    for panel in (
        panels.SOURCE,
        panels.FORMAT,
        panels.EVIDENCE,
        panels.JUDGEMENT,
        panels.ENGINE,
        panels.RESOURCES,
        panels.OUTPUT,
    )
)


def _print_policy(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        from verify.checks.policy import DEFAULT_POLICY  # noqa: PLC0415

        click.echo(DEFAULT_POLICY.read_text(encoding="utf-8"), nl=False)
        context.exit()


SOURCE = click.argument(
    "source",
    type=SOURCE_PATH,
    metavar="SOURCE",
    panel=panels.SOURCE,
    help="The checkpoint: a Hugging Face directory or hub id, Meta's directory, a llama2.c .pt, or any .bin file.",
)
FILE = click.argument(
    "file",
    type=PATH,
    metavar="FILE",
    panel=panels.SOURCE,
    help="The .bin file or Hugging Face directory to judge, written by any program.",
)
OUT = click.argument(
    "out",
    type=TARGET,
    metavar="OUT",
    panel=panels.SOURCE,
    help="The file, or with --format hf the directory, to write.",
)
READING = (
    _of_source(
        "--source-kind",
        type=Choice(KINDS),
        metavar="KIND",
        help=f"Read SOURCE as this kind: {one_of(KINDS)}.  [default: detected]",
    ),
    _of_source(
        "--follow-links", is_flag=True, help="Also read files outside the source's directory that links lead to."
    ),
    _of_source(
        "--adapter", type=PATH, metavar="DIR", help="Merge this LoRA adapter of PEFT into a Hugging Face model."
    ),
    _of_source("--rope-theta", type=float, metavar="X", help="RoPE's theta, where Meta's params.json omits it."),
    _of_source(
        "--rope-scaling-factor",
        type=float,
        metavar="X",
        help="RoPE's scaling factor, where Meta's params.json omits it: 8 for Llama 3.1, 32 for Llama 3.2.",
    ),
    _of_source(
        "--tied/--untied",
        default=None,
        help="Read one matrix as embedding and classifier, or two, where a llama2.c or Meta source leaves it open.",
    ),
)
MAX_SEQ_LEN = _of_format(
    "--max-seq-len",
    type=int,
    metavar="N",
    help="Sequence length in the header, at most the source's own if it states one.",
)


def format_options(formats: tuple[str, ...]) -> tuple[Callable[[Command], Command], ...]:
    """Return the options of a command that exports in one of these formats."""
    return (
        _of_format("--format", "format_name", type=Choice(formats), required=True, help="What to write."),
        _of_format(
            "--group-size",
            type=int,
            default=64,
            show_default=True,
            metavar="N",
            callback=read_group_size,
            help="Weights that share a Q8_0 scale; reduced until it divides every row.",
        ),
        _of_format("--exact-group-size", is_flag=True, help="Fail if --group-size does not divide every row."),
        _of_format(
            "--storage",
            multiple=True,
            callback=read_storage,
            metavar="S|PATTERN=S",
            help="Storage of v3's tensors: source (lossless), fp32, fp16, bf16 or q8_0; with PATTERN, of tensors "
            "whose names match. Repeat it as needed: the last match counts. Vectors are never narrowed. Routers "
            "of experts are never quantized.  [default: source]",
        ),
        _of_format(
            "--no-provenance",
            "provenance",
            is_flag=True,
            flag_value=False,
            default=True,
            help="Omit the digests of the source's files from v3.",
        ),
        _of_format(
            "--with-tokenizer/--no-tokenizer",
            "tokenizer_block",
            default=None,
            help="Require a tokenizer in v3, or omit it.  [default: the source's, if v3 can hold it]",
        ),
        MAX_SEQ_LEN,
    )


OVERWRITE = _of_output("--overwrite", is_flag=True, help="Replace an existing OUT.")
EVIDENCE = (
    _of_evidence("--text", type=PATH, metavar="FILE", help="UTF-8 text to judge on; needs the source's tokenizer."),
    _of_evidence(
        "--tokenizer",
        type=PATH,
        metavar="FILE",
        help="tokenizer.json, tokenizer.model or vocab.json.  [default: the one beside SOURCE]",
    ),
    _of_evidence("--tokens", type=PATH, metavar="FILE", help="Integers [windows, length] to judge on, as .npy."),
    _of_evidence(
        "--windows",
        type=int,
        metavar="N",
        help="Number of random windows, and most windows of text.  [default: by depth]",
    ),
    _of_evidence("--length", type=int, metavar="T", help="Tokens in a window.  [default: by depth]"),
    _of_evidence(
        "--seed",
        type=int,
        metavar="S",
        help="Seed of the random windows.  [default: the baseline's; without one, from the file's sha256]",
    ),
    _of_evidence(
        "--depth", type=Choice(DEPTHS), default="standard", show_default=True, help="How much evidence to collect."
    ),
)
TOKENIZER_FILE = _of_evidence(
    "--tokenizer-file",
    type=PATH,
    metavar="FILE",
    help="Judge this tokenizer, too: llama2.c's tokenizer.bin, or a .tokenizer of qwen3.c.",
)
ENGINE = (
    _of_engine(
        "--engine",
        "engine_library",
        type=PATH,
        metavar="LIB",
        help="Judge this engine too: a shared library with llama2.c's build_transformer, forward and "
        "free_transformer.",
    ),
    _of_engine(
        "--engine-command",
        metavar="COMMAND",
        help="Judge this program too: 'mine {file} {tokens} {logits}' reads int32 ids and writes float32 logits.",
    ),
    _of_engine(
        "--engine-activations",
        type=Choice(ACTIVATIONS),
        default="fp32",
        show_default=True,
        help="Activations of the engine; q8 is what runq.c computes with.",
    ),
    _of_engine(
        "--engine-timeout",
        default=600.0,
        show_default=True,
        metavar="S",
        help="Seconds that the engine may take for one window.",
    ),
    _of_engine(
        "--engine-memory",
        type=SIZE,
        metavar="SIZE",
        help="Address space that the engine may take, as 4GiB or 500MB.  [default: no limit]",
    ),
)
MEMORY = _of_resources(
    "--memory",
    type=SIZE,
    metavar="SIZE",
    help="Memory to take at most, as 4GiB; a larger model is read layer by layer.  [default: no limit]",
)
THREADS = _of_resources("--threads", type=int, metavar="N", help="Threads of PyTorch.  [default: all cores]")
RESOURCES = (
    MEMORY,
    THREADS,
    _of_resources(
        "--resume", type=PATH, metavar="DIR", help="Store evidence in DIR; an interrupted run continues from there."
    ),
    _of_resources(
        "--cluster",
        metavar="ADDRESS",
        help="Judge windows on Ray's workers: local to start some here, or an address.",
    ),
    _of_resources("--workers", type=int, metavar="N", help="Number of workers.  [default: one a core]"),
)
JUDGEMENT = (
    _of_judgement("--policy", type=PATH, metavar="FILE", help="Limits, in TOML.  [default: the package's own]"),
    _of_judgement(
        "--baseline",
        type=PATH,
        metavar="REPORT",
        help="report.json of the last release, on the same windows: a worse file fails.",
    ),
    _of_judgement(
        "--print-policy",
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=_print_policy,
        help="Print the default policy and stop.",
    ),
)
SIGN_KEY = _of_output(
    "--sign-key",
    type=PATH,
    metavar="KEY.pem",
    help="Sign the report with this elliptic-curve private key, as report.sig. Needs the extra sign.",
)
PUBLIC_KEY = _of_judgement(
    "--public-key",
    type=PATH,
    metavar="KEY.pub",
    help="Judge only a report that is signed by the private key of this public key.",
)
REPORT = _of_output(
    "--report",
    type=PATH,
    metavar="DIR",
    help="Write report.json, report.html, junit.xml, attestation.json and summary.md into this directory.",
)
JSON = _of_output("--json", is_flag=True, help="Print report.json, and nothing else, on standard output.")
QUIET = _of_output("--quiet", is_flag=True, help="Print nothing but errors.")
VERBOSE = _of_output(
    "--verbose",
    is_flag=True,
    help="Show each setting with its origin, and how long each stage takes, also in report.json and junit.xml.",
)
CONFIG = _of_output(
    "--config",
    type=PATH,
    metavar="FILE.toml",
    is_eager=True,
    expose_value=False,
    callback=read_config,
    help="Defaults of these options.  [default: [tool.export-and-verify] in the nearest pyproject.toml]",
)
OUTPUT = (REPORT, JSON, QUIET, VERBOSE, CONFIG)


def with_options(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Apply shared options in the order of the list."""

    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate
