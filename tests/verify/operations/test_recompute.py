"""Every operation of a healthy engine is within its bound on any model; one wrong number is found where it is."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.models import arrays, checkpoint, config, hyperparameters
from hypothesis import given
from hypothesis import strategies as st

import exporter
import reader_c
from verify.checks.operations import Operations
from verify.evidence import Window
from verify.evidence.depth import traced_windows
from verify.operations.matched_filter import find_weight
from verify.operations.recompute import Recompute, Recorded
from verify.operations.record import record
from verify.oracle.expected import numbers, quantized
from verify.testing import configs


def judge(
    path: Path,
    model: exporter.ModelConfig,
    weights: dict[str, torch.Tensor],
    windows: list[np.ndarray],
    activations: reader_c.Activations,
    arithmetic: reader_c.Arithmetic,
) -> Operations:
    """The file's engine, against these weights."""
    found = Operations()
    tokens = torch.from_numpy(np.stack(windows))
    with reader_c.open(path) as opened:

        def load(name: str) -> torch.Tensor:
            how = opened.storage(name)
            return numbers(weights[name], how.storage, how.group_size)

        def int8(name: str) -> tuple[torch.Tensor, torch.Tensor] | None:
            how = opened.storage(name)
            return quantized(weights[name], how.group_size) if how.storage == "q8_0" else None

        recompute = Recompute(hyperparameters(model), load, int8, activations, arithmetic)
        x = torch.empty(0)
        at: Recorded
        for layer, at in record(opened, windows, activations, arithmetic):
            stage = (
                recompute.layer(layer, at, x)
                if layer is not None
                else recompute.embedding(at, tokens)
                if "embedding" in at
                else recompute.classifier(at, x)
            )
            for judged in stage:
                operation = f"{judged.operation} again" if judged.replay else judged.operation
                found.add(
                    activations, layer, list(range(len(windows))), dataclasses.replace(judged, operation=operation)
                )
            x = at.get("ffn_residual", at.get("embedding", x))
    return found


@given(st.data())
def test_a_healthy_engine_is_within_every_bound(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    model = data.draw(
        configs(max_layers=2, head_sizes=True, scalings=True, biases=True, activations=True, numbers=True)
    )
    seed = data.draw(st.integers(0, 999))
    gain = data.draw(st.sampled_from((1e-22, 1e-3, 1.0, 30.0, 1e3)))
    spoiled = data.draw(st.sampled_from(("attention_norm", "wq", "w1", "output", "nothing")))
    weights = arrays(model, seed)
    for name in weights:
        if spoiled in name:
            weights[name] = weights[name] * np.float32(gain)
    path = tmp_path_factory.mktemp("operations") / "model.bin"
    storage = data.draw(st.sampled_from(("fp32", "q8_0", "bf16", {"*": "q8_0", "*.w1.*": "fp16"})))
    exporter.export(exporter.Checkpoint.from_arrays(model, weights), path, format="v3", storage=storage, group_size=8)
    length = data.draw(st.integers(1, model.max_seq_len))
    rng = np.random.default_rng(seed)
    windows = [rng.integers(0, model.vocab_size, length) for _ in range(data.draw(st.integers(1, 3)))]
    with reader_c.open(path) as opened:
        kinds = ("fp32", "q8") if opened.config.group_size else ("fp32",)
    activations = data.draw(st.sampled_from(kinds))
    arithmetic = data.draw(st.sampled_from(("mirror", "fast")))
    tensors = {name: torch.from_numpy(array) for name, array in weights.items()}
    found = judge(path, model, tensors, windows, activations, arithmetic)
    assert found.failures == []
    operations = [report.operation for report in found.layers if report.layer == 0]
    assert len(operations) == len(set(operations)) >= 19


@given(st.data())
def test_one_wrong_weight_is_found_at_its_row_and_column(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    model, seed = config(max_seq_len=33), data.draw(st.integers(0, 99))
    weights = {name: torch.from_numpy(array) for name, array in arrays(model, seed).items()}
    path = tmp_path_factory.mktemp("operations") / "model.bin"
    exporter.export(checkpoint(model, seed), path, format="v3")
    name = data.draw(st.sampled_from([name for name in weights if weights[name].ndim == 2 and "emb" not in name]))
    row, column = (data.draw(st.integers(0, size - 1)) for size in weights[name].shape)
    delta = data.draw(st.sampled_from((1e-3, -0.2, 3.0)))
    weights[name] = weights[name].clone()
    weights[name][row, column] -= delta  # what the engine has is delta more
    windows = [np.random.default_rng(seed).integers(0, 29, 33)]
    found = judge(path, model, weights, windows, "fp32", "mirror")
    (failure,) = found.failures
    assert failure.where["tensor"] == name
    assert (failure.where["row"], failure.where["column"], failure.where["rows"]) == (row, column, 1)
    assert failure.where["delta"] == pytest.approx(delta, rel=1e-2)
    assert failure.where["explained"] > 0.99


def test_a_filter_says_how_little_it_explains() -> None:
    rng = torch.Generator().manual_seed(0)
    inputs, residual = torch.randn(50, 20, generator=rng), torch.randn(50, 5, generator=rng).double()
    suspect = find_weight(residual, residual.abs(), inputs)
    assert suspect.explained < 0.5
    nothing = find_weight(torch.zeros(4, 3).double(), torch.zeros(4, 3).double(), torch.zeros(4, 2))
    assert (nothing.explained, nothing.delta, nothing.rows) == (0, 0, 0)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_is_beyond_every_bound(tmp_path: Path, value: float) -> None:
    model = config()
    weights = arrays(model)
    weights["layers.1.ffn_norm.weight"][3] = value
    path = tmp_path / "model.bin"
    healthy = {name: torch.from_numpy(array) for name, array in arrays(model).items()}
    exporter.export(exporter.Checkpoint.from_arrays(model, arrays(model)), path, format="v3")
    with reader_c.open(path) as opened:
        (span,) = opened.spans("layers.1.ffn_norm.weight")
    content = bytearray(path.read_bytes())
    content[span.offset + 12 : span.offset + 16] = np.float32(value).tobytes()
    path.write_bytes(content)
    found = judge(path, model, healthy, [np.arange(20)], "fp32", "mirror")
    first = found.failures[0]
    assert (first.layer, first.operation) == (1, "ffn_norm")
    assert first.max_error_over_bound == float("inf")
    assert found.verdict().status == "fail"


def test_windows_to_look_into_are_of_every_origin() -> None:
    tokens = np.arange(4)
    windows = [Window(tokens, origin) for origin in ("text", "text", "random", "random", "fixed", "fixed")]
    assert traced_windows(windows, "quick") == [0, 2]
    assert traced_windows(windows, "standard") == [0, 2]
    assert traced_windows(windows, "full") == list(range(6))
    assert traced_windows(windows[2:], "quick") == [0, 3]
    assert Operations().verdict().status == "skipped"
