"""From the options of the command line to the frozen options of a verdict; refuses early what can be refused."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click
from click.core import ParameterSource

if TYPE_CHECKING:
    from verify.engine.command import Engine
    from verify.report.signature import SigningKey
    from verify.run.options import Options
    from verify.run.progress import Progress

# PyTorch starts as many as requested, and ends the process if the system refuses.
MOST_THREADS = 256
MOST_WORKERS = 10_000

_OF_EVIDENCE = ("text", "tokenizer", "tokens", "windows", "length", "seed", "depth", "prompts", "steps")
OF_ENGINE = ("engine_library", "engine_command", "engine_activations", "engine_timeout", "engine_memory")
_UNCHANGED = (
    *("policy", "baseline", "max_seq_len", "source_kind"),
    *("follow_links", "adapter", "rope_theta", "rope_scaling_factor", "tied"),
    *("memory", "resume", "cluster", "workers"),
)


def verdict_options(given: dict[str, Any], notes: tuple[str, ...] = ()) -> Options:
    """Return the options of a verdict, from those of the command line.

    notes: what the report must say about settings that nobody typed.
    Raises CannotJudgeError, before PyTorch is imported, for whatever can be refused without it.
    """
    _check_numbers(given["seed"], given["threads"], given["cluster"], given["workers"])
    report_dir = given["report"]
    if report_dir is not None:
        check_directory(report_dir)
    engine = engine_of(*(given[name] for name in OF_ENGINE)) if "engine_library" in given else None
    from verify.evidence import Evidence  # noqa: PLC0415  # --help does not wait for numpy
    from verify.run.options import Options  # noqa: PLC0415

    return Options(
        evidence=Evidence(**{name: given[name] for name in _OF_EVIDENCE}),
        engine=engine,
        report_dir=report_dir,
        tokenizer_file=given.get("tokenizer_file"),  # release writes its own
        notes=notes,
        **{name: given[name] for name in _UNCHANGED},
    )


def _check_numbers(seed: int | None, threads: int | None, cluster: str | None, workers: int | None) -> None:
    from verify.errors import CannotJudgeError  # noqa: PLC0415

    if seed is not None and seed < 0:
        raise CannotJudgeError(f"--seed: expected 0 or more, found {seed}")
    if threads is not None and not 1 <= threads <= MOST_THREADS:
        raise CannotJudgeError(f"--threads: expected 1 to {MOST_THREADS}, found {threads}")
    if workers is not None and cluster is None:
        raise CannotJudgeError("--workers: expected --cluster beside it, found none")
    if workers is not None and not 1 <= workers <= MOST_WORKERS:
        raise CannotJudgeError(f"--workers: expected 1 to {MOST_WORKERS}, found {workers}")


def expect_engine(context: click.Context) -> None:
    """Raise UsageError for an option of an engine that was typed without an engine."""
    if context.params["engine_library"] is None and context.params["engine_command"] is None:
        for name in OF_ENGINE[2:]:
            if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
                option = f"--{name.replace('_', '-')}"
                raise click.UsageError(f"{option}: expected --engine or --engine-command beside it, found none")


def expect_prompts(context: click.Context) -> None:
    """Raise UsageError for --steps that was typed without --prompt, and for --prompt beside a directory's format."""
    prompts = context.params["prompts"]
    if not prompts and context.get_parameter_source("steps") is ParameterSource.COMMANDLINE:
        raise click.UsageError("--steps: expected --prompt beside it, found none")
    if prompts and context.params.get("format_name") == "hf":
        raise click.UsageError("--prompt: expected the format of a .bin file, found hf: omit --prompt")


def engine_of(
    library: Path | None, command: str | None, activations: str, seconds: float, memory: int | None
) -> Engine | None:
    """Return the engine that the options name, if they name one; raise CannotJudgeError if it cannot start."""
    if library is None and command is None:
        return None
    from verify.engine.command import Engine  # noqa: PLC0415

    engine = Engine(library, command, seconds, memory, activations)  # type: ignore[arg-type]  # it checks the word
    engine.check()
    return engine


def signing_key(path: Path | None, report_dir: Path | None, *, hashed: bool = True) -> SigningKey | None:
    """Return the key that signs the report, if one is given. Raises CannotJudgeError before anything is judged.

    hashed: whether the file that the report is about is there to be hashed.
    """
    if path is None:
        return None
    from verify.errors import CannotJudgeError  # noqa: PLC0415

    if report_dir is None:
        raise CannotJudgeError("--sign-key: expected --report beside it, found none")
    if not hashed:
        raise CannotJudgeError("--sign-key: expected FILE beside it, found none: a file as reported is not signed")
    from verify.report.signature import SigningKey  # noqa: PLC0415
    from verify.run.path_conflicts import refuse_replacing  # noqa: PLC0415

    refuse_replacing(report_dir, [path])
    return SigningKey(path)


def check_directory(directory: Path) -> None:
    """Raise CannotJudgeError for a directory that could not be written to later; create nothing yet."""
    from verify.errors import CannotJudgeError  # noqa: PLC0415

    # a dangling link exists, too
    nearest = next(path for path in (directory, *directory.absolute().parents) if os.path.lexists(path))
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        raise CannotJudgeError(f"{directory}: expected a directory that can be written to, found none")


def start_pytorch(threads: int | None, progress: Progress) -> None:
    """Import PyTorch, which takes longer than anything before it."""
    from verify.run.progress import whole_stage  # noqa: PLC0415  # --help does not wait for it
    from verify.system.pulse import IMPORTED, OF_PYTORCH  # noqa: PLC0415  # as above

    with whole_stage(progress, "PyTorch", IMPORTED * OF_PYTORCH):
        import torch  # noqa: PLC0415

        if threads is not None:
            torch.set_num_threads(threads)
