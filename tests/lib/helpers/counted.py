"""What tests count for docs/reliability.md: they tell pytest, which writes it down for `make refusals`."""

from __future__ import annotations

import json
from collections.abc import Callable

# (what was tried, how often, what came of it each time)
Counted = Callable[[str, int, str], None]
_PROPERTY = "counted"


def telling(record_property: Callable[[str, object], None]) -> Counted:
    def counted(what: str, count: int, result: str) -> None:
        record_property(_PROPERTY, json.dumps((what, count, result)))

    return counted


def told(name: str, value: str) -> tuple[str, int, str] | None:
    """A property of a JUnit report, if it is one of ours."""
    if name != _PROPERTY:
        return None
    what, count, result = json.loads(value)
    return what, count, result
