"""Describe the environment of a report: versions, processor, threads, date."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

import reader_c
from verify.errors import CannotJudgeError

_PACKAGES = ("export-and-verify", "torch", "numpy")


def environment(versions: Mapping[str, str], arithmetic: str) -> dict[str, Any]:
    """Describe this environment. versions: of packages that only some runs use. arithmetic: of the C reader, or
    "transformers", which runs a directory."""
    always = {"python": platform.python_version(), **{name: metadata.version(name) for name in _PACKAGES}}
    return {
        "versions": {**always, **versions},
        "cpu": _cpu_name(),
        "threads": torch.get_num_threads(),
        "arithmetic": arithmetic,
        # of "fast", which is judged beside "mirror"
        "path": "transformers" if arithmetic == "transformers" else reader_c.best_path(),
    }


def date() -> str:
    """Return this moment in UTC, or that of SOURCE_DATE_EPOCH, by which two runs give the same report.

    Raises CannotJudgeError if the variable holds no moment.
    """
    told = os.environ.get("SOURCE_DATE_EPOCH")
    try:
        moment = datetime.now(UTC) if told is None else datetime.fromtimestamp(int(told), UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise CannotJudgeError(
            f"SOURCE_DATE_EPOCH: expected seconds since 1970, found {told!r}: correct the variable or unset it"
        ) from error
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
