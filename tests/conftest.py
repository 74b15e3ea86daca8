"""Hypothesis profiles (dev by default, HYPOTHESIS_PROFILE=ci or deep for more), and threads that do not fight."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.counted import Counted, telling
from hypothesis import HealthCheck, Phase, settings

# Workers share the cores, so each computes, and starts processes that compute, on one thread. Set before
# torch is first imported, which reads it then.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"

# Reports have a date, and tests compare reports of several runs.
os.environ.setdefault("SOURCE_DATE_EPOCH", "1795879212")

# No deadline: a slow machine is no failure. derandomize keeps CI's answer a function of the code alone.
_COMMON = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("dev", max_examples=25, **_COMMON)
settings.register_profile("ci", max_examples=60, derandomize=True, print_blob=True, **_COMMON)
# For other builds of the reader, whose laws have run on the first.
settings.register_profile("again", settings.get_profile("ci"), max_examples=25)
# For mutants: that a test fails is all that is asked, so no smaller example is searched.
settings.register_profile("mutants", settings.get_profile("ci"), phases=(Phase.explicit, Phase.generate))
settings.register_profile("deep", max_examples=3000, **_COMMON)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))


@pytest.fixture
def counted(record_property: Callable[[str, object], None]) -> Counted:
    return telling(record_property)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A tiny llama2.c checkpoint, in a path with a space."""
    from helpers.checkpoints import save, state_dict

    directory = tmp_path / "a source"
    directory.mkdir()
    return save(directory, state_dict())


@pytest.fixture
def good(tmp_path: Path, source: Path) -> Path:
    """A healthy file made of it."""
    from helpers.command_line import run

    out = tmp_path / "a file.bin"
    assert run("export", source, out, "--format", "v2", "--group-size", 8).returncode == 0
    return out
