"""Shards of Meta's, one mistake each, with the whole message; the first shard is the measure of the others."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers import meta
from helpers.models import arrays

from verify.errors import CannotJudgeError
from verify.sources import open_source
from verify.sources.meta import _count_up

WO, WQ = "layers.0.attention.wo.weight", "layers.0.attention.wq.weight"


def refused(directory: Path, states: list[meta.State]) -> str:
    with pytest.raises(CannotJudgeError) as caught:
        open_source(meta.save(directory, states, meta.params(meta.MODEL)))
    message = str(caught.value)
    assert message.startswith(str(directory))
    return message.removeprefix(f"{directory}").removeprefix("/")


def shards(count: int = 2) -> list[meta.State]:
    return meta.shards(arrays(meta.MODEL), count)


def test_every_shard_has_the_tensors_of_the_first(tmp_path: Path) -> None:
    states = shards(4)
    del states[2][WO]
    found = refused(tmp_path, states)
    assert found == f"consolidated.02.pth: {WO}: expected the tensors of consolidated.00.pth, found none"
    states = shards(4)
    states[3]["extra"] = torch.ones(2)
    found = refused(tmp_path, states)
    assert found == "consolidated.03.pth: extra: expected the tensors of consolidated.00.pth, found one"


def test_every_shard_has_the_shapes_and_types_of_the_first(tmp_path: Path) -> None:
    for odd, said in (
        (torch.ones(48, 25), "(48, 25) torch.float32"),
        (torch.ones(48, 24).half(), "(48, 24) torch.float16"),
    ):
        states = shards()
        states[1][WO] = odd
        assert refused(tmp_path, states) == (
            f"consolidated.01.pth: {WO}: expected (48, 24) torch.float32, as in consolidated.00.pth, found {said}"
        )


def test_a_tensor_too_many_and_one_too_few(tmp_path: Path) -> None:
    expected = "expected the tensors of a Llama of 2 layers, found"
    states = shards(1)
    del states[0][WO]
    assert refused(tmp_path, states) == f"consolidated.00.pth: {WO}: {expected} no such tensor"
    states = shards(1)
    states[0]["layers.2.attention.wo.weight"] = torch.ones(48, 48)
    assert refused(tmp_path, states) == (
        f"consolidated.00.pth: layers.2.attention.wo.weight: {expected} one that a Llama does not have"
    )


def test_no_matrix_is_cut_along_the_residual_stream(tmp_path: Path) -> None:
    states = shards()
    for state, part in zip(states, torch.from_numpy(arrays(meta.MODEL)[WQ]).chunk(2, 1), strict=True):
        state[WQ] = part.clone()
    assert refused(tmp_path, states) == (
        f": {WQ}: expected (48, 48), in 2 pieces as Meta cuts it, found (48, 24) in each shard"
    )


def test_of_many_buffers_the_first_is_noted(tmp_path: Path) -> None:
    angles = 10000.0 ** (-torch.arange(0, 8, 2) / 8)
    states = shards()
    for state in states:
        state.update({"rope.freqs": angles.clone(), "layers.1.attention.inner_attention.rope.freqs": angles.clone()})
    source = open_source(meta.save(tmp_path, states, meta.params(meta.MODEL)))
    assert source.notes == ("rope.freqs: stored buffers hold what the model computes; they were dropped",)


def test_shards_are_counted_up_from_zero(tmp_path: Path) -> None:
    expected = f"{tmp_path}: expected"
    for numbers, message in (
        ((), "consolidated.00.pth, found no shard"),
        ((1, 2), "consolidated.00.pth, found 'consolidated.01.pth' alone"),
        ((0, 1, 3, 5), "consolidated.02.pth, found 'consolidated.03.pth' alone"),
    ):
        for number in numbers:
            (tmp_path / f"consolidated.{number:02}.pth").touch()
        with pytest.raises(CannotJudgeError) as caught:
            _count_up(tmp_path)
        assert str(caught.value) == f"{expected} {message}"
        for file in tmp_path.iterdir():
            file.unlink()
    names = [f"consolidated.{number:02}.pth" for number in range(100)]
    for name in names:
        (tmp_path / name).touch()
    assert _count_up(tmp_path) == names
    for name in ("consolidated.100.pth", "consolidated.101.pth"):
        (tmp_path / name).touch()
        with pytest.raises(CannotJudgeError) as caught:
            _count_up(tmp_path)
        assert str(caught.value) == f"{expected} at most 100 shards, found 'consolidated.100.pth' besides"
