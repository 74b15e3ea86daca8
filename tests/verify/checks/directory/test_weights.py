"""Which weight files of a directory count, and what is wrong with them, to the word."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from verify.checks.directory import weights
from verify.checks.directory.weights import Weights, read_weights

ONE, TWO = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
INDEX = "model.safetensors.index.json"
MAP = {"a": ONE, "b": ONE, "c": TWO}
NO_FILE = "model.safetensors.index.json: 'a': expected a .safetensors file beside it, found "
WHERE = f"{INDEX}: weight_map: expected tensor names with the file of each, found "


def found(directory: Path) -> Weights:
    return read_weights(directory, {path.name for path in directory.iterdir()})


def shard(directory: Path, name: str, *tensors: str) -> None:
    save_file({tensor: np.arange(3, dtype=np.float32) for tensor in tensors}, directory / name)


def index(directory: Path, weight_map: object = None, name: str = INDEX, **more: Any) -> None:
    (directory / name).write_text(json.dumps({"weight_map": MAP if weight_map is None else weight_map, **more}))


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    shard(tmp_path, ONE, "a", "b")
    shard(tmp_path, TWO, "c")
    index(tmp_path, metadata={"total_size": 36})
    return tmp_path


def test_one_file_or_shards_with_their_index(tmp_path: Path, sharded: Path) -> None:
    assert (found(sharded).findings, sorted(found(sharded).tensors)) == ([], ["a", "b", "c"])
    assert {name: tensor.file.name for name, tensor in found(sharded).tensors.items()} == MAP
    whole = tmp_path / "whole"
    whole.mkdir()
    shard(whole, "model.safetensors", "a", "b")
    (whole / "config.json").touch()
    assert (found(whole).findings, sorted(found(whole).tensors)) == ([], ["a", "b"])


def test_pickles_count_where_there_are_no_safetensors(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(2)}, tmp_path / "pytorch_model.bin")
    assert (found(tmp_path).findings, list(found(tmp_path).tensors)) == ([], ["a"])
    (tmp_path / "pytorch_model.bin").rename(tmp_path / "pytorch_model-1.bin")
    index(tmp_path, {"a": "pytorch_model-1.bin"}, "pytorch_model.bin.index.json")
    assert (found(tmp_path).findings, list(found(tmp_path).tensors)) == ([], ["a"])
    shard(tmp_path, "model.safetensors", "a")
    assert found(tmp_path).findings == [
        f"{name}: expected no weights but those of model.safetensors, found this file"
        for name in ("pytorch_model-1.bin", "pytorch_model.bin.index.json")
    ]


def test_a_directory_without_weights_is_a_finding(tmp_path: Path) -> None:
    (tmp_path / "config.json").touch()
    assert found(tmp_path).findings == [
        f"weights: expected model.safetensors or an index of shards, found none in {tmp_path}"
    ]
    assert found(tmp_path).tensors == {}


def test_a_shard_that_is_missing_damaged_or_holds_a_tensor_again(sharded: Path) -> None:
    shard(sharded, TWO, "b", "c")
    assert found(sharded).findings == [f"{TWO}: b: expected in one shard, found in {ONE} too"]
    (sharded / TWO).write_bytes(b"")
    assert found(sharded).findings == [f"{TWO}: header: expected 0 bytes after the first 8, found 0"]
    assert sorted(found(sharded).tensors) == ["a", "b"]
    (sharded / TWO).unlink()
    assert found(sharded).findings == [f"{INDEX}: expected {TWO}, which it names, found no such file"]


def test_an_index_says_of_each_tensor_where_it_is(sharded: Path) -> None:
    index(sharded, {"a": TWO, "c": TWO, "d": ONE})
    assert found(sharded).findings == [
        f"{INDEX}: a: expected {ONE}, which holds it, found {TWO}",
        f"{INDEX}: b: expected {ONE}, which holds it, found no entry",
        f"{INDEX}: d: expected no shard, which holds it, found {ONE}",
    ]


@pytest.mark.parametrize(
    ("more", "finding"),
    [
        ({}, None),
        ({"metadata": {}}, None),
        ({"metadata": {"total_size": None}}, None),
        ({"metadata": [36]}, None),
        ({"metadata": {"total_size": 36}}, None),
        ({"metadata": {"total_size": 36.0}}, None),
        ({"metadata": {"total_size": 0}}, "0"),
        ({"metadata": {"total_size": 35}}, "35"),
        ({"metadata": {"total_size": "36"}}, "'36'"),
        ({"metadata": {"total_size": "x" * 90}}, "'" + "x" * 79),
    ],
)
def test_the_total_size_is_that_of_all_tensors(sharded: Path, more: dict[str, Any], finding: str | None) -> None:
    index(sharded, **more)
    expected = f"{INDEX}: total_size: expected 36, the bytes of all tensors, found {finding}"
    assert found(sharded).findings == ([] if finding is None else [expected])


@pytest.mark.parametrize(
    ("weight_map", "finding"),
    [
        ({}, f"{WHERE}{{}}"),
        ([], f"{WHERE}[]"),
        (None, f"{WHERE}None"),
        ("x" * 99, f"{WHERE}'{'x' * 79}"),
        ({"a": 5}, f"{NO_FILE}5"),
        ({"a": "model.bin"}, f"{NO_FILE}'model.bin'"),
        ({"a": "../m.safetensors"}, f"{NO_FILE}'../m.safetensors'"),
        ({"a": "x\n.safetensors"}, f"{NO_FILE}'x\\n.safetensors'"),
        ({"\n" * 90: "m"}, NO_FILE.replace("'a'", "'" + "\\n" * 80 + "'") + "'m'"),
    ],
    ids=["empty", "list", "null", "text", "number", "pickle", "elsewhere", "two lines", "long name"],
)
def test_an_index_that_names_no_shards_is_a_finding(sharded: Path, weight_map: object, finding: str) -> None:
    (sharded / INDEX).write_text(json.dumps({"weight_map": weight_map}))
    (only,) = found(sharded).findings
    assert only == finding
    assert found(sharded).tensors == {}


def test_an_index_that_is_no_json_is_a_finding(sharded: Path) -> None:
    (sharded / INDEX).write_text("{")
    (only,) = found(sharded).findings
    assert only.startswith(f"{sharded / INDEX}: expected an index of shards, found: ")


STRAY = (
    *("other.safetensors", "x.index.json", "model.bin", "model-1.pth", "pytorch_model.bin", "consolidated.00.pth"),
    *("adapter_model.bin", "adapter_config.json", "adapter_model.safetensors"),
)
FINE = (
    "config.json",
    "tokenizer.model",
    "training_args.bin",
    "model.txt",
    "optimizer.pth",
    "consolidated.json",
    "my.bin",
)


def test_no_other_file_may_hold_weights(sharded: Path) -> None:
    for name in (*STRAY, *FINE):
        (sharded / name).write_bytes(b"")
    assert found(sharded).findings == [
        f"{name}: expected no weights but those of {INDEX}, found this file" for name in sorted(STRAY)
    ]


def test_beside_an_index_one_whole_file_is_another_model(sharded: Path) -> None:
    shard(sharded, "model.safetensors", "a")
    assert found(sharded).findings == [
        f"model.safetensors: expected no weights but those of {INDEX}, found this file"
    ]


def test_after_a_damaged_shard_the_others_are_read(sharded: Path) -> None:
    (sharded / ONE).write_bytes(b"")
    assert found(sharded).findings == [f"{ONE}: header: expected 0 bytes after the first 8, found 0"]
    assert sorted(found(sharded).tensors) == ["c"]


def test_an_index_may_have_a_hundred_megabytes() -> None:
    assert weights._MOST_BYTES == 10**8
