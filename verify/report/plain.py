"""Failures in plain lines, of the dictionary that report.json holds. Imports nothing, so that whoever has that
dictionary need not load what made it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Json = Mapping[str, Any]


def finding(check: Json) -> str:
    """ "tensors: <detail>", and on a line of its own where, if the check names a place."""
    text = f"{check['name']}: {'' if check['status'] == 'fail' else check['status'] + ': '}{check['detail']}"
    places = ", ".join(f"{key} {value}" for key, value in check["where"].items() if value is not None)
    return f"{text}\n  at {places}" if places else text


def likely(report: Json) -> str:
    """What the mistake most likely is, on a line of its own; nothing where nobody knows."""
    return f"\nmost likely: {report['diagnosis']['sentence']}" if report["diagnosis"] else ""


def verdict(report: Json) -> str:
    """ "pass, 6 of 6 checks" or "fail, 5 of 6 checks; tensors: <detail>", with the first that is to blame."""
    checks = report["checks"]
    passed = [check for check in checks if check["status"] == "pass"]
    blamed = [check for status in ("fail", "skipped") for check in checks if check["status"] == status]
    reason = f"; {blamed[0]['name']}: {blamed[0]['detail']}" if blamed else ""
    return f"{report['verdict']}, {len(passed)} of {len(checks)} checks{reason}"
