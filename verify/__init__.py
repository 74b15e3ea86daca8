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
    from verify.functions.releasing import release
    from verify.functions.verifying import verify
    from verify.inspect_file import inspect
    from verify.judge_report import judge
    from verify.release_file import Released
    from verify.report.model import Report
    from verify.report.saved import read_report

    __version__: str

__all__ = [
    "CannotJudgeError",
    "Engine",
    "Evidence",
    "Released",
    "Report",
    "__version__",
    "inspect",
    "judge",
    "read_report",
    "release",
    "verify",
]

_HOMES = {
    "Engine": "verify.engine.command",
    "Evidence": "verify.evidence",
    "Released": "verify.release_file",
    "Report": "verify.report.model",
    "inspect": "verify.inspect_file",
    "judge": "verify.judge_report",
    "read_report": "verify.report.saved",
    "release": "verify.functions.releasing",
    "verify": "verify.functions.verifying",
}


def __getattr__(name: str) -> Any:
    """Import modules that need torch on first use, so that --help does not wait for torch."""
    import importlib  # noqa: PLC0415

    if name == "__version__":
        return importlib.import_module("importlib.metadata").version("export-and-verify")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
