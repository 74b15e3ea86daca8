"""What an export takes of memory is told before it begins, and kept."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from helpers.checkpoints import ARGS, save, state_dict
from helpers.command_line import refused, run, run_on_terminal
from helpers.models import arrays, config

import exporter
from exporter.memory_plan import plan_memory

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with one tensor of 30 million weights."""
    model = config(vocab_size=30_000_000 // ARGS["dim"])
    tensors = exporter.Checkpoint.from_arrays(model, arrays(model, 0))
    directory = tmp_path_factory.mktemp("large")
    exporter.export(tensors, directory / "source.bin", format="v3")
    return directory / "source.bin"


@pytest.mark.parametrize("storage", ["source", "fp16", "q8_0"])
@pytest.mark.parametrize("limit", ["8GiB", "620MiB"])
def test_what_is_told_is_kept(tmp_path: Path, large: Path, storage: str, limit: str) -> None:
    out = tmp_path / "model.bin"
    said = run_on_terminal("export", large, out, "--format", "v3", "--storage", storage, "--memory", limit)
    told = re.search(r"at most ([\d,]+) MiB of memory expected", said)
    taken = re.search(r"([\d,]+) MiB of memory taken, [\d.,]+ GB read from disk", said)
    assert told, said
    assert taken, said
    expected, found = (int(match[1].replace(",", "")) for match in (told, taken))
    assert 100 < found <= expected
    assert out.exists()


def test_a_limit_changes_no_byte(tmp_path: Path, large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # What the tests before left to this process comes and goes: it must not move the limit between two looks.
    monkeypatch.setattr("exporter.memory_plan.anonymous_bytes", lambda: 0)
    files = [tmp_path / "at-ease.bin", tmp_path / "tight.bin"]
    checkpoint = exporter.open_checkpoint(large)
    tight = plan_memory(checkpoint, None).peak - 1
    for file, limit in zip(files, (None, tight), strict=True):
        exporter.export(checkpoint, file, format="v3", storage="q8_0", memory=limit)
    assert files[0].read_bytes() == files[1].read_bytes()
    assert plan_memory(checkpoint, tight).at_once < plan_memory(checkpoint, None).at_once


def test_too_little_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    source, out = save(tmp_path, state_dict()), tmp_path / "model.bin"
    before = sorted(tmp_path.iterdir())
    arguments = ("export", source, out, "--format", "v0", "--memory", "10MB")
    refused(
        run(*arguments),
        "memory: expected at least",
        "for layers.0.attention.wq.weight, found 10 MiB; give a larger --memory (memory=), or none",
    )
    assert sorted(tmp_path.iterdir()) == before
