"""A file or a source that is written to while it is judged is no verdict, even with its mtime put back."""

from __future__ import annotations

import pkgutil
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.changing import SOURCES, write_unseen
from helpers.checkpoints import save, state_dict
from helpers.models import toy_file

import exporter
import verify
from verify.run import subjects
from verify.sources import Hyperparameters, open_source
from verify.sources.in_memory import MemorySource


def test_a_mapped_file_that_is_another_one_while_it_is_judged_is_no_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subjects, "mapped", lambda _path, _memory: True)  # as a large one is
    source, path = save(tmp_path, state_dict()), toy_file(tmp_path, "v1-fp32", tied=True)
    good = path.read_bytes()
    bad = good[:-4] + np.float32(123).tobytes()
    path.write_bytes(bad)
    seen: list[str] = []

    def change(stage: str, done: int, total: int) -> None:
        if not seen:
            write_unseen(path, good)
        elif stage == "windows" and done == total:
            write_unseen(path, bad)
        seen.append(stage)

    with pytest.raises(verify.CannotJudgeError, match="changed while it was being judged"):
        verify.verify(source, path, windows=1, depth="quick", progress=change)
    assert path.read_bytes() == bad


@pytest.mark.parametrize(("made", "name"), SOURCES)
def test_a_source_that_is_written_to_after_its_last_read_is_no_verdict(
    tmp_path: Path, made: Callable[[Path], Path], name: str
) -> None:
    source, path = made(tmp_path), tmp_path / "model.bin"
    exporter.export(exporter.open_checkpoint(source), path, format="v3", provenance=False)
    changed = source / name

    def change(stage: str, done: int, total: int) -> None:
        if stage == "windows" and done == total:
            write_unseen(changed, changed.read_bytes())

    with pytest.raises(verify.CannotJudgeError, match=rf"{changed.name}: changed while it was being read"):
        verify.verify(source, path, windows=1, depth="quick", progress=change)
    assert verify.verify(source, path, windows=1, depth="quick").passed


@pytest.mark.parametrize(("made", "name"), SOURCES)
def test_a_source_knows_when_a_file_of_it_is_another_one(
    tmp_path: Path, made: Callable[[Path], Path], name: str
) -> None:
    path = made(tmp_path)
    changed = path / name
    source = open_source(path)
    source.expect_unchanged()
    write_unseen(changed, changed.read_bytes())
    with pytest.raises(verify.CannotJudgeError, match=rf"{changed.name}: changed while it was being read"):
        source.expect_unchanged()
    source = open_source(path)
    shutil.copy2(changed, changed.with_name("copy"))
    changed.with_name("copy").replace(changed)
    with pytest.raises(verify.CannotJudgeError, match=rf"{changed.name}: changed while it was being read"):
        source.expect_unchanged()


def test_a_source_in_memory_does_not_change(tmp_path: Path) -> None:
    hyper: Hyperparameters = open_source(save(tmp_path, state_dict())).hyperparameters
    MemorySource(hyper, lambda name: state_dict()[name].numpy()).expect_unchanged()


# Steps of their opening, between what is read of them first and last.
STEPS = {
    "checkpoint.pt": "verify.sources.llama2c._derive",
    "params.json": "verify.sources.meta.MetaSource._derive",
    "consolidated.01.pth": "verify.sources.meta.MetaSource._derive",
    "config.json": "verify.sources.huggingface.judged_settings",
    "model.safetensors": "verify.sources.huggingface.derived",
    "v3.bin": "reader_c.Model.check_digests",
}


@pytest.mark.parametrize(("made", "name"), SOURCES)
def test_a_source_is_of_the_bytes_whose_digest_it_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: Callable[[Path], Path], name: str
) -> None:
    path = made(tmp_path)
    changed = path / name
    step = STEPS[changed.name]
    original = pkgutil.resolve_name(step)

    def interrupted(*arguments: Any, **options: Any) -> Any:
        found = original(*arguments, **options)
        write_unseen(changed, changed.read_bytes())
        return found

    monkeypatch.setattr(step, interrupted)
    with pytest.raises(verify.CannotJudgeError, match=rf"{changed.name}: changed while it was being read"):
        open_source(path)
