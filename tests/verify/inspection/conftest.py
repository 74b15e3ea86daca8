"""Fixtures of the tests of what files hold."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.checkpoints import save, state_dict
from helpers.command_line import run


@pytest.fixture
def one_model(tmp_path: Path) -> Path:
    """A directory with one model as a checkpoint, a file and a Hugging Face directory."""
    source = save(tmp_path, state_dict())
    assert run("export", source, tmp_path / "m.bin", "--format", "v0").returncode == 0
    assert run("export", source, tmp_path / "hf", "--format", "hf").returncode == 0
    return tmp_path
