"""Describe the environment of a report: versions, processor, threads."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

import reader_c

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


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
