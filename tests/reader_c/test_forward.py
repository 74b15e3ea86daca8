"""The forward pass: its bits, however the tokens arrive, and what it refuses."""

from __future__ import annotations

import tempfile
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from helpers.models import arrays, checkpoint, config, same_bits, toy_file
from helpers.replay import replay
from hypothesis import given
from hypothesis import strategies as st

import exporter
import reader_c
from verify.testing import configs


@given(configs(), st.sampled_from(["v0", "v1", "v2"]), st.data())
def test_mirror_has_the_bits_of_a_literal_replay(
    model_config: exporter.ModelConfig, format_name: str, data: st.DataObject
) -> None:
    length = data.draw(st.integers(1, min(8, model_config.max_seq_len)))
    tokens = data.draw(st.lists(st.integers(0, model_config.vocab_size - 1), min_size=length, max_size=length))
    with tempfile.TemporaryDirectory() as directory:
        out = Path(directory) / "out.bin"
        exporter.export(checkpoint(model_config), out, format=format_name, group_size=16)
        with reader_c.open(out) as model:
            assert same_bits(model.forward(tokens, arithmetic="mirror"), replay(model, tokens, q8=False))
            if format_name != "v0":
                q8 = model.forward(tokens, arithmetic="mirror", activations="q8")
                assert same_bits(q8, replay(model, tokens, q8=True))


@pytest.mark.parametrize("arithmetic", ["mirror", "fast"])
@pytest.mark.parametrize(("format_name", "activations"), [("v0", "fp32"), ("v1", "fp32"), ("v2", "q8")])
@given(splits=st.sets(st.integers(1, 149)))
def test_logits_do_not_depend_on_how_tokens_are_split_into_calls(
    arithmetic: reader_c.Arithmetic, format_name: str, activations: reader_c.Activations, splits: set[int]
) -> None:
    """150 positions cross the batches of 64 inside the engine, and the blocks of 16 inside those."""
    tokens = np.random.default_rng(0).integers(0, 29, 150)
    edges = [0, *sorted(splits), 150]
    with tempfile.TemporaryDirectory() as directory:
        path = toy_file(Path(directory), format_name, max_seq_len=150, n_layers=1)
        with reader_c.open(path) as model, model.session() as session:
            whole = model.forward(tokens, arithmetic=arithmetic, activations=activations)
            pieces = [
                session.forward(tokens[start:stop], arithmetic=arithmetic, activations=activations)
                for start, stop in pairwise(edges)
            ]
            assert session.position == 150
            assert same_bits(np.concatenate(pieces), whole)


def test_fast_and_mirror_differ_by_rounding_alone(tmp_path: Path) -> None:
    tokens = np.arange(29)
    with reader_c.open(toy_file(tmp_path, "v0")) as model:
        fast, mirror = model.forward(tokens), model.forward(tokens, arithmetic="mirror")
    assert not same_bits(fast, mirror)
    np.testing.assert_allclose(fast, mirror, atol=1e-5)


def test_fast_sums_in_16_lanes_of_fused_multiply_adds(tmp_path: Path) -> None:
    """One product whose exact value float64 holds: lanes, then the tree, each rounded to float32 once."""
    model_config = config(n_layers=1, dim=50, n_heads=1, n_kv_heads=1, tied=False)
    mine = arrays(model_config)
    path = tmp_path / "out.bin"
    exporter.export(exporter.Checkpoint.from_arrays(model_config, mine), path, format="v1-fp32")
    with reader_c.open(path) as model:
        # the last hidden state is not visible, but 50 classifier rows of unit vectors show it
        logits = model.forward([3])[0]
        unit = dict(mine)
        unit["output.weight"] = np.zeros_like(mine["output.weight"])
        unit["output.weight"][:, :29] = np.eye(29, dtype=np.float32)
        rest = dict(unit)
        rest["output.weight"] = np.zeros_like(mine["output.weight"])
        rest["output.weight"][:21, 29:] = np.eye(21, dtype=np.float32)
    hidden = []
    for number, weights in enumerate((unit, rest)):
        other = tmp_path / f"{number}.bin"
        exporter.export(exporter.Checkpoint.from_arrays(model_config, weights), other, format="v1-fp32")
        with reader_c.open(other) as model:
            hidden.append(model.forward([3])[0])
    x = np.concatenate((hidden[0], hidden[1][:21])).astype(np.float64)
    for row, logit in zip(mine["output.weight"].astype(np.float64), logits, strict=True):
        lanes = np.zeros(16, np.float32)
        for j in range(50):
            # a product of two float32 is exact in float64, and so is fl64's sum but for double rounding,
            # which these inputs do not meet
            lanes[j % 16] = np.float32(row[j] * x[j] + float(lanes[j % 16]))
        for width in (8, 4, 2, 1):
            lanes = lanes[:width] + lanes[width : 2 * width]
        assert lanes[0] == logit


def test_a_v0_file_can_be_run_on_its_own_rope_tables(tmp_path: Path) -> None:
    path = toy_file(tmp_path, "v0")
    tokens = list(range(29))
    with reader_c.open(path) as model:
        from_file = model.forward(tokens, arithmetic="mirror", rope="file")
        computed = model.forward(tokens, arithmetic="mirror")
    # at position 0 both rotate by nothing
    assert same_bits(from_file[0], computed[0])
    assert not same_bits(from_file, computed)
    np.testing.assert_allclose(from_file, computed, atol=1e-4)


def test_a_nan_in_the_activations_comes_out_as_nan(tmp_path: Path) -> None:
    """The stream overflows to infinity, and a norm makes 0 * inf of it: q8 must not turn that into numbers."""
    model_config = config()
    mine = arrays(model_config)
    for name, factor in (("w1", 1e3), ("w3", 1e3), ("w2", 1e38)):
        mine[f"layers.0.feed_forward.{name}.weight"] *= np.float32(factor)
    path = tmp_path / "out.bin"
    exporter.export(exporter.Checkpoint.from_arrays(model_config, mine), path, format="v2", group_size=8)
    with reader_c.open(path) as model:
        assert np.isnan(model.forward([2])).all()
        assert np.isnan(model.forward([2], activations="q8")).all()


def test_a_model_of_zeros_is_all_zeros(tmp_path: Path) -> None:
    """Every group's scale is zero, in the weights and in the activations."""
    model_config = config()
    zeros = {name: np.zeros_like(array) for name, array in arrays(model_config).items()}
    path = tmp_path / "out.bin"
    exporter.export(exporter.Checkpoint.from_arrays(model_config, zeros), path, format="v2", group_size=8)
    with reader_c.open(path) as model:
        for activations in ("fp32", "q8"):
            assert not model.forward([1, 2, 3], activations=activations).any()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        ([], "number of tokens: expected at least 1, found 0"),
        ([0, 29], "token at 1: expected 0 to 28, found 29"),
        ([3, 4, -1], "token at 2: expected 0 to 28, found -1"),
        ([2**32], "token at 0: expected 0 to 28, found 4294967296"),
        ([2**70], "tokens: expected integers, found object"),
        ([0.5], "tokens: expected integers, found float64"),
        ([[1, 2]], "tokens: expected one dimension, found 2"),
        (5, "tokens: expected one dimension, found 0"),
        (list(range(28)) * 2, "positions: expected 1 to max_seq_len = 33, found 56"),
    ],
)
def test_tokens_out_of_range_are_refused(tmp_path: Path, tokens: list[int], message: str) -> None:
    with reader_c.open(toy_file(tmp_path, "v2")) as model, pytest.raises(reader_c.ArgumentError, match=message):
        model.forward(tokens)


def test_options_that_the_file_cannot_serve_are_refused(tmp_path: Path) -> None:
    with reader_c.open(toy_file(tmp_path, "v0")) as model, pytest.raises(reader_c.ArgumentError, match="Q8_0 file"):
        model.forward([1], activations="q8")
    with reader_c.open(toy_file(tmp_path, "v2")) as model, pytest.raises(reader_c.ArgumentError, match="only v0"):
        model.forward([1], rope="file")
