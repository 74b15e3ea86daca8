"""Weight files and their index: which of them count, and what must agree."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from verify.errors import CannotJudgeError
from verify.sources.directory import SourceDirectory
from verify.sources.shards import Header, Shards

INDEX = "model.safetensors.index.json"
WHOLE = "model.safetensors"
A, B = torch.arange(6.0).view(2, 3), torch.ones(4, dtype=torch.bfloat16)


def index(directory: Path, weight_map: Any, name: str = INDEX, **more: Any) -> None:
    (directory / name).write_text(json.dumps({"metadata": {}, "weight_map": weight_map, **more}))


def opened(directory: Path) -> Shards:
    return Shards(SourceDirectory(directory))


def refused(call: Callable[[], object]) -> str:
    with pytest.raises(CannotJudgeError) as caught:
        call()
    return str(caught.value)


def test_tensors_of_one_file(tmp_path: Path) -> None:
    save_file({"a": A, "b": B}, tmp_path / WHOLE)
    shards = opened(tmp_path)
    assert shards.headers == {"a": Header(WHOLE, torch.float32, (2, 3)), "b": Header(WHOLE, torch.bfloat16, (4,))}
    assert shards.is_standard
    assert torch.equal(shards.read("a"), A)
    assert shards.read("b").dtype == torch.bfloat16
    assert shards.place("a") == tmp_path / WHOLE
    save_file({"a": A + 1, "b": B}, tmp_path / WHOLE)
    assert refused(lambda: shards.read("a")) == f"{tmp_path / WHOLE}: changed while it was being read"


def test_tensors_of_a_pickle_own_their_numbers(tmp_path: Path) -> None:
    torch.save({"a": A.T, "b": B}, tmp_path / "pytorch_model.bin")
    shards = opened(tmp_path)
    assert shards.headers["a"] == Header("pytorch_model.bin", torch.float32, (3, 2))
    found = shards.read("a")
    assert torch.equal(found, A.T)
    assert found.is_contiguous()


@pytest.mark.parametrize("has_metadata", [True, False])
def test_tensors_of_two_files_and_an_index(tmp_path: Path, has_metadata: bool) -> None:
    save_file({"a": A}, tmp_path / "1.safetensors")
    save_file({"b": B}, tmp_path / "2.safetensors")
    index(tmp_path, {"a": "1.safetensors", "b": "2.safetensors"}, metadata={} if has_metadata else None)
    shards = opened(tmp_path)
    assert {name: header.shard for name, header in shards.headers.items()} == {
        "a": "1.safetensors",
        "b": "2.safetensors",
    }
    assert shards.is_standard == has_metadata
    assert torch.equal(shards.read("b"), B)


def test_the_first_name_that_is_there_counts(tmp_path: Path) -> None:
    torch.save({"a": A}, tmp_path / "pytorch_model.bin")
    assert set(opened(tmp_path).headers) == {"a"}
    save_file({"b": B}, tmp_path / WHOLE)
    assert set(opened(tmp_path).headers) == {"b"}
    assert set(Shards(SourceDirectory(tmp_path), ("pytorch_model.bin",)).headers) == {"a"}
    empty = tmp_path / "empty"
    empty.mkdir()
    assert refused(lambda: opened(empty)) == (
        f"{empty}: expected one of model.safetensors, model.safetensors.index.json, pytorch_model.bin, "
        "pytorch_model.bin.index.json, found none"
    )


def test_an_index_beside_one_file_is_of_it(tmp_path: Path) -> None:
    save_file({"a": A}, tmp_path / WHOLE)
    index(tmp_path, {"a": WHOLE}, metadata=None)
    assert not opened(tmp_path).is_standard
    for other in ({"a": "other.safetensors"}, {"a": WHOLE, "b": "other.safetensors"}):
        index(tmp_path, other)
        assert refused(lambda: opened(tmp_path)) == (
            f"{tmp_path}: expected model.safetensors or an index of shards, found both"
        )


def test_index_and_shards_list_the_same_tensors(tmp_path: Path) -> None:
    save_file({"a": A, "b": B}, tmp_path / "1.safetensors")
    save_file({"c": B}, tmp_path / "2.safetensors")
    one, two = tmp_path / "1.safetensors", tmp_path / "2.safetensors"
    index(tmp_path, {"a": one.name, "c": two.name})
    assert refused(lambda: opened(tmp_path)) == (
        f"{one}: b: expected in its index as in the shard, found no such tensor there"
    )
    index(tmp_path, {"a": one.name, "b": one.name, "c": two.name, "d": two.name})
    assert refused(lambda: opened(tmp_path)) == (
        f"{two}: d: expected in the shard as in its index, found no such tensor there"
    )


@pytest.mark.parametrize(("value", "kind"), [(None, "NoneType"), ({}, "dict"), ([], "list"), ("x", "str")])
def test_a_weight_map_has_tensors(tmp_path: Path, value: Any, kind: str) -> None:
    index(tmp_path, value)
    assert refused(lambda: opened(tmp_path)) == (
        f"{tmp_path / INDEX}: weight_map: expected tensor names with the shard of each, found {kind}"
    )


@pytest.mark.parametrize("shard", [1, "../a.safetensors", "a.bin", "a\n.safetensors", "b/a.safetensors", ""])
def test_a_shard_is_a_file_beside_the_index(tmp_path: Path, shard: Any) -> None:
    index(tmp_path, {"a": shard})
    assert refused(lambda: opened(tmp_path)) == (
        f"{tmp_path / INDEX}: weight_map: 'a': expected the name of a .safetensors file beside the index, found "
        f"{shard!r}"
    )
    index(tmp_path, {"x" * 81: "y" * 100})
    assert refused(lambda: opened(tmp_path)) == (
        f"{tmp_path / INDEX}: weight_map: '{'x' * 80}': expected the name of a .safetensors file beside the index, "
        f"found '{'y' * 79}"
    )


def test_the_index_of_pickles_names_pickles(tmp_path: Path) -> None:
    torch.save({"a": A}, tmp_path / "1.bin")
    index(tmp_path, {"a": "1.bin"}, "pytorch_model.bin.index.json")
    assert opened(tmp_path).headers["a"].shard == "1.bin"
    index(tmp_path, {"a": "1.safetensors"}, "pytorch_model.bin.index.json")
    assert "expected the name of a .bin file" in refused(lambda: opened(tmp_path))


def test_other_types_and_contents_are_refused(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(2, dtype=torch.int32)}, tmp_path / WHOLE)
    assert refused(lambda: opened(tmp_path)) == (
        f"{tmp_path / WHOLE}: a: expected a tensor of F64, F32, F16, BF16, found I32"
    )
    (tmp_path / WHOLE).write_bytes(b"x" * 20)
    assert refused(lambda: opened(tmp_path)).startswith(f"{tmp_path / WHOLE}: expected safetensors, found: ")
    (tmp_path / WHOLE).unlink()
    path = tmp_path / "pytorch_model.bin"
    torch.save([A], path)
    assert refused(lambda: opened(tmp_path)) == f"{path}: expected a PyTorch state dict, found list"
    for odd in ({1: A}, {"a": 1}, {"a": A.to_sparse()}, {"a": A.int()}):
        torch.save(odd, path)
        assert refused(lambda: opened(tmp_path)) == (
            f"{path}: {next(iter(odd))}: expected one dense float tensor, found otherwise"
        )


def test_a_tensor_that_nobody_reads_has_no_header_and_may_be_of_any_type(tmp_path: Path) -> None:
    for name, store in ((WHOLE, save_file), ("pytorch_model.bin", torch.save)):
        directory = tmp_path / name
        directory.mkdir()
        store({"a": A, "x": torch.arange(3), "x2": B}, directory / name)
        shards = Shards(SourceDirectory(directory), is_unwanted=lambda own: own.startswith("x"))
        assert (list(shards.headers), shards.unwanted) == (["a"], 2)
        assert torch.equal(shards.read("a"), A)
