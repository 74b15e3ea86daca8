"""Decide the seed of the random windows: it follows from the file that is judged, unless somebody gives one.

With a seed that everybody knows, an engine or a file could be made to be right on the judged windows alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from verify.errors import CannotJudgeError

# A JSON reader that holds numbers as float64 reads integers of this many bits exactly.
_BITS = 53


@dataclass(frozen=True)
class Seed:
    """Holds a seed and its origin: the user gave it, it follows from the judged file, or it is the baseline's."""

    number: int
    origin: Literal["given", "file", "baseline"]


def choose_seed(given: int | None, sha256: str, baseline: Mapping[str, Any] | None) -> Seed:
    """Return the given seed; else the baseline's, because its windows are compared with the same windows of today;
    else the first 53 bits of the digest.

    sha256: of the file or directory that is judged. baseline: `evidence` of the last release's report.
    Raises CannotJudgeError for a negative seed.
    """
    if given is not None:
        if given < 0:
            raise CannotJudgeError(f"seed: expected 0 or more, found {given}")
        return Seed(given, "given")
    if baseline is not None:
        return Seed(int(baseline["seed"]), "baseline")
    return Seed(int(sha256, 16) >> (4 * len(sha256) - _BITS), "file")
