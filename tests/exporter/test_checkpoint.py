"""Checkpoint: exactly the tensors that its config implies, loaded on request, and never its own target."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.models import arrays, checkpoint, config

import exporter
from exporter.checkpoint import check_names_and_shapes
from exporter.config import tensor_shapes


def test_names_shapes_and_types_are_those_of_the_config() -> None:
    source = checkpoint()
    assert source.names == tuple(tensor_shapes(config()))
    assert {name: source.shape(name) for name in source.names} == tensor_shapes(config())
    assert {source.dtype(name) for name in source.names} == {"fp32"}


def test_a_tensor_is_loaded_at_each_request_and_read_only() -> None:
    mine, loaded = arrays(config()), []

    def load(name: str) -> np.ndarray:
        loaded.append(name)
        return mine[name]

    source = exporter.Checkpoint(config(), tensor_shapes(config()), load, where="here", kind="memory")
    assert loaded == []
    for _ in range(2):
        found = source.load("norm.weight")
        assert np.array_equal(found, mine["norm.weight"])
        assert not found.flags.writeable
    assert loaded == ["norm.weight"] * 2
    assert mine["norm.weight"].flags.writeable
    with pytest.raises(KeyError):
        source.load("no.weight")


def test_a_loaded_tensor_of_another_shape_is_refused() -> None:
    source = exporter.Checkpoint(
        config(), tensor_shapes(config()), lambda _: np.zeros(47, np.float32), where="here", kind="memory"
    )
    with pytest.raises(exporter.CheckpointError) as caught:
        source.load("norm.weight")
    assert str(caught.value) == "here: norm.weight: expected shape (48,), found (47,)"


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ({"b": (1,)}, "here: missing a"),
        ({"a": (1,), "b": (1,), "c": (1,), "d": (1,)}, "here: no such tensor in this model: c, d"),
        ({"a": (2,), "b": (3,)}, "here: a: expected shape (1,), found (2,)"),
        (
            {str(n): (1,) for n in range(7)} | {"a": (1,), "b": (1,)},
            "here: no such tensor in this model: 0, 1, 2, 3, 4 and 2 more",
        ),
    ],
)
def test_missing_extra_and_misshaped_tensors_are_named(found: dict[str, tuple[int, ...]], message: str) -> None:
    with pytest.raises(exporter.CheckpointError) as caught:
        check_names_and_shapes("here", {"a": (1,), "b": (1,)}, found)
    assert str(caught.value) == message


def read_from(*files: Path, tokenizer: Path | None = None) -> exporter.Checkpoint:
    return exporter.Checkpoint(
        config(),
        tensor_shapes(config()),
        arrays(config()).__getitem__,
        where="here",
        kind="llama2c",
        files=files,
        tokenizer=tokenizer,
    )


def test_its_own_files_and_tokenizers_are_no_target_by_any_name(tmp_path: Path) -> None:
    file, tokenizer, other = (tmp_path / name for name in ("model.pt", "tokenizer.model", "other"))
    for path in (file, tokenizer, other):
        path.touch()
    source = read_from(file)
    source.refuse_as_target(other)
    source.refuse_as_target(tmp_path / "missing")
    (tmp_path / "link").symlink_to(file)
    os.link(tokenizer, tmp_path / "hard")
    for name in ("model.pt", "link"):
        with pytest.raises(exporter.WriteError) as caught:
            source.refuse_as_target(tmp_path / name)
        assert str(caught.value) == (
            f"{tmp_path / name}: expected a file other than the source, found the source itself; choose another path"
        )
    for name in ("tokenizer.model", "hard"):
        with pytest.raises(exporter.WriteError) as caught:
            source.refuse_as_target(tmp_path / name)
        assert str(caught.value) == (
            f"{tmp_path / name}: expected a file other than the source's, found its tokenizer; choose another path"
        )


def test_a_directory_that_holds_its_files_is_no_target(tmp_path: Path) -> None:
    inner = tmp_path / "outer" / "inner"
    inner.mkdir(parents=True)
    (inner / "file").touch()
    (tmp_path / "other").mkdir()
    for source in (read_from(inner / "file"), read_from(tokenizer=inner / "file")):
        source.refuse_as_directory(tmp_path / "other")
        source.refuse_as_directory(tmp_path / "missing")
        for out in (inner, tmp_path / "outer"):
            with pytest.raises(exporter.WriteError) as caught:
                source.refuse_as_directory(out)
            assert str(caught.value) == (
                f"{out}: expected a directory other than the source's, found {inner / 'file'} in it; "
                "choose another path"
            )


def test_arrays_of_another_type_are_refused() -> None:
    mine = arrays(config())
    mine["norm.weight"] = mine["norm.weight"].astype(np.float64)
    with pytest.raises(exporter.CheckpointError, match=r"norm\.weight: expected float32, found float64"):
        exporter.Checkpoint.from_arrays(config(), mine)


@pytest.mark.parametrize("refuse", ["refuse_as_target", "refuse_as_directory"])
def test_what_another_process_replaces_between_two_looks_is_no_error(
    tmp_path: Path, refuse: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    exporter.export(checkpoint(), tmp_path / "source.bin", format="v3")
    opened = exporter.open_checkpoint(tmp_path / "source.bin")
    out = tmp_path / "out"
    out.mkdir()
    stat, looks = os.stat, []

    def seen_once(path: Any, **options: Any) -> os.stat_result:
        found = stat(path, **options)
        if os.fspath(path) == str(out):
            looks.append(path)
            out.rename(tmp_path / "aside")
        return found

    monkeypatch.setattr(os, "stat", seen_once)
    getattr(opened, refuse)(out)
    assert len(looks) == 1
