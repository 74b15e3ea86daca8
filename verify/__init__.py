"""verify: proves what a llama2.c-style .bin file computes.

report = verify.verify("model.pt", "model.bin")
report.passed, report.checks, report.metrics, report.to_json()
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from verify.errors import CannotJudgeError

if TYPE_CHECKING:
    from verify.engine.command import Engine
    from verify.evidence import Evidence
    from verify.report.model import Report
    from verify.verdict import verify

__all__ = ["CannotJudgeError", "Engine", "Evidence", "Report", "verify"]


def __getattr__(name: str) -> Any:
    """Import modules that need torch on first use, so that --help does not wait for torch."""
    import importlib  # noqa: PLC0415

    homes = {
        "Engine": "verify.engine.command",
        "Evidence": "verify.evidence",
        "Report": "verify.report.model",
        "verify": "verify.verdict",
    }
    if name not in homes:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(homes[name]), name)
