"""Policies: how much a format may cost before its file is refused."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields
from pathlib import Path

import reader_c
from verify.errors import CannotJudgeError
from verify.sources import Source

DEFAULT_POLICY = Path(__file__).with_name("policy.toml")


@dataclass(frozen=True)
class Limits:
    """For one format. top1_agreement is the least that passes, all others are the most."""

    kl_mean: float
    kl_max: float
    top1_agreement: float
    max_abs_logit_error: float
    perplexity_ratio: float


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


def load_limits(path: Path, section: str) -> Limits:
    """The limits of one table of a policy. Every key must be known, present and a finite number: a policy that is
    misread would pass what it was written to stop. Raises CannotJudgeError."""
    try:
        with path.open("rb") as file:
            policy = tomllib.load(file)
    except OSError as error:
        raise CannotJudgeError(f"{path}: expected a policy, found: {(error.strerror or '').lower()}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CannotJudgeError(f"{path}: expected TOML, found: {error}") from error
    with DEFAULT_POLICY.open("rb") as file:
        formats = tomllib.load(file).keys()
    known = {field.name for field in fields(Limits)}
    for name, table in policy.items():
        if name not in formats or not isinstance(table, dict):
            raise CannotJudgeError(f"{path}: expected tables {', '.join(formats)}, found {name!r}")
        for key, value in table.items():
            if key not in known:
                raise CannotJudgeError(f"{path}: [{name}]: expected {', '.join(sorted(known))}, found {key!r}")
            most = 1.0 if key == "top1_agreement" else 1e9
            # a NaN is in no range
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= most:
                raise CannotJudgeError(f"{path}: [{name}] {key}: expected 0 to {most:g}, found {value!r}")
        if missing := sorted(known - table.keys()):
            raise CannotJudgeError(f"{path}: [{name}]: expected {missing[0]}, found none")
    if section not in policy:
        raise CannotJudgeError(f"{path}: expected a table [{section}], found none")
    return Limits(**policy[section])
