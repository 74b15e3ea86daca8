"""Policies: how far each check may go before a file is refused, and which checks may be left out."""

from __future__ import annotations

import hashlib
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import reader_c
from verify.checks.result import CHECKS
from verify.errors import CannotJudgeError
from verify.sources import Source
from verify.system.optional_imports import one_line
from verify.system.reading import read_given

DEFAULT_POLICY = Path(__file__).with_name("policy.toml")
_DEFAULT = "default"

# What a limit may be; those that are shares of something end at 1.
_MOST = {"top1_agreement": 1.0}
_MOST_OF_OTHERS = 1e9

# The default has a tenth of that, and lines of a tenth.
_MOST_BYTES = 1 << 16
_LONGEST_LINE = 1000


@dataclass(frozen=True)
class OperationLimits:
    """error_over_bound: the most that an operation's error may be of its bound. 1 is what is proved."""

    error_over_bound: float


@dataclass(frozen=True)
class ExecutionLimits:
    """noise_sigmas: the most that a logit may be off, in standard deviations of float32 rounding."""

    noise_sigmas: float


@dataclass(frozen=True)
class QuantizationLimits:
    """top1_agreement is the least that passes, all others are the most. KL in nats."""

    kl_mean: float
    kl_max: float
    top1_agreement: float
    max_abs_logit_error: float
    perplexity_ratio: float


@dataclass(frozen=True)
class BaselineLimits:
    """By how much a file may be worse than its baseline without being called so: what is added to mean KL or to RMS
    logit error, taken from top-1 agreement, or multiplied on perplexity."""

    kl_mean: float
    top1_agreement: float
    rms_logit_error: float
    perplexity_ratio: float


@dataclass(frozen=True)
class Policy:
    """One table of a policy file, and where it stood: "default" is the package's own. may_be_skipped: names of
    checks. operations: None for a directory, whose engine records none."""

    path: str
    sha256: str
    section: str
    may_be_skipped: tuple[str, ...]
    operations: OperationLimits | None
    execution: ExecutionLimits
    quantization: QuantizationLimits
    baseline: BaselineLimits


# check -> what its table holds
_TABLES: dict[str, Any] = {
    "operations": OperationLimits,
    "execution": ExecutionLimits,
    "quantization": QuantizationLimits,
    "baseline": BaselineLimits,
}
_TABLES_OF_DIRECTORY = {check: kind for check, kind in _TABLES.items() if check != "operations"}


def policy_section(model: reader_c.Model, source: Source) -> str:
    """The policy's table for a file: its format; for v3 "v3" where no tensor lost anything, "v3-q8_0" where one is
    Q8_0, else "v3-half"."""
    if model.format != "v3":
        return model.format
    stored = [model.storage(name) for name in model.names]
    if any(how.storage == "q8_0" for how in stored):
        return "v3-q8_0"
    known = source.hyperparameters.shapes()
    narrow = [how for how in stored if how.storage != "fp32" and how.name in known]
    return "v3" if all(how.storage == source.dtype(how.name) for how in narrow) else "v3-half"


def load_policy(path: Path, section: str) -> Policy:
    """One table of a policy. Every key must be known and present, every limit a finite number: a policy that is
    misread would pass what it was written to stop. Raises CannotJudgeError."""
    content, policy = _read(path)
    with DEFAULT_POLICY.open("rb") as file:
        formats = tomllib.load(file).keys()
    for name, table in policy.items():
        if name not in formats or not isinstance(table, dict):
            raise CannotJudgeError(f"{path}: expected tables {', '.join(formats)}, found {name!r:.80}")
        tables = _tables_of(name)
        _check_keys(f"{path}: [{name}]", table, {"may_be_skipped", *tables})
        _check_skipping(f"{path}: [{name}] may_be_skipped", table["may_be_skipped"])
        for check, kind in tables.items():
            _check_limits(f"{path}: [{name}.{check}]", table[check], {field.name for field in fields(kind)})
    if section not in policy:
        raise CannotJudgeError(f"{path}: expected a table [{section}], found none")
    chosen = policy[section]
    limits = {check: kind(**chosen[check]) for check, kind in _tables_of(section).items()}
    return Policy(
        path=_named(path),
        sha256=hashlib.sha256(content).hexdigest(),
        section=section,
        may_be_skipped=tuple(chosen["may_be_skipped"]),
        **{"operations": None, **limits},
    )


def _tables_of(section: str) -> dict[str, Any]:
    return _TABLES_OF_DIRECTORY if section == "hf" else _TABLES


def _named(path: Path) -> str:
    """How a report names a policy: by one word the package's own, and by that word no other."""
    if path == DEFAULT_POLICY:
        return _DEFAULT
    return f"./{path}" if str(path) == _DEFAULT else str(path)


def _read(path: Path) -> tuple[bytes, dict[str, Any]]:
    try:
        content = read_given(path, _MOST_BYTES)
    except OSError as error:
        raise CannotJudgeError(f"{path}: expected a policy, found: {(error.strerror or '').lower()}") from error
    # a key of many parts takes the parser the square of their number
    if (longest := max(map(len, content.split(b"\n")))) > _LONGEST_LINE:
        raise CannotJudgeError(f"{path}: expected lines of at most {_LONGEST_LINE} bytes, found one of {longest}")
    try:
        return content, tomllib.loads(content.decode())
    except (ValueError, RecursionError) as error:
        raise CannotJudgeError(f"{path}: expected TOML, found: {one_line(error)}") from error


def _check_keys(where: str, table: dict[str, Any], known: set[str]) -> None:
    for key in table:
        if key not in known:
            raise CannotJudgeError(f"{where}: expected {', '.join(sorted(known))}, found {key!r:.80}")
    if missing := sorted(known - table.keys()):
        raise CannotJudgeError(f"{where}: expected {missing[0]}, found none")


def _check_skipping(where: str, names: object) -> None:
    if not isinstance(names, list):
        raise CannotJudgeError(f"{where}: expected a list of checks, found {names!r:.80}")
    for name in names:
        if name not in CHECKS:
            raise CannotJudgeError(f"{where}: expected names of checks ({', '.join(CHECKS)}), found {name!r:.80}")


def _check_limits(where: str, table: object, known: set[str]) -> None:
    if not isinstance(table, dict):
        raise CannotJudgeError(f"{where}: expected a table of limits, found {table!r:.80}")
    _check_keys(where, table, known)
    for key, value in table.items():
        most = _MOST.get(key, _MOST_OF_OTHERS)
        # a NaN is in no range
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= most:
            raise CannotJudgeError(f"{where} {key}: expected 0 to {most:g}, found {value!r:.80}")
