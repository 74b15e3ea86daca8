"""From the parameters of a public function to the frozen options of a verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from verify.run.options import Options


def options_of(given: Mapping[str, Any]) -> Options:
    """Return the options of a verdict by a caller's parameters, which have the names of their fields."""
    chosen = {field.name: given.get(field.name) for field in fields(Options)}
    return Options(**{name: value for name, value in chosen.items() if value is not None})
