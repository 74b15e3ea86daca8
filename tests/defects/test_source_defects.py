"""Mistakes that importers of Hugging Face models have made: each is caught, at the check whose fault it is."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import huggingface
from helpers.v3_files import ENTRY, patched, table_at

import exporter
import exporter.sources.huggingface as importer
import reader_c
import verify
from exporter.checkpoint import Weights
from verify.evidence import Evidence

Found = dict[str, Any]


def judged(source: Path, path: Path, monkeypatch: pytest.MonkeyPatch | None = None) -> Found:
    if monkeypatch:
        monkeypatch.undo()
    return {check.name: check for check in verify.verify(source, path, evidence=Evidence(windows=2)).checks}


def not_undone(_canonical: str, array: Weights, _config: exporter.ModelConfig) -> Weights:
    return array


def with_heads(count: str) -> Any:
    """Both undone with the same number of heads."""

    def permute(canonical: str, array: Weights, config: exporter.ModelConfig) -> Weights:
        if not any(f".{name}." in canonical for name in ("wq", "wk")):
            return array
        heads = getattr(config, count)
        halves = array.reshape(heads, 2, len(array) // heads // 2, -1)
        return np.ascontiguousarray(halves.swapaxes(1, 2)).reshape(array.shape)

    return permute


@pytest.mark.parametrize(
    ("permutation", "heads", "tensor"),
    [
        (not_undone, (6, 3), "layers.0.attention.wq.weight"),
        (with_heads("n_heads"), (6, 3), "layers.0.attention.wk.weight"),
        # as many queries a kv head as kv heads: a check of shapes alone is blind to it
        (with_heads("n_heads"), (4, 2), "layers.0.attention.wk.weight"),
        (with_heads("n_kv_heads"), (6, 3), "layers.0.attention.wq.weight"),
    ],
)
@pytest.mark.parametrize("storage", ["source", "q8_0"])
def test_a_wrong_permutation_is_caught_at_its_tensor_and_by_the_logits(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    permutation: Any,
    heads: tuple[int, int],
    tensor: str,
    storage: str,
) -> None:
    made = huggingface.model(num_attention_heads=heads[0], num_key_value_heads=heads[1], head_dim=12)
    source, path = huggingface.save(tmp_path / "source", made), tmp_path / "out.bin"
    monkeypatch.setattr(importer, "in_pairs", permutation)
    exporter.export(exporter.open_checkpoint(source), path, format="v3", storage=storage, group_size=8)
    found = judged(source, path, monkeypatch)
    assert (found["tensors"].status, found["tensors"].where["tensor"]) == ("fail", tensor)
    assert found["execution"].status == "fail"
    assert [found[name].status for name in ("config", "file")] == ["pass", "pass"]


@pytest.mark.parametrize("bias", ["qkv_bias", "wo_bias", "mlp_bias"])
def test_a_dropped_bias_is_caught_at_config(tmp_path: Path, bias: str) -> None:
    made = huggingface.model(attention_bias=True, mlp_bias=True)
    source, path = huggingface.save(tmp_path / "source", made), tmp_path / "out.bin"
    right = exporter.open_checkpoint(source)
    wrong = dataclasses.replace(right.config, **{bias: False})
    arrays = {name: np.array(right.load(name)) for name in exporter.config.tensor_shapes(wrong)}
    exporter.export(exporter.Checkpoint.from_arrays(wrong, arrays), path, format="v3")
    found = judged(source, path)["config"]
    assert (found.status, found.where["field"]) == ("fail", bias)


def test_a_head_size_taken_for_dim_over_heads_is_caught_at_config(tmp_path: Path) -> None:
    made = huggingface.model(head_dim=10)
    source, path = huggingface.save(tmp_path / "source", made), tmp_path / "out.bin"
    right = exporter.open_checkpoint(source)
    wrong = dataclasses.replace(right.config, head_dim=8)
    arrays = {
        name: np.array(right.load(name)).reshape(-1)[: int(np.prod(shape))].reshape(shape)
        for name, shape in exporter.config.tensor_shapes(wrong).items()
    }
    exporter.export(exporter.Checkpoint.from_arrays(wrong, arrays), path, format="v3")
    found = judged(source, path)["config"]
    assert (found.status, found.where["field"]) == ("fail", "head_dim")


def test_a_half_rounded_the_wrong_way_is_caught_at_its_tensor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """bfloat16 by cutting float32 in half, as many do."""
    import exporter.encode

    def cut(weights: Weights) -> tuple[Any, Weights]:
        halves = weights.view(np.uint32) >> 16
        return halves.astype(np.uint16), (halves << 16).view(np.float32)

    source, path = huggingface.save(tmp_path / "source", huggingface.model()), tmp_path / "out.bin"
    monkeypatch.setattr(exporter.encode, "to_bf16", cut)
    exporter.export(exporter.open_checkpoint(source), path, format="v3", storage="bf16")
    found = judged(source, path, monkeypatch)["tensors"]
    assert (found.status, found.where["part"]) == ("fail", "bf16")


def test_a_changed_digest_in_the_table_and_changed_payloads_are_caught(tmp_path: Path) -> None:
    """reader_c.open leaves the tensors' digests to whoever asks: the verifier asks."""
    source, path = huggingface.save(tmp_path / "source", huggingface.model()), tmp_path / "out.bin"
    exporter.export(exporter.open_checkpoint(source), path, format="v3", storage="q8_0", group_size=8)
    content = path.read_bytes()
    path.write_bytes(patched(content, (table_at(content) + ENTRY + 160, bytes(32))))
    found = judged(source, path)
    assert found["file"].status == "fail"
    assert "layers.0.attention_norm.weight: digest" in found["file"].detail
    rng = np.random.default_rng(0)
    with reader_c.open(path) as model:
        values = [span for name in model.names for span in model.spans(name)]
    for number in rng.integers(0, len(values), 12):
        at = values[number].offset + int(rng.integers(values[number].nbytes))
        damaged = bytearray(content)
        damaged[at] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        found = judged(source, path)
        assert (found["file"].status, found["tensors"].status) == ("fail", "fail")
