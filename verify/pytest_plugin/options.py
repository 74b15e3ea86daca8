"""The options of the pytest plugin: most are those of the command line, with the same words."""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from verify.checks.result import checks_made

if TYPE_CHECKING:
    from verify.engine.command import Engine
    from verify.run.options import Options

# (option, type, metavar, help); a hub id as the source is text, all other paths are relative to where pytest started
_FILES = (
    ("policy", "P", "Limits, in TOML. Default: those of the package."),
    ("text", "FILE", "UTF-8 text to judge on; needs the source's tokenizer."),
    ("tokenizer", "FILE", "The text's tokenizer. Default: the one beside the source."),
    ("tokenizer-file", "FILE", "Judge this tokenizer.bin or .tokenizer, too."),
    ("tokens", "FILE", "Integers [windows, length] to judge on, as .npy."),
    ("baseline", "REPORT", "report.json of the last release: a worse file fails."),
    ("engine", "LIB", "Judge this engine too: a shared library with llama2.c's functions."),
)
_WORDS: tuple[tuple[str, Any, str, str], ...] = (
    ("depth", str, "D", "quick, standard (default) or full."),
    ("windows", int, "N", "Number of random windows. Default: by depth."),
    ("length", int, "T", "Tokens in a window. Default: by depth."),
    ("seed", int, "S", "Seed of the random windows. Default: the baseline's, or from the file."),
    ("engine-command", str, "COMMAND", "Judge this program too: 'mine {file} {tokens} {logits}'."),
    ("engine-activations", str, "A", "Activations of the engine: fp32 (default) or q8."),
    ("engine-timeout", float, "S", "Seconds that the engine may take for one window. Default: 600."),
    ("report", str, "DIR", "Write the report of each file into DIR/NAME, where NAME is the file's."),
    ("memory", int, "BYTES", "Memory to take at most; a larger model is read layer by layer."),
    ("source-kind", str, "KIND", "llama2c, meta, huggingface, v3 or bin. Default: detected."),
    ("adapter", str, "DIR", "Merge this LoRA adapter into a Hugging Face model."),
    ("max-seq-len", int, "N", "The length that the files state, if it is shorter than the source's."),
    ("rope-theta", float, "X", "RoPE's theta, where Meta's params.json omits it."),
    ("rope-scaling-factor", float, "X", "RoPE's scaling factor, where Meta's params.json omits it."),
)

# Magic number and version of v3; its header ends with the size of the tokenizer block after so many bytes.
_V3, _HEAD = (0x616B3432, 3), 200


def add_options(group: pytest.OptionGroup) -> None:
    """Add every option to pytest's own."""
    group.addoption("--verify-source", metavar="SOURCE", help="The checkpoint that the files were made from.")
    group.addoption(
        "--verify-file",
        metavar="FILE",
        action="append",
        default=[],
        help="A .bin file or a Hugging Face directory to judge; may be repeated.",
    )
    group.addoption(
        "--verify-vectors",
        metavar="FILE",
        help="Golden vectors that an engine must give: --verify-engine on --verify-file, the package's own reader "
        "without --verify-engine, or a function in tests with the fixture assert_golden_vectors.",
    )
    for name, metavar, text in _FILES:
        group.addoption(f"--verify-{name}", metavar=metavar, help=text)
    for name, kind, metavar, text in _WORDS:
        group.addoption(f"--verify-{name}", type=kind, metavar=metavar, help=text)
    group.addoption(
        "--verify-follow-links", action="store_true", help="Also read files outside the source that links lead to."
    )
    tied = {"dest": "verify_tied", "default": None}
    group.addoption("--verify-tied", action="store_true", help="Read one matrix as embedding and classifier.", **tied)
    group.addoption("--verify-untied", action="store_false", help="Read two matrices.", **tied)


@dataclass(frozen=True)
class Asked:
    """What the options ask for. given: their values by name, without the prefix; paths are whole.

    shared: the prefix of the files that all workers of pytest-xdist share; None without workers.
    """

    source: str | Path
    files: tuple[Path, ...]
    given: dict[str, Any]
    shared: Path | None

    def checks(self, file: Path) -> tuple[str, ...]:
        """Return the names of the checks that this file will have."""
        return checks_made(
            directory=file.is_dir(),
            engine=self._has_engine,
            coverage=_demands_coverage(self.given["policy"]),
            baseline=self.given["baseline"] is not None,
            tokenizer=self.given["tokenizer_file"] is not None or _holds_tokenizer(file),
        )

    def report_dir(self, file: Path) -> Path | None:
        """Return the directory for the report on this file."""
        report: Path | None = self.given["report"]
        return None if report is None else report / file.name

    def options(self, file: Path) -> Options:
        """Return the options of the verdict. Raises CannotJudgeError."""
        from verify.evidence import Evidence  # noqa: PLC0415  # torch and numpy come with these
        from verify.run.options import Options  # noqa: PLC0415

        given = {name: value for name, value in self.given.items() if value is not None}
        evidence = ("depth", "windows", "length", "seed", "text", "tokenizer", "tokens")
        reading = (
            "tokenizer_file",
            "policy",
            "baseline",
            "memory",
            "source_kind",
            "adapter",
            "max_seq_len",
            "follow_links",
            "tied",
        )
        of_rope = ("rope_theta", "rope_scaling_factor")
        return Options(
            evidence=Evidence(**{name: given[name] for name in evidence if name in given}),
            engine=engine_of(given),
            report_dir=self.report_dir(file),
            **{name: given[name] for name in (*reading, *of_rope) if name in given},
        )

    @property
    def _has_engine(self) -> bool:
        return self.given["engine"] is not None or self.given["engine_command"] is not None


def engine_of(given: dict[str, Any]) -> Engine | None:
    """Return the engine that the options name, None if they name none. Raises CannotJudgeError."""
    library, command = given.get("engine"), given.get("engine_command")
    if library is None and command is None:
        return None
    from verify.engine.command import Engine  # noqa: PLC0415  # torch and numpy come with it

    seconds, activations = given.get("engine_timeout") or 600.0, given.get("engine_activations") or "fp32"
    return Engine(library, command, seconds, activations=activations)  # type: ignore[arg-type]  # it checks the word


def asked_of(config: pytest.Config) -> Asked | None:
    """Return what the options ask for, None where they ask for no verdict on a file. Raises UsageError."""
    source, files = config.getoption("verify_source"), config.getoption("verify_file")
    # golden vectors need no source
    if source is None and (not files or config.getoption("verify_vectors") is not None):
        return None
    if source is None or not files:
        given, absent = ("--verify-file", "--verify-source") if files else ("--verify-source", "--verify-file")
        raise pytest.UsageError(f"{given}: expected {absent} beside it, found none")
    here = config.invocation_params.dir
    for file in files:
        if not (here / file).is_file() and not (here / file / "config.json").is_file():
            raise pytest.UsageError(f"--verify-file: expected a file, found none: {file}")
    if not (here / source).exists():
        # with one slash it may be a hub id, which only the verifier can decide
        if source.count("/") != 1:
            raise pytest.UsageError(f"--verify-source: expected a checkpoint, found none: {source}")
    else:
        source = here / source
    # as pytest writes paths: without "..", but with a link's own name
    paths = tuple(dict.fromkeys(Path(os.path.abspath(here / file)) for file in files))  # noqa: PTH100
    values = given_of(config, here)
    if values["report"] is not None and len({path.name for path in paths}) < len(paths):
        raise pytest.UsageError("--verify-report: expected files of different names, found two of one name")
    return Asked(source, paths, values, _shared(config))


def given_of(config: pytest.Config, here: Path) -> dict[str, Any]:
    """Return the options by name. Raises UsageError for a file that is not there."""
    names = [name.replace("-", "_") for name, *_ in (*_FILES, *_WORDS)]
    given = {name: config.getoption(f"verify_{name}") for name in (*names, "follow_links", "tied")}
    files = [name.replace("-", "_") for name, *_ in _FILES]
    for name in files:
        if given[name] is not None and not (here / given[name]).is_file():
            option = f"--verify-{name.replace('_', '-')}"
            raise pytest.UsageError(f"{option}: expected a file, found none: {given[name]}")
    for name in (*files, "adapter", "report"):
        given[name] = None if given[name] is None else here / given[name]
    return given


def _shared(config: pytest.Config) -> Path | None:
    worker: dict[str, str] | None = getattr(config, "workerinput", None)
    own = config.getoption("basetemp")
    # a worker on another machine has no base directory
    if worker is None or own is None:
        return None
    return Path(own).parent / f"export-and-verify-{worker['testrunuid']}"


def _holds_tokenizer(file: Path) -> bool:
    """Return whether a file is v3 and says that it has a tokenizer block; the verdict says whether that is true."""
    try:
        with file.open("rb") as opened:
            head = opened.read(_HEAD)
    except OSError:
        return False  # a directory, or a file that the verdict refuses
    magic, version = int.from_bytes(head[:4], "little"), int.from_bytes(head[4:8], "little")
    return (magic, version) == _V3 and any(head[_HEAD - 8 :])


def _demands_coverage(policy: Path | None) -> bool:
    """Return whether a policy may demand coverage: for any format, as only the verdict knows which it judges by."""
    if policy is None:
        return False
    try:
        tables = tomllib.loads(policy.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False  # the verdict will say what is wrong with it
    return any(isinstance(table, dict) and "coverage" in table for table in tables.values())
