"""safetensors files and their index are those that transformers' own writer makes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy
import torch
from helpers.hf_exports import TORCH, as_transformers_has_it, everything, exported, expressible, loaded, typed
from helpers.models import checkpoint, config, same_bits
from hypothesis import assume, given
from hypothesis import strategies as st

import exporter
from exporter.config import tensor_shapes
from exporter.formats.huggingface_files import plan_files


def test_the_commonest_type_counts_weights_and_prefers_the_wider(tmp_path: Path) -> None:
    matrices = [name for name, shape in tensor_shapes(config()).items() if len(shape) == 2]
    for dtypes, expected in (
        ({}, "float32"),
        (dict.fromkeys(matrices, "bf16"), "bfloat16"),
        (dict.fromkeys(tensor_shapes(config()), "fp16"), "float16"),
        # as many weights of each: two of a layer's norms
        ({name: "fp16" for name in tensor_shapes(config()) if "layers.0." in name}, "float32"),
    ):
        (first, *_) = plan_files(typed(config(), dtypes), config(), 10**9, {})
        assert first.name == "config.json"
        assert json.loads(first.head)["torch_dtype"] == expected
    assert not list(tmp_path.iterdir())


def test_a_tensor_that_is_larger_than_a_shard_stands_alone() -> None:
    files = plan_files(checkpoint(), config(), 1, {})
    shapes = tensor_shapes(config())
    assert [file.name for file in files[:3]] == [
        "config.json",
        "model.safetensors.index.json",
        f"model-00001-of-{len(shapes):05}.safetensors",
    ]
    assert [[part.name for tensor in file.tensors for part in tensor.parts] for file in files[2:]] == [
        [n] for n in shapes
    ]
    assert all(file.bytes == len(file.head) + 4 * np.prod(file.tensors[0].shape) for file in files[2:])


@given(everything(), st.integers(1, 20_000), st.sampled_from(sorted(TORCH)))
def test_shards_are_transformers_own(model: exporter.ModelConfig, shard_bytes: int, dtype: str) -> None:
    assume(expressible(model))
    # every other tensor, so that types stand side by side
    source = typed(model, dict.fromkeys(list(tensor_shapes(model))[::2], dtype))
    expected = dict(as_transformers_has_it(name, source.load(name), model) for name in source.names)
    with exported(source, shard_bytes=shard_bytes) as (out, summary):
        found = loaded(out, torch.float32).state_dict()
        assert all(same_bits(found[name].numpy(), expected[name]) for name in expected)
        total = sum(tensor.bytes for tensor in summary.tensors)
        index = out / "model.safetensors.index.json"
        assert index.exists() == (total > shard_bytes and len(summary.tensors) > 1)
        if not index.exists():
            assert sorted(summary.digests) == ["config.json", "model.safetensors"]
            return
        written = json.loads(index.read_text())
        assert written["metadata"] == {"total_size": total}
        shards = sorted({*written["weight_map"].values()})
        count = len(shards)
        assert shards == [f"model-{number:05}-of-{count:05}.safetensors" for number in range(1, count + 1)]
        assert sorted([*shards, "config.json", index.name]) == sorted(p.name for p in out.iterdir())
        for shard in shards:
            with safetensors.safe_open(out / shard, "pt") as file:
                sizes = {name: file.get_tensor(name).nbytes for name in file.keys()}  # noqa: SIM118
            assert {name for name, place in written["weight_map"].items() if place == shard} == sizes.keys()
            assert sum(sizes.values()) <= shard_bytes or len(sizes) == 1


def test_the_container_is_aligned_sorted_and_in_the_models_order(tmp_path: Path) -> None:
    exporter.export(checkpoint(), tmp_path / "out", format="hf")
    content = (tmp_path / "out" / "model.safetensors").read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    assert length % 8 == 0
    assert list(header) == sorted(header)
    assert header.pop("__metadata__") == {"format": "pt"}
    named = [as_transformers_has_it(n, np.zeros(s, np.float32), config()) for n, s in tensor_shapes(config()).items()]
    by_place = sorted(header, key=lambda name: header[name]["data_offsets"])
    assert by_place == [name for name, _ in named]
    assert [header[name]["shape"] for name, _ in named] == [list(array.shape) for _, array in named]
    assert len(content) == 8 + length + 4 * sum(array.size for _, array in named)
    assert safetensors.numpy.load_file(tmp_path / "out" / "model.safetensors").keys() == header.keys()


def test_a_float32_behind_odd_counts_of_narrow_elements_is_aligned(tmp_path: Path) -> None:
    model = config(hidden_dim=5, mlp_bias=True)
    names = list(tensor_shapes(model))
    source = typed(model, {name: "bf16" for name in names if name.endswith("w1.bias")})
    exporter.export(source, tmp_path / "out", format="hf")
    content = (tmp_path / "out" / "model.safetensors").read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    widths = {"F32": 4, "BF16": 2}
    entries = [entry for name, entry in header.items() if name != "__metadata__"]
    assert {entry["dtype"] for entry in entries} == {"F32", "BF16"}
    assert all(entry["data_offsets"][0] % widths[entry["dtype"]] == 0 for entry in entries)
