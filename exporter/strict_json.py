"""Read JSON files that describe a model, strictly: two readers may understand an ambiguous one differently."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from exporter.errors import CheckpointError, reason

Json = dict[str, Any]

# The largest models have indexes of some hundred thousand entries, of about a hundred bytes each.
_MOST_BYTES = 10_000_000


def read_object(path: Path, most_bytes: int = _MOST_BYTES) -> Json:
    """Return a file's JSON object.

    Raises CheckpointError where the file cannot be read, is no JSON, or holds a repeated key, NaN or Infinity,
    something else than an object, more than most_bytes, or nesting too deep to parse.
    """

    def unique(pairs: list[tuple[str, Any]]) -> Json:
        found: Json = {}
        for key, value in pairs:
            if key in found:
                raise CheckpointError(f"{path}: expected each key once, found {shown(key)} twice")
            found[key] = value
        return found

    def no_constant(word: str) -> None:
        raise CheckpointError(f"{path}: expected numbers that JSON has, found {word}")

    try:
        with path.open("rb") as file:
            content = file.read(most_bytes + 1)
    except OSError as error:
        raise CheckpointError(f"{path}: {reason(error)}") from error
    if len(content) > most_bytes:
        raise CheckpointError(f"{path}: expected at most {most_bytes} bytes, found more")
    try:
        parsed = json.loads(content.decode(), object_pairs_hook=unique, parse_constant=no_constant)
    except CheckpointError:
        raise
    except ValueError as error:
        raise CheckpointError(f"{path}: expected JSON, found otherwise: {error}") from error
    except RecursionError as error:
        raise CheckpointError(f"{path}: expected JSON of a few levels, found too many") from error
    if not isinstance(parsed, dict):
        raise CheckpointError(f"{path}: expected a JSON object, found {type(parsed).__name__}")
    return parsed


def shown(value: object, most: int = 80) -> str:
    """Return a value from a file as text for a message: one line of at most `most` characters and an ellipsis.

    Nested values give their type alone: those of a pickle may be too deep for repr, or contain each other so often
    that its text does not end.
    """
    parts = [*value, *value.values()] if type(value) is dict else value if type(value) is list else [value]
    if not all(isinstance(part, (str, int, float, type(None))) for part in parts):
        return type(value).__name__
    text = ascii(value)
    return text if len(text) <= most else f"{text[:most]}..."


def number(where: str, value: object) -> float:
    """Return value as a finite float of any sign. Raises CheckpointError, which begins with where."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise CheckpointError(f"{where}: expected a number, found {shown(value)}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise CheckpointError(f"{where}: expected a finite number, found {shown(value)}")
    return number
