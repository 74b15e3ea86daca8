"""The PyTorch reference against a slow one written from the formulas, and its noise against real rounding."""

from __future__ import annotations

import dataclasses
import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import huggingface
from helpers.models import arrays, hyperparameters
from helpers.models import config as toy
from hypothesis import given
from hypothesis import strategies as st

import exporter
from verify.oracle import llama, rope
from verify.oracle.rounding_noise import UNIT, Noise
from verify.sources import Hyperparameters, RopeScaling
from verify.sources.huggingface import HuggingFaceSource
from verify.system.optional_imports import quiet_transformers
from verify.testing import configs


def slow_logits(config: exporter.ModelConfig, weights: dict[str, np.ndarray], tokens: list[int]) -> np.ndarray:
    """Float64, scalar loops, sines and cosines: position by position, head by head."""
    w = {name: array.astype(np.float64) for name, array in weights.items()}
    size, ratio = config.head_dim, config.n_heads // config.n_kv_heads
    eps = float(np.float32(config.norm_eps))

    def norm(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
        return weight * x / math.sqrt(sum(v * v for v in x) / len(x) + eps)

    def rotate(x: np.ndarray, position: int) -> np.ndarray:
        out = x.copy()
        for start in range(0, len(x), size):
            for i in range(0, size, 2):
                angle = position * config.rope_theta ** (-i / size)
                a, b = x[start + i], x[start + i + 1]
                out[start + i] = a * math.cos(angle) - b * math.sin(angle)
                out[start + i + 1] = a * math.sin(angle) + b * math.cos(angle)
        return out

    keys: list[list[np.ndarray]] = [[] for _ in range(config.n_layers)]
    values: list[list[np.ndarray]] = [[] for _ in range(config.n_layers)]
    rows = []
    for position, token in enumerate(tokens):
        x = w["tok_embeddings.weight"][token]
        for number in range(config.n_layers):
            p = f"layers.{number}."
            h = norm(x, w[p + "attention_norm.weight"])
            q = rotate(w[p + "attention.wq.weight"] @ h, position)
            keys[number].append(rotate(w[p + "attention.wk.weight"] @ h, position))
            values[number].append(w[p + "attention.wv.weight"] @ h)
            mixed = np.zeros(config.dim)
            for head in range(config.n_heads):
                mine, theirs = slice(head * size, (head + 1) * size), head // ratio
                other = slice(theirs * size, (theirs + 1) * size)
                scores = [q[mine] @ k[other] / math.sqrt(size) for k in keys[number]]
                shares = np.exp(np.array(scores) - max(scores))
                shares /= shares.sum()
                mixed[mine] = sum(s * v[other] for s, v in zip(shares, values[number], strict=True))
            x = x + w[p + "attention.wo.weight"] @ mixed
            h = norm(x, w[p + "ffn_norm.weight"])
            gate = w[p + "feed_forward.w1.weight"] @ h
            x = x + w[p + "feed_forward.w2.weight"] @ (
                gate / (1 + np.exp(-gate)) * (w[p + "feed_forward.w3.weight"] @ h)
            )
        x = norm(x, w["norm.weight"])
        rows.append(w["tok_embeddings.weight" if config.tied else "output.weight"] @ x)
    return np.stack(rows)


@given(configs(), st.sampled_from([10000.0, 500000.0]), st.sampled_from([1e-5, 1e-6]), st.data())
def test_reference_is_the_formulas_to_float64(
    config: exporter.ModelConfig, theta: float, eps: float, data: st.DataObject
) -> None:
    config = exporter.ModelConfig(**{**config.__dict__, "rope_theta": theta, "norm_eps": eps})
    length = data.draw(st.integers(1, 8))
    tokens = data.draw(st.lists(st.integers(0, config.vocab_size - 1), min_size=length, max_size=length))
    weights = arrays(config)
    reference = llama.logits(
        hyperparameters(config), lambda name: torch.from_numpy(weights[name]), torch.tensor([tokens])
    )
    np.testing.assert_allclose(reference[0].numpy(), slow_logits(config, weights, tokens), rtol=1e-10, atol=1e-10)


def test_windows_of_a_batch_do_not_touch_each_other() -> None:
    config = toy(tied=True)
    weights = {name: torch.from_numpy(array) for name, array in arrays(config).items()}
    tokens = torch.from_numpy(np.random.default_rng(0).integers(0, 29, (3, 20)))
    together = llama.logits(hyperparameters(config), weights.__getitem__, tokens)
    for row in range(3):
        alone = llama.logits(hyperparameters(config), weights.__getitem__, tokens[row : row + 1])
        torch.testing.assert_close(together[row], alone[0], rtol=1e-12, atol=1e-12)
    # causal: a later token moves no earlier logit
    other = tokens.clone()
    other[:, 12] = (other[:, 12] + 1) % 29
    changed = llama.logits(hyperparameters(config), weights.__getitem__, other)
    torch.testing.assert_close(together[:, :12], changed[:, :12], rtol=1e-12, atol=1e-12)
    assert (together[:, 12:] != changed[:, 12:]).any(dim=2).all()


def test_float32_reference_is_float64s_to_float32() -> None:
    config = toy(tied=True)
    weights = {name: torch.from_numpy(array) for name, array in arrays(config).items()}
    tokens = torch.arange(29)[None]
    wide = llama.logits(hyperparameters(config), weights.__getitem__, tokens)
    narrow = llama.logits(hyperparameters(config), weights.__getitem__, tokens, torch.float32)
    assert narrow.dtype == torch.float32
    assert 0 < (wide - narrow).abs().max() < 1e-5


def test_noise_of_a_sum_is_what_sequential_float32_sums_show() -> None:
    rng = np.random.default_rng(0)
    for mean in (0.0, 1.0):
        a = rng.standard_normal((400, 256)) + mean
        b = rng.standard_normal((256, 1)) + mean
        a, b = a.astype(np.float32), b.astype(np.float32)
        summed = np.cumsum(a * b[:, 0], axis=1, dtype=np.float32)[:, -1]
        real = summed - a.astype(np.float64) @ b[:, 0].astype(np.float64)
        y = torch.from_numpy(a.astype(np.float64) @ b.astype(np.float64))
        both = torch.stack((y, y))
        modelled = Noise(1, 1).product(both.clone(), torch.from_numpy(a).double()[None], torch.from_numpy(b).double())
        ratio = np.sqrt(np.mean(real**2)) / float((modelled - both)[1].square().mean().sqrt())
        assert 0.7 < ratio < 1.3


def test_noise_of_one_rounding_is_what_roundings_show() -> None:
    values = np.exp(np.random.default_rng(0).uniform(-20, 20, 200_000))
    real = np.sqrt(np.mean(((values.astype(np.float32) - values) / values) ** 2))
    clean, noisy = Noise(1, 1).rounded(torch.ones(2, 200_000, dtype=torch.float64)) - 1
    assert 0.98 < real / float(noisy.square().mean().sqrt()) < 1.02
    assert not clean.any()
    assert real < UNIT


@given(configs(max_layers=2, biases=True, scalings=True), st.integers(1, 3), st.integers(0, 99))
def test_clean_windows_stay_clean_and_noise_grows_with_its_scale(
    config: exporter.ModelConfig, windows: int, seed: int
) -> None:
    """Draws run beside the clean windows: these come out as they do alone, and the noise is in proportion to its
    scale, which is what lets it be told from the pass's own rounding."""
    weights = {name: torch.from_numpy(array) for name, array in arrays(config, seed).items()}
    model = hyperparameters(config)
    length = min(config.max_seq_len, 8)
    tokens = torch.from_numpy(np.random.default_rng(seed).integers(0, config.vocab_size, (windows, length)))
    alone = llama.logits(model, weights.__getitem__, tokens)

    def spread(scale: float) -> torch.Tensor:
        noise = Noise(windows, 4, scale, seed)
        found = llama.logits(model, weights.__getitem__, tokens.repeat(5, 1), noise=noise)
        torch.testing.assert_close(found[:windows], alone, rtol=1e-12, atol=1e-12)
        return found[windows:] - alone.repeat(4, 1, 1)

    small, large = spread(1.0), spread(64.0)
    torch.testing.assert_close(large / 64, small, rtol=0.02, atol=float(small.abs().max()) * 0.02)


def test_no_noise_is_no_change() -> None:
    y = torch.ones(3, 4, dtype=torch.float64)
    silent = Noise()
    for result in (silent.rounded(y), silent.product(y, y, y), silent.softmax(y, y), silent.angle(y, 8, 1e4)):
        assert result is y


@pytest.mark.slow
@given(huggingface.models(), st.integers(0, 99))
def test_reference_is_transformers_to_float64(made: tuple[str, dict[str, Any]], seed: int) -> None:
    architecture, changes = made
    with huggingface.float64_arithmetic():
        model = huggingface.model(architecture, seed, **changes)
        tokens = torch.from_numpy(
            np.random.default_rng(seed).integers(0, changes["vocab_size"], (2, changes["max_position_embeddings"]))
        )
        expected = huggingface.logits(model, tokens)
    assert expected.dtype == torch.float64
    with tempfile.TemporaryDirectory() as directory:
        source = HuggingFaceSource(huggingface.save(Path(directory), model))
        found = llama.logits(source.hyperparameters, source.tensor, tokens)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("activation", ["silu", "gelu", "gelu_tanh"])
def test_noise_of_an_activation_is_what_float32_shows(activation: str) -> None:
    f = np.float32
    gate = np.random.default_rng(0).uniform(-4, 4, 100_000).astype(f)
    up = np.random.default_rng(1).uniform(0.5, 2, 100_000).astype(f)
    if activation == "silu":
        real = gate * (f(1) / (f(1) + np.exp(-gate))) * up
    elif activation == "gelu":
        # what the references run: its erf is not torch.erf
        real = torch.nn.functional.gelu(torch.from_numpy(gate)).numpy() * up
    else:
        inner = np.tanh(f(math.sqrt(2 / math.pi)) * (gate + f(0.044715) * gate * gate * gate))
        real = f(0.5) * gate * (f(1) + inner) * up
    assert real.dtype == f
    wide = torch.from_numpy(gate).double(), torch.from_numpy(up).double()
    exact = llama.activated(*wide, activation, Noise())
    noisy = llama.activated(*(torch.stack((side, side)) for side in wide), activation, Noise(1, 1))[1]
    error = torch.from_numpy(real).double() - exact
    for low in range(-4, 4):
        here = (gate >= low) & (gate < low + 1)
        ratio = float(error[here].square().mean().sqrt() / (noisy - exact)[here].square().mean().sqrt())
        assert 0.3 < ratio < 1.3, (low, ratio)


@pytest.mark.parametrize(
    "edge",
    [
        {"beta_fast": 3.0, "beta_slow": 3.0, "truncate": False},  # a step between two pairs
        {"beta_fast": 3.0, "beta_slow": 3.0, "truncate": True},
        {"beta_fast": 32.0, "beta_slow": 16.0, "original_max_position_embeddings": 1},  # before the first pair
        {"beta_fast": 2.0, "beta_slow": 1e-9, "truncate": False},  # beyond the last pair, and the last index
        {"beta_fast": 1.0, "beta_slow": 32.0},  # the wrong way round
    ],
)
def test_yarn_at_its_edges_is_transformers(edge: dict[str, Any]) -> None:
    parameters = {
        "rope_theta": 1e4,
        "rope_type": "yarn",
        "factor": 8.0,
        "original_max_position_embeddings": 64,
        **edge,
    }
    with huggingface.float64_arithmetic(), quiet_transformers() as transformers:
        config = transformers.LlamaConfig(**huggingface.settings(head_dim=16, rope_parameters=parameters))
        expected, _ = transformers.modeling_rope_utils.ROPE_INIT_FUNCTIONS["yarn"](config)
    scaling = RopeScaling(
        "yarn",
        8.0,
        parameters["original_max_position_embeddings"],
        beta_fast=edge["beta_fast"],
        beta_slow=edge["beta_slow"],
        attention_factor=1.0,
        truncate=edge.get("truncate", True),
    )
    model = hyperparameters(toy(dim=32, n_heads=2, n_kv_heads=1))
    found = rope.frequencies(dataclasses.replace(model, rope_scaling=scaling))
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("original", [4096, 10**9], ids=["within the pairs", "beyond the last index"])
@pytest.mark.parametrize("truncate", [False, True])
def test_yarn_counts_the_pairs_of_the_rotated_part_as_transformers_does(original: int, truncate: bool) -> None:
    betas = {"beta_fast": original / 128, "beta_slow": 1.0}
    parameters = {
        "rope_theta": 1e4,
        "rope_type": "yarn",
        "factor": 8.0,
        "original_max_position_embeddings": original,
        "partial_rotary_factor": 2 / 3,
        "truncate": truncate,
        **betas,
    }
    with huggingface.float64_arithmetic(), quiet_transformers() as transformers:
        config = transformers.LlamaConfig(**huggingface.settings(head_dim=24, rope_parameters=parameters))
        expected, _ = transformers.modeling_rope_utils.ROPE_INIT_FUNCTIONS["yarn"](config)
    scaling = RopeScaling("yarn", 8.0, original, **betas, attention_factor=1.0, truncate=truncate)
    model = hyperparameters(toy(dim=48, n_heads=2, n_kv_heads=1))
    found = rope.frequencies(dataclasses.replace(model, rope_scaling=scaling, rotary_dim=16))
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)
    plain = rope.frequencies(dataclasses.replace(model, rotary_dim=16))
    assert len((plain / found).round(decimals=6).unique()) > 3


@pytest.mark.parametrize(
    ("scaling", "of_ratio"),
    [
        (RopeScaling(), 0),
        (RopeScaling("dynamic", 4.0, 4000), 0),
        (RopeScaling("linear", 4.0), 1),
        # neither pair is in the band
        (RopeScaling("llama3", 4.0, 200, 1.0, 4.0), 1),
        (RopeScaling("yarn", 4.0, 2000, beta_fast=32.0, beta_slow=1.0, attention_factor=1.5, truncate=True), 1),
    ],
)
def test_a_ratio_is_one_more_rounding_of_a_frequency(scaling: RopeScaling, of_ratio: int) -> None:
    # the first pair's power of theta is exact, the second one's is not
    expected = torch.tensor([0.0, 2.0], dtype=torch.float64) + of_ratio
    torch.testing.assert_close(roundings_of_frequencies(scaling), expected, rtol=0, atol=0.15)


@pytest.mark.parametrize("band", [(1.0, 4.0), (3.0, 4.0), (3.1, 3.2)])
def test_in_the_band_of_llama3_a_frequency_s_error_grows_as_its_ratio_does(band: tuple[float, float]) -> None:
    scaling = RopeScaling("llama3", 4.0, 2000, *band)
    model, step = model_with(scaling), 1e-7
    other = dataclasses.replace(model, rope_theta=model.rope_theta / (1 + step) ** 2)  # 1 + step times the frequency
    growth = float(rope.frequencies(other)[1] / rope.frequencies(model)[1] - 1) / step - 1
    assert growth > 0.5
    found = roundings_of_frequencies(scaling)[1]
    assert float(found) == pytest.approx(2 * (1 + growth) ** 2 + 1 + 4 * growth**2, rel=0.02)


@pytest.mark.parametrize("width", [3.0, 1.0, 0.1, 0.01])
def test_frequencies_of_transformers_are_within_the_noise_of_llama3(width: float) -> None:
    """A ratio in float32 is a difference divided by the band's width."""
    with quiet_transformers() as transformers:
        config = transformers.LlamaConfig(
            hidden_size=256,
            num_attention_heads=1,
            rope_parameters={
                "rope_type": "llama3",
                "rope_theta": 1e4,
                "factor": 32.0,
                "original_max_position_embeddings": 2000,
                "low_freq_factor": 1.0,
                "high_freq_factor": 1.0 + width,
            },
        )
        theirs, _ = transformers.modeling_rope_utils.ROPE_INIT_FUNCTIONS["llama3"](config, "cpu")
    scaling = RopeScaling("llama3", 32.0, 2000, 1.0, 1.0 + width)
    model = dataclasses.replace(model_with(scaling, dim=256), rope_theta=1e4)
    error = theirs.double() / rope.frequencies(model) - 1
    sizes = (roundings_of_frequencies(scaling, dim=256) * 0.18 * UNIT**2).sqrt()
    assert float((error.abs() / sizes.clamp(min=1e-30)).max()) < 6


def model_with(scaling: RopeScaling, dim: int = 4) -> Hyperparameters:
    config = toy(dim=dim, n_heads=1, n_kv_heads=1, max_seq_len=4000)
    return dataclasses.replace(hyperparameters(config), rope_scaling=scaling)


def roundings_of_frequencies(scaling: RopeScaling, dim: int = 4) -> torch.Tensor:
    """Return the variance that draws give each frequency, in roundings: (dim / 2,)."""
    model = model_with(scaling, dim)
    positions = torch.arange(4000, dtype=torch.float64)[:, None]
    exact = rope.rotation(model, 4000, torch.float64, Noise())
    rotations = rope.rotation(model, 4000, torch.float64, Noise(1, 8))
    assert torch.equal(rotations[0], exact)
    rotated = (rotations[1:] / exact).angle()
    # what all positions share, as a part of the frequency
    shared = (rotated * positions).sum(dim=1) / positions.square().sum(dim=0) / rope.frequencies(model)
    return shared.square().mean(dim=0) / (0.18 * UNIT**2)
