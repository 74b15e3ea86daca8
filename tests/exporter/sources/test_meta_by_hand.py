"""Meta's shards in small: which shard a message names, and where an element stands in its shard."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import meta
from helpers.models import arrays

import exporter
from exporter.sources.meta import open_meta
from exporter.sources.options import SourceOptions

Change = Callable[[list[meta.State]], object]
NAMES = ("layers.0.attention.wo.weight", "layers.0.feed_forward.w1.weight", "tok_embeddings.weight")
WO, W1, EMBEDDING = NAMES


def saved(directory: Path, change: Change = lambda _: None, count: int = 2, **said: Any) -> Path:
    states = meta.shards(arrays(meta.MODEL), count)
    change(states)
    return meta.save(directory, states, meta.params(meta.MODEL, **said))


def refused(directory: Path) -> str:
    with pytest.raises(exporter.CheckpointError) as caught:
        open_meta(directory, SourceOptions())
    return str(caught.value)


def test_there_are_at_most_as_many_layers_as_tensors(tmp_path: Path) -> None:
    def fewer(states: list[meta.State]) -> None:
        del states[1]["norm.weight"]

    assert refused(saved(tmp_path, fewer, n_layers=22)) == (
        f"{tmp_path}/consolidated.00.pth: expected 22 layers, as params.json says, found 21 tensors"
    )
    # of as many the names are made and compared
    message = f"{tmp_path}/consolidated.00.pth (of 2 shards): missing layers.2.attention_norm.weight, "
    assert refused(saved(tmp_path, n_layers=21)).startswith(message)
    assert refused(saved(tmp_path, count=1, n_layers=22)) == (
        f"{tmp_path}/consolidated.00.pth: expected 22 layers, as params.json says, found 21 tensors"
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda states: [states[1].pop(name) for name in [*states[1]] if name != EMBEDDING],
            "consolidated.01.pth (of 2 shards): missing layers.0.attention_norm.weight, ",
        ),
        (
            lambda states: states[1].pop("output.weight"),
            "consolidated.01.pth (of 2 shards): missing output.weight",
        ),
        (
            lambda states: states[1].update({WO: torch.zeros(48, 48)}),
            f"consolidated.01.pth (of 2 shards): {WO}: expected shape (48, 24), found (48, 48)",
        ),
        (
            lambda states: states[0].update({WO: torch.zeros(48, 0)}),
            f"consolidated.00.pth (of 2 shards): {WO}: expected shape (48, 24), found (48, 0)",
        ),
        (
            lambda states: states[1].update({W1: torch.zeros(10, 48)}),
            f"consolidated.01.pth (of 2 shards): {W1}: expected shape (20, 48), found (10, 48)",
        ),
        (
            lambda states: states[0].update({EMBEDDING: torch.zeros(32, 23)}),
            f"consolidated.00.pth: {EMBEDDING}: expected rows of 48, or of 48 over 2, found shape (32, 23)",
        ),
        *(
            (
                lambda states, shape=shape: states[0].update({EMBEDDING: torch.zeros(shape)}),
                f"consolidated.00.pth: {EMBEDDING}: expected rows of 48, or of 48 over 2, found shape {shape}",
            )
            for shape in ((0, 48), (0, 24), (48,), (24,), (32, 24, 1))
        ),
    ],
)
def test_a_message_names_the_shard_that_is_wrong(tmp_path: Path, change: Change, message: str) -> None:
    assert refused(saved(tmp_path, change)).startswith(f"{tmp_path}/{message}")


def test_one_file_is_no_shard_of_several(tmp_path: Path) -> None:
    narrow = saved(tmp_path, lambda states: states[0].update({EMBEDDING: torch.zeros(32, 47)}), 1)
    assert refused(narrow) == (
        f"{tmp_path}/consolidated.00.pth: {EMBEDDING}: expected rows of 48, found shape (32, 47)"
    )
    tall = saved(tmp_path, lambda states: states[0].update({WO: torch.zeros(47, 48)}), 1)
    assert refused(tall) == f"{tmp_path}/consolidated.00.pth: {WO}: expected shape (48, 48), found (47, 48)"


def test_other_files_are_no_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(tmp_path)
    for name in ("other.pth", "consolidated.txt", "consolidated.json"):
        (tmp_path / name).touch()
    assert [path.name for path in open_meta(tmp_path, SourceOptions()).files] == [
        *("params.json", "consolidated.00.pth", "consolidated.01.pth")
    ]
    for error, told in (
        (PermissionError(13, "Permission denied", "x"), "permission denied"),
        (OSError("Odd"), "odd"),
    ):

        def fails(_path: Path, error: OSError = error) -> None:
            raise error

        with monkeypatch.context() as patched:
            patched.setattr(Path, "iterdir", fails)
            assert refused(tmp_path) == f"{tmp_path}: {told}"


@pytest.mark.parametrize(
    ("name", "index", "shard", "within"),
    [
        ("norm.weight", (47,), 0, (47,)),
        (W1, (19, 7), 0, (19, 7)),
        (W1, (20, 7), 1, (0, 7)),
        (WO, (7, 23), 0, (7, 23)),
        (WO, (7, 24), 1, (7, 0)),
        (EMBEDDING, (31, 47), 1, (31, 23)),
    ],
)
def test_an_element_is_told_where_its_shard_has_it(
    tmp_path: Path, name: str, index: tuple[int, ...], shard: int, within: tuple[int, ...]
) -> None:
    opened = open_meta(saved(tmp_path), SourceOptions())
    assert opened.place(name, index) == (f"{tmp_path}/consolidated.0{shard}.pth: {name}", within)


@pytest.mark.parametrize(("name", "index"), [(W1, (25, 7)), (WO, (7, 30)), ("norm.weight", (3,))])
def test_a_number_that_float32_has_not_is_told_where_the_whole_has_it(
    tmp_path: Path, name: str, index: tuple[int, ...]
) -> None:
    def inexact(states: list[meta.State]) -> None:
        for state in states:
            state[name] = state[name].double()
        place = {W1: (5, 7), WO: (7, 6)}.get(name, index)
        for state in states if name == "norm.weight" else states[1:]:
            state[name][place] = 0.1

    opened = open_meta(saved(tmp_path, inexact), SourceOptions())
    with pytest.raises(exporter.WeightError) as caught:
        opened.load(name)
    assert caught.value.index == index
