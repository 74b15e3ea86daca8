"""Load policies: the limits of each check, and which checks may be skipped."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Set
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

# The largest value of a limit; shares end at 1.
_MOST = {"top1_agreement": 1.0, "positions": 1.0, "token_ids": 1.0}
_MOST_OF_OTHERS = 1e9

# Ten times the size and the line length of the default policy.
_MOST_BYTES = 1 << 16
_LONGEST_LINE = 1000


@dataclass(frozen=True)
class OperationLimits:
    """Limits error_over_bound: the largest error of an operation, divided by its bound. The proved bound is 1."""

    error_over_bound: float


@dataclass(frozen=True)
class ExecutionLimits:
    """Limits noise_sigmas: the largest difference of a logit, in standard deviations of float32 rounding."""

    noise_sigmas: float


@dataclass(frozen=True)
class QuantizationLimits:
    """top1_agreement is the smallest value that passes, all others are the largest. KL is in nats.

    They apply to float and to int8 activations, each on its own. None: no limit.
    """

    kl_mean: float | None = None
    kl_max: float | None = None
    top1_agreement: float | None = None
    max_abs_logit_error: float | None = None
    perplexity_ratio: float | None = None


@dataclass(frozen=True)
class BaselineLimits:
    """Says how much worse than its baseline a file may be.

    The limits are added to mean KL and RMS logit error, subtracted from top-1 agreement, and multiplied on
    perplexity.
    """

    kl_mean: float
    top1_agreement: float
    rms_logit_error: float
    perplexity_ratio: float


@dataclass(frozen=True)
class CoverageDemands:
    """Demands that the windows cover this much of the model; None demands nothing.

    positions: share of max_seq_len. token_ids: share of the vocabulary. windows: their number.
    """

    positions: float | None = None
    token_ids: float | None = None
    windows: int | None = None


@dataclass(frozen=True)
class Policy:
    """Holds one table of a policy file, with the file's path; "default" is the package's own file.

    may_be_skipped: names of checks. operations: None for a directory, whose engine records none. coverage: None if
    the policy demands none.
    """

    path: str
    sha256: str
    section: str
    may_be_skipped: tuple[str, ...]
    operations: OperationLimits | None
    execution: ExecutionLimits
    quantization: QuantizationLimits
    baseline: BaselineLimits
    coverage: CoverageDemands | None = None

    @property
    def is_default(self) -> bool:
        """Return whether it is the package's own."""
        return self.path == _DEFAULT


# check -> the class of its limits
_TABLES: dict[str, Any] = {
    "operations": OperationLimits,
    "execution": ExecutionLimits,
    "quantization": QuantizationLimits,
    "baseline": BaselineLimits,
}
_COVERAGE = "coverage"
_TABLES_OF_DIRECTORY = {check: kind for check, kind in _TABLES.items() if check != "operations"}


def policy_section(model: reader_c.Model, source: Source) -> str:
    """Return the name of the policy's table for a file: its format.

    For v3 it is "v3" if no tensor lost anything, "v3-q8_0" if one is Q8_0, and "v3-half" otherwise.
    """
    if model.format != "v3":
        return model.format
    stored = [model.storage(name) for name in model.names]
    if any(how.storage == "q8_0" for how in stored):
        return "v3-q8_0"
    known = source.hyperparameters.shapes()
    narrow = [how for how in stored if how.storage != "fp32" and how.name in known]
    return "v3" if all(how.storage == source.dtype(how.name) for how in narrow) else "v3-half"


def load_policy(path: Path, section: str) -> Policy:
    """Load one table of a policy. Raises CannotJudgeError.

    Every key must be known, every limit a finite number, and every key but those of `quantization` and `coverage`
    present, because a misread policy would pass files that it was written to stop.
    """
    content, policy = _read(path)
    with DEFAULT_POLICY.open("rb") as file:
        formats = tomllib.load(file).keys()
    for name, table in policy.items():
        if name not in formats or not isinstance(table, dict):
            raise CannotJudgeError(f"{path}: expected tables {', '.join(formats)}, found {name!r:.80}")
        tables = _tables_of(name)
        _check_keys(f"{path}: [{name}]", table, {"may_be_skipped", *tables}, optional={"quantization", _COVERAGE})
        _check_skipping(f"{path}: [{name}] may_be_skipped", table["may_be_skipped"])
        for check, kind in tables.items():
            _check_limits(f"{path}: [{name}.{check}]", table.get(check, {}), kind)
        if _COVERAGE in table:
            _check_demands(f"{path}: [{name}.{_COVERAGE}]", table[_COVERAGE])
    if section not in policy:
        raise CannotJudgeError(f"{path}: expected a table [{section}], found none")
    chosen = policy[section]
    limits = {check: kind(**chosen.get(check, {})) for check, kind in _tables_of(section).items()}
    return Policy(
        path=_named(path),
        sha256=hashlib.sha256(content).hexdigest(),
        section=section,
        may_be_skipped=tuple(chosen["may_be_skipped"]),
        coverage=CoverageDemands(**chosen[_COVERAGE]) if _COVERAGE in chosen else None,
        **{"operations": None, **limits},
    )


def _tables_of(section: str) -> dict[str, Any]:
    return _TABLES_OF_DIRECTORY if section == "hf" else _TABLES


def _named(path: Path) -> str:
    """Return the policy's name in a report: "default" for the package's own, and for no other."""
    if path == DEFAULT_POLICY:
        return _DEFAULT
    return f"./{path}" if str(path) == _DEFAULT else str(path)


def _read(path: Path) -> tuple[bytes, dict[str, Any]]:
    try:
        content = read_given(path, _MOST_BYTES)
    except OSError as error:
        reason = (error.strerror or "").lower()
        raise CannotJudgeError(
            f"{path}: expected a policy, found: {reason}: `verify --print-policy` prints one to start from"
        ) from error
    # the parser needs quadratic time for a key of many parts
    if (longest := max(map(len, content.split(b"\n")))) > _LONGEST_LINE:
        raise CannotJudgeError(f"{path}: expected lines of at most {_LONGEST_LINE} bytes, found one of {longest}")
    try:
        return content, tomllib.loads(content.decode())
    except (ValueError, RecursionError) as error:
        raise CannotJudgeError(f"{path}: expected TOML, found: {one_line(error)}") from error


def _check_keys(where: str, table: dict[str, Any], known: set[str], optional: Set[str]) -> None:
    """Raise CannotJudgeError for an unknown key, and for a missing one that is not optional."""
    for key in table:
        if key not in known | optional:
            raise CannotJudgeError(f"{where}: expected {', '.join(sorted(known | optional))}, found {key!r:.80}")
    if missing := sorted(known - optional - table.keys()):
        raise CannotJudgeError(f"{where}: expected {missing[0]}, found none")


def _check_skipping(where: str, names: object) -> None:
    if not isinstance(names, list):
        raise CannotJudgeError(f"{where}: expected a list of checks, found {names!r:.80}")
    for name in names:
        if name not in CHECKS:
            raise CannotJudgeError(f"{where}: expected names of checks ({', '.join(CHECKS)}), found {name!r:.80}")


def _check_limits(where: str, table: object, kind: type[Any]) -> None:
    if not isinstance(table, dict):
        raise CannotJudgeError(f"{where}: expected a table of limits, found {table!r:.80}")
    _check_keys(
        where,
        table,
        {field.name for field in fields(kind)},
        optional={field.name for field in fields(kind) if field.default is None},
    )
    for key, value in table.items():
        _check_range(f"{where} {key}", value, _MOST.get(key, _MOST_OF_OTHERS))


def _check_demands(where: str, table: object) -> None:
    names = [field.name for field in fields(CoverageDemands)]
    if not isinstance(table, dict) or not table:
        raise CannotJudgeError(f"{where}: expected at least one of {', '.join(names)}, found {table!r:.80}")
    _check_keys(where, table, set(), optional=set(names))
    for key, value in table.items():
        _check_range(f"{where} {key}", value, _MOST.get(key, _MOST_OF_OTHERS))
    if isinstance(table.get("windows"), float):
        raise CannotJudgeError(f"{where} windows: expected an integer, found {table['windows']!r:.80}")


def _check_range(where: str, value: object, most: float) -> None:
    # a NaN is outside every range
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= most:
        raise CannotJudgeError(f"{where}: expected 0 to {most:g}, found {value!r:.80}")
