"""Failures in plain lines, of the dictionary that report.json holds. Imports next to nothing, so that whoever has
that dictionary need not load what made it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from verify.system.printable import printable

Json = Mapping[str, Any]


def finding(check: Json) -> str:
    """ "tensors: <detail>", and on a line of its own where, if the check names a place."""
    text = (
        f"{check['name']}: {'' if check['status'] == 'fail' else check['status'] + ': '}{printable(check['detail'])}"
    )
    places = ", ".join(f"{key} {value}" for key, value in check["where"].items() if value is not None)
    return f"{text}\n  at {places}" if places else text


def likely(report: Json) -> str:
    """What the mistake most likely is, on a line of its own; nothing where nobody knows."""
    return f"\nmost likely: {printable(report['diagnosis']['sentence'])}" if report["diagnosis"] else ""
