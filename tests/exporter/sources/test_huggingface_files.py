"""Which files a Hugging Face directory's index may name, and what it and they must agree on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import hf_directories
from safetensors.torch import save_file

import exporter

State = hf_directories.State


def _sharded(directory: Path) -> tuple[State, dict[str, Any]]:
    """norm and lm_head in the second shard, the rest in the first."""
    state = hf_directories.save(directory)
    (directory / "model.safetensors").unlink()
    second = {name: state[name] for name in ("model.norm.weight", "lm_head.weight")}
    first = {name: tensor for name, tensor in state.items() if name not in second}
    weight_map = {}
    for number, part in enumerate((first, second), 1):
        save_file(part, directory / f"model-0000{number}-of-00002.safetensors")
        weight_map |= dict.fromkeys(part, f"model-0000{number}-of-00002.safetensors")
    index = {"metadata": {"total_size": 1}, "weight_map": weight_map}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))
    return state, index


FIRST, SECOND = (f"model-0000{n}-of-00002.safetensors" for n in (1, 2))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("../elsewhere.safetensors", r"'model.norm.weight': expected a file in this directory, found '\.\./else"),
        ("/tmp/elsewhere.safetensors", "expected a file in this directory, found '/tmp/elsewhere.safetensors'"),
        ("sub/model.safetensors", "expected a file in this directory, found 'sub/model.safetensors'"),
        ("sub\\model.safetensors", "expected a file in this directory"),
        (".safetensors", "expected a file in this directory"),
        ("..", "expected the name of a .safetensors file, found '..'"),
        ("config.json", "expected the name of a .safetensors file, found 'config.json'"),
        ("a\0.safetensors", "expected the name of a .safetensors file"),
        ("a\n.safetensors", "expected the name of a .safetensors file"),
        (7, "expected the name of a .safetensors file, found 7"),
        ("model-00003-of-00003.safetensors", "index.json: missing model-00003-of-00003.safetensors"),
        (FIRST, f"model.norm.weight: expected in {FIRST}, found in {SECOND}"),
    ],
)
def test_an_index_names_files_of_its_directory(tmp_path: Path, name: object, message: str) -> None:
    _, index = _sharded(tmp_path)
    index["weight_map"]["model.norm.weight"] = name
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    hf_directories.refused(tmp_path, message)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda _, i: i.pop("weight_map"), "weight_map: expected an object that names files, found None"),
        (lambda _, i: i.update(weight_map={}), "weight_map: expected an object that names files"),
        (lambda _, i: i["weight_map"].update(more=FIRST), f"'more': expected in {FIRST}, found in no shard"),
        (
            lambda _, i: i["weight_map"].pop("model.norm.weight"),
            "norm.weight: expected in model.safetensors.index.json, found in the shard alone",
        ),
        (
            lambda d, _: save_file({"model.norm.weight": torch.zeros(48)}, d / "model-00003-of-00003.safetensors"),
            "model-00003-of-00003.safetensors: expected no shard beside those of model.safetensors.index.json",
        ),
        (
            lambda d, _: save_file(
                {
                    name: torch.zeros(1)
                    for name in ("model.norm.weight", "lm_head.weight", "model.embed_tokens.weight")
                },
                d / SECOND,
            ),
            f"model.embed_tokens.weight: expected in one shard, found in {FIRST} too",
        ),
        (
            lambda d, _: (d / "model.safetensors").touch(),
            "expected either model.safetensors or .*, or an index of model.safetensors alone, found both$",
        ),
        (lambda d, _: (d / SECOND).write_bytes(b"x" * 99), "expected safetensors, found a damaged file"),
        (lambda d, _: ((d / SECOND).unlink(), (d / SECOND).mkdir()), "expected a file, found a directory"),
    ],
)
def test_an_index_and_its_shards_say_the_same(
    tmp_path: Path, change: Callable[[Path, dict[str, Any]], object], message: str
) -> None:
    state, index = _sharded(tmp_path)
    hf_directories.check(tmp_path, state)
    change(tmp_path, index)
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    hf_directories.refused(tmp_path, message)


def test_an_index_with_a_key_twice_is_refused(tmp_path: Path) -> None:
    _sharded(tmp_path)
    path = tmp_path / "model.safetensors.index.json"
    path.write_text(path.read_text().replace('"weight_map": {', f'"weight_map": {{"lm_head.weight": "{FIRST}", '))
    hf_directories.refused(tmp_path, "expected each key once, found 'lm_head.weight' twice")


def test_shards_need_their_index(tmp_path: Path) -> None:
    state, _ = _sharded(tmp_path)
    (tmp_path / "model.safetensors.index.json").unlink()
    hf_directories.refused(tmp_path, f"missing model.safetensors.index.json, found {FIRST} without it")
    hf_directories.rewrite(tmp_path, state)
    hf_directories.refused(tmp_path, f"{FIRST}: expected no shard beside those of model.safetensors, found one")


@pytest.mark.parametrize("target", ["outside", "itself"])
def test_a_link_out_of_the_directory_is_refused(tmp_path: Path, target: str) -> None:
    directory = tmp_path / "model"
    directory.mkdir()
    state, _ = _sharded(directory)
    (directory / SECOND).rename(directory / "moved")
    (directory / SECOND).symlink_to("moved")
    hf_directories.check(directory, state)  # a link that stays
    (directory / "moved").rename(tmp_path / "moved")
    (directory / SECOND).unlink()
    (directory / SECOND).symlink_to("../moved" if target == "outside" else SECOND)
    message = "expected a file in this directory, found a link out of it: give --follow-links if you trust it$"
    if target == "itself":
        message = "expected a file, found no regular file$"
    hf_directories.refused(directory, f"{SECOND}: {message}")
    if target == "outside":
        assert exporter.open_checkpoint(directory, follow_links=True).notes == ()


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "pytorch_model.bin", "tokenizer.json"])
def test_every_file_is_held_to_the_same_rule(tmp_path: Path, name: str) -> None:
    directory = tmp_path / "model"
    hf_directories.save(directory, pickled=name == "pytorch_model.bin")
    (directory / "tokenizer.json").write_text("{}")
    target = tmp_path / "elsewhere"
    (directory / name).rename(target)
    (directory / name).symlink_to("../elsewhere")
    hf_directories.refused(directory, f"{name}: expected a file in this directory, found a link out of it: give")
    assert exporter.open_checkpoint(directory, follow_links=True).tokenizer == directory / "tokenizer.json"
    blobs = tmp_path / "models--org--other" / "blobs"
    blobs.mkdir(parents=True)
    target.rename(blobs / "0123")
    (directory / name).unlink()
    (directory / name).symlink_to(blobs / "0123")
    assert exporter.open_checkpoint(directory).kind == "huggingface"
    blobs.rename(blobs.with_name("snapshots"))
    (directory / name).unlink()
    (directory / name).symlink_to(blobs.with_name("snapshots") / "0123")
    hf_directories.refused(directory, f"{name}: expected a file in this directory, found a link out of it")


def test_an_index_of_the_one_file_is_taken(tmp_path: Path) -> None:
    state = hf_directories.save(tmp_path)
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": dict.fromkeys(state, "model.safetensors")}))
    opened = hf_directories.check(tmp_path, state)
    assert [path.name for path in opened.files] == ["config.json", index.name, "model.safetensors"]
    index.write_text(json.dumps({"weight_map": dict.fromkeys(list(state)[1:], "model.safetensors")}))
    hf_directories.refused(tmp_path, "expected in model.safetensors.index.json, found in the shard alone")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_pointer_of_git_lfs_is_told_as_that(tmp_path: Path, name: str) -> None:
    hf_directories.save(tmp_path)
    (tmp_path / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    hf_directories.refused(
        tmp_path,
        f"{name}: expected the file itself, found a Git LFS pointer to it: run git lfs pull in its directory$",
    )


def test_links_within_a_cache_are_followed(tmp_path: Path) -> None:
    root = tmp_path / "models--org--name"
    directory = root / "snapshots" / "0123"
    directory.mkdir(parents=True)
    (root / "blobs").mkdir()
    state, _ = _sharded(directory)
    for number, path in enumerate(sorted(directory.iterdir())):
        path.rename(root / "blobs" / str(number))
        path.symlink_to(f"../../blobs/{number}")
    hf_directories.check(directory, state)
    (root / "blobs").rename(tmp_path / "blobs")
    for path in directory.iterdir():
        target = Path("../../..", *path.readlink().parts[2:])
        path.unlink()
        path.symlink_to(target)
    hf_directories.refused(directory, "found a link out of it")
