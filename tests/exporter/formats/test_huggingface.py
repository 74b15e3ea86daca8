"""export(format="hf"): transformers loads the directory and computes the same model."""

from __future__ import annotations

import hashlib
import subprocess
import weakref
from math import prod
from pathlib import Path

import numpy as np
import pytest
import safetensors
import torch
import transformers
from helpers.hf_exports import NUMPY, TORCH, as_transformers_has_it, everything, exported, expressible, loaded, typed
from helpers.models import arrays, checkpoint, config, hyperparameters, same_bits
from hypothesis import assume, example, given
from hypothesis import strategies as st
from scipy.special import erf

import exporter
from exporter.config import tensor_shapes
from verify.testing import configs


def reference(source: exporter.Checkpoint, tokens: np.ndarray) -> np.ndarray:
    """Float64 logits of one window, in llama2.c's convention, without RoPE scaling."""
    c = source.config
    w = {name: source.load(name).astype(np.float64) for name in source.names}

    def linear(name: str, x: np.ndarray) -> np.ndarray:
        return x @ w[f"{name}.weight"].T + w.get(f"{name}.bias", 0.0)

    def norm(name: str, x: np.ndarray) -> np.ndarray:
        return w[f"{name}.weight"] * x / np.sqrt((x * x).mean(-1, keepdims=True) + c.norm_eps)

    def act(x: np.ndarray) -> np.ndarray:
        if c.activation == "silu":
            return x / (1 + np.exp(-x))
        if c.activation == "gelu":
            return x / 2 * (1 + erf(x / np.sqrt(2)))
        return x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))

    def turned(x: np.ndarray) -> np.ndarray:
        frequency = c.rope_theta ** (-np.arange(0, c.head_dim, 2) / c.head_dim)
        turns = np.exp(1j * np.arange(len(x))[:, None] * frequency)[:, None]
        pairs = (x[..., 0::2] + 1j * x[..., 1::2]) * turns
        return np.stack((pairs.real, pairs.imag), axis=-1).reshape(x.shape)

    x = w["tok_embeddings.weight"][tokens]
    past = np.tril(np.ones((len(tokens), len(tokens)), bool))
    for layer in range(c.n_layers):
        p = f"layers.{layer}."
        h = norm(f"{p}attention_norm", x)
        q, k, v = (linear(f"{p}attention.w{n}", h).reshape(len(h), -1, c.head_dim) for n in "qkv")
        each = c.n_heads // c.n_kv_heads
        k, v = turned(k).repeat(each, axis=1), v.repeat(each, axis=1)
        scores = np.einsum("qhd,khd->hqk", turned(q), k) / np.sqrt(c.head_dim)
        scores = np.exp(np.where(past, scores - scores.max(-1, keepdims=True), -np.inf))
        mixed = np.einsum("hqk,khd->qhd", scores / scores.sum(-1, keepdims=True), v)
        x = x + linear(f"{p}attention.wo", mixed.reshape(len(h), -1))
        h = norm(f"{p}ffn_norm", x)
        gated = act(linear(f"{p}feed_forward.w1", h)) * linear(f"{p}feed_forward.w3", h)
        x = x + linear(f"{p}feed_forward.w2", gated)
    return norm("norm", x) @ w["tok_embeddings.weight" if c.tied else "output.weight"].T


@given(everything(), st.data())
@example(config(n_heads=5, n_kv_heads=5, head_dim=6, qkv_bias=True), None)  # Qwen2 does not divide dim
def test_transformers_has_every_tensor_bit_for_bit(model: exporter.ModelConfig, data: st.DataObject | None) -> None:
    assume(expressible(model))
    names = list(tensor_shapes(model))
    drawn = (
        data.draw(st.lists(st.sampled_from(sorted(TORCH)), min_size=len(names), max_size=len(names))) if data else []
    )
    dtypes = dict(zip(names, drawn, strict=False))
    source = typed(model, dtypes)
    expected = dict(as_transformers_has_it(name, source.load(name), model) for name in names)
    with exported(source) as (out, _):
        found = dict(loaded(out, torch.float32).state_dict())
        if model.tied:
            assert found.pop("lm_head.weight") is not None
        assert found.keys() == expected.keys()
        assert all(same_bits(found[name].numpy(), expected[name]) for name in expected)
        with safetensors.safe_open(out / "model.safetensors", "pt") as file:
            stored = {name: file.get_tensor(name).dtype for name in file.keys()}  # noqa: SIM118  # no mapping
            assert file.metadata() == {"format": "pt"}
        assert stored == {
            as_transformers_has_it(name, source.load(name), model)[0]: TORCH[source.dtype(name)] for name in names
        }


@given(everything(scalings=False), st.integers(0, 2**32 - 1))
@example(config(), 0)
@example(config(head_dim=4, qkv_bias=True, wo_bias=True, mlp_bias=True, activation="gelu"), 0)
@example(config(qkv_bias=True, activation="gelu_tanh"), 0)
def test_transformers_computes_the_same_logits(model: exporter.ModelConfig, seed: int) -> None:
    assume(expressible(model))
    source = checkpoint(model, seed)
    tokens = np.random.default_rng(seed).integers(0, model.vocab_size, min(model.max_seq_len, 12))
    expected = reference(source, tokens)
    with exported(source) as (out, _), torch.inference_mode():
        found = loaded(out)(torch.from_numpy(tokens)[None]).logits[0].numpy()
    assert found.dtype == np.float32
    assert np.abs(found - expected).max() <= 1e-4 * max(1.0, np.abs(expected).max())


@given(configs(), st.integers(0, 2**32 - 1))
def test_a_plain_model_agrees_with_the_verifiers_reference(model: exporter.ModelConfig, seed: int) -> None:
    from verify.oracle import llama

    source = checkpoint(model, seed)
    tokens = np.random.default_rng(seed).integers(0, model.vocab_size, (1, min(model.max_seq_len, 12)))
    weights = {name: torch.from_numpy(array) for name, array in arrays(model, seed).items()}
    expected = llama.logits(hyperparameters(model), weights.__getitem__, torch.from_numpy(tokens))[0].numpy()
    with exported(source) as (out, _), torch.inference_mode():
        found = loaded(out)(torch.from_numpy(tokens)).logits[0].numpy()
    assert np.abs(found - expected).max() <= 1e-4 * max(1.0, np.abs(expected).max())


@given(everything(), st.sampled_from([1, 4000, 5 * 10**9]))
def test_the_same_input_is_the_same_bytes(model: exporter.ModelConfig, shard_bytes: int) -> None:
    assume(expressible(model))
    source = checkpoint(model)
    with exported(source, shard_bytes=shard_bytes) as (a, first), exported(source, shard_bytes=shard_bytes) as (b, _):
        for name, digest in first.digests.items():
            assert (a / name).read_bytes() == (b / name).read_bytes()
            assert hashlib.sha256((a / name).read_bytes()).hexdigest() == digest
        lines = [f"{first.digests[name]}  {name}\n" for name in sorted(first.digests)]
        assert hashlib.sha256("".join(lines).encode()).hexdigest() == first.sha256
        assert {p.name for p in a.iterdir()} == first.digests.keys() == {p.name for p in b.iterdir()}


def test_the_summary_tells_what_is_on_disk(tmp_path: Path) -> None:
    out = tmp_path / "a model"
    seen: list[tuple[int, int]] = []
    half = tensor_shapes(config(tied=True))
    source = typed(config(tied=True), dict.fromkeys(half, "bf16"))
    summary = exporter.export(source, out, format="hf", progress=lambda done, total: seen.append((done, total)))
    sizes = {p.name: p.stat().st_size for p in out.iterdir()}
    assert summary.bytes == sum(sizes.values())
    assert seen[-1] == (summary.bytes, summary.bytes)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert [(t.name, t.storage, t.bytes) for t in summary.tensors] == [
        (name, "bf16", 2 * prod(shape)) for name, shape in half.items()
    ]
    # the directory's digest is what coreutils make of it
    command = "LC_ALL=C sha256sum * | sha256sum"
    found = subprocess.run(command, shell=True, cwd=out, capture_output=True, text=True, check=True).stdout
    assert found.split()[0] == summary.sha256
    assert [p.name for p in tmp_path.iterdir()] == ["a model"]


def test_a_shortened_model_is_written_as_one(tmp_path: Path) -> None:
    exporter.export(checkpoint(), tmp_path / "out", format="hf", max_seq_len=7)
    assert transformers.AutoConfig.from_pretrained(tmp_path / "out").max_position_embeddings == 7


@pytest.mark.parametrize("name", ["layers.1.attention.wk.weight", "layers.1.feed_forward.w2.weight"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_weight_that_is_not_finite_is_refused_with_tensor_and_index(tmp_path: Path, name: str, bad: float) -> None:
    mine = arrays(config())
    mine[name][7, 11] = bad
    with pytest.raises(exporter.WeightError, match=rf"{name}: \[7, 11\]: expected a finite"):
        exporter.export(exporter.Checkpoint.from_arrays(config(), mine), tmp_path / "out", format="hf")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["layers.1.attention.wk.weight", "layers.1.feed_forward.w2.weight"])
@pytest.mark.parametrize(
    ("dtype", "bad"), [("fp16", 1 + 2.0**-11), ("fp16", 1e5), ("bf16", 1 + 2.0**-8), ("bf16", 3.4e38)]
)
def test_a_weight_that_its_type_cannot_hold_is_refused(tmp_path: Path, name: str, dtype: str, bad: float) -> None:
    source = typed(config(), {name: dtype})
    source.load(name).base[7, 11] = bad
    with pytest.raises(
        exporter.WeightError,
        match=rf"{name}: \[7, 11\]: expected a weight that b?float16, the source's type, holds exactly, found",
    ):
        exporter.export(source, tmp_path / "out", format="hf")
    assert not list(tmp_path.iterdir())


@given(st.sampled_from(["fp16", "bf16"]), st.data())
def test_every_value_of_the_narrow_types_passes(dtype: str, data: st.DataObject) -> None:
    """Zeros of both signs, subnormals, the largest."""
    bits = np.array(data.draw(st.lists(st.integers(0, 2**16 - 1), min_size=48, max_size=48)), np.uint16)
    exponent = {"fp16": 0x7C00, "bf16": 0x7F80}[dtype]
    values = np.where(bits & exponent == exponent, np.uint16(0x8000), bits).view(NUMPY[dtype])
    mine = {**arrays(config()), "norm.weight": values.astype(np.float32)}
    source = exporter.Checkpoint(
        config(), tensor_shapes(config()), mine.__getitem__, where="", kind="", dtypes={"norm.weight": dtype}
    )
    with exported(source) as (out, _), safetensors.safe_open(out / "model.safetensors", "pt") as file:
        assert file.get_tensor("model.norm.weight").view(torch.int16).numpy().tobytes() == values.tobytes()


def test_one_tensor_is_held_at_a_time(tmp_path: Path) -> None:
    """No array that load gave is alive when the next is asked for."""
    made = arrays(config())
    given: list[weakref.ref[np.ndarray]] = []

    def load(name: str) -> np.ndarray:
        assert not any(array() is not None for array in given)
        array = made[name].copy()
        given.append(weakref.ref(array))
        return array

    source = exporter.Checkpoint(config(), tensor_shapes(config()), load, where="", kind="")
    exporter.export(source, tmp_path / "out", format="hf")
    assert len(given) == len(made)
