"""Write failures as plain lines, from the dictionary that report.json holds.

This module imports almost nothing, so that a program with that dictionary need not load the rest of the package.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from verify.system.printable import printable

# The signature of a diagnosis that describes numbers which no known mistake makes.
_UNKNOWN = "no-known-mistake"

Json = Mapping[str, Any]


def finding(check: Json) -> str:
    """Write "tensors: <detail>", and the place on a line of its own if the check names one."""
    text = (
        f"{check['name']}: {'' if check['status'] == 'fail' else check['status'] + ': '}{printable(check['detail'])}"
    )
    places = ", ".join(f"{key} {value}" for key, value in check["where"].items() if value is not None)
    return f"{text}\n  at {places}" if places else text


def headed(signature: str, sentence: str) -> str:
    """Write a diagnosis on one line, which says whether it names a mistake or only describes what is wrong."""
    return f"{'cause unknown' if signature == _UNKNOWN else 'most likely'}: {sentence}"


def likely(report: Json) -> str:
    """Write the most likely mistake on a line of its own; nothing if there is no diagnosis."""
    found = report["diagnosis"]
    return "\n" + headed(found["signature"], printable(found["sentence"])) if found else ""
