"""JSON files that say what a model is: read strictly, since two readers may understand a lax one differently."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from exporter.errors import CheckpointError

Json = dict[str, Any]

# Indexes of the largest models have some hundred thousand entries of about a hundred bytes.
_LARGEST = 10_000_000


def read_object(path: Path) -> Json:
    """A file's JSON object. Raises CheckpointError for a key that stands twice, NaN or Infinity, another kind of
    value, more than 10 MB, and nesting too deep to follow."""

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
            content = file.read(_LARGEST + 1)
    except OSError as error:
        raise CheckpointError(f"{path}: {(error.strerror or str(error)).lower()}") from error
    if len(content) > _LARGEST:
        raise CheckpointError(f"{path}: expected at most {_LARGEST} bytes, found more")
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
    """A value from a file, for a message: one line, and a short one. Of lists of lists only the type: a pickle's may
    be deeper than any repr follows, or hold each other so often that none ends."""
    parts = [*value, *value.values()] if type(value) is dict else value if type(value) is list else [value]
    if not all(isinstance(part, (str, int, float, type(None))) for part in parts):
        return type(value).__name__
    text = ascii(value)
    return text if len(text) <= most else f"{text[:most]}..."


def number(where: str, value: object) -> float:
    """A finite float; its sign is checked where it is used."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise CheckpointError(f"{where}: expected a number, found {shown(value)}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise CheckpointError(f"{where}: expected a finite number, found {shown(value)}")
    return number
