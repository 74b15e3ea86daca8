"""RoPE means what transformers computes with: new and old spellings, and which of two that differ."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import transformers
from helpers.hf_configs import SIZES, noted, read, refused
from hypothesis import example, given
from hypothesis import strategies as st
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

import exporter


def frequencies(config: exporter.ModelConfig) -> tuple[np.ndarray, float]:
    """Of each pair, and what sines and cosines are multiplied by: RopeScaling's own words, in numpy."""
    s, size = config.rope_scaling, config.head_dim
    plain = config.rope_theta ** (-np.arange(0, size, 2) / size)
    if s.type == "linear":
        return plain / s.factor, 1.0
    if s.type == "llama3":
        turns = s.original_max_positions * plain / (2 * math.pi)
        kept = np.clip((turns - s.low_freq_factor) / (s.high_freq_factor - s.low_freq_factor), 0, 1)
        return plain * (kept + (1 - kept) / s.factor), 1.0
    if s.type == "yarn":

        def pair(turns: float) -> float:
            return (
                size * math.log(s.original_max_positions / (turns * 2 * math.pi)) / (2 * math.log(config.rope_theta))
            )

        low, high = pair(s.beta_fast), pair(s.beta_slow)
        if s.truncate:
            low, high = math.floor(low), math.ceil(high)
        low, high = max(low, 0), min(high, size - 1)
        high += 0.001 if low == high else 0
        divided = np.clip((np.arange(size // 2) - low) / (high - low), 0, 1)
        return plain * (divided / s.factor + 1 - divided), s.attention_factor
    return plain, 1.0


@st.composite
def ropes(draw: st.DrawFn) -> dict[str, Any]:
    numbers = st.floats(1, 50).map(lambda x: round(x, 2))
    kind = draw(st.sampled_from(["default", "linear", "dynamic", "llama3", "yarn"]))
    made: dict[str, Any] = {"rope_type": kind, "rope_theta": draw(st.sampled_from([100.0, 10000.0, 5e5]))}
    if kind != "default":
        made["factor"] = draw(numbers)
    if kind in ("llama3", "yarn") and draw(st.booleans()):
        made["original_max_position_embeddings"] = draw(st.integers(8, 9000))
    if kind == "llama3":
        made["low_freq_factor"] = draw(numbers)
        made["high_freq_factor"] = made["low_freq_factor"] + draw(numbers)
    if kind == "yarn":
        fields = {
            "beta_fast": numbers.map(lambda x: x + 20),
            "beta_slow": st.sampled_from([None, 0, 0.5, 1, 2]),
            "attention_factor": numbers,
            "mscale": st.sampled_from([None, 0, 0.7, 1.0]),
            "mscale_all_dim": st.sampled_from([0, 0.5, 1.0]),
            "truncate": st.booleans(),
        }
        made |= draw(st.fixed_dictionaries({}, optional=fields))
    return made


@given(ropes(), st.booleans(), st.sampled_from([8, 16, 64]), st.sampled_from([64, 9001]))
@example({"rope_type": "yarn", "factor": None, "original_max_position_embeddings": 4096}, False, 64, 9001)
@example({"rope_type": "yarn", "factor": 0.5}, False, 64, 64)
@example({"rope_type": "yarn", "factor": 4, "mscale": 0.7, "mscale_all_dim": 0.5}, True, 64, 64)
def test_rope_turns_as_fast_as_in_transformers(
    rope: dict[str, Any], old: bool, head_dim: int, positions: int
) -> None:
    given_keys: dict[str, Any] = {"rope_parameters": rope}
    if old:  # as transformers 4 wrote it
        inner = {"type" if key == "rope_type" else key: value for key, value in rope.items() if key != "rope_theta"}
        given_keys = {"rope_theta": rope.get("rope_theta", 10000.0), "rope_scaling": inner}
    given_keys |= {"head_dim": head_dim, "max_position_embeddings": positions}
    theirs = LlamaRotaryEmbedding(transformers.LlamaConfig(**SIZES, **json.loads(json.dumps(given_keys))))
    found, scale = frequencies(read(**given_keys))
    np.testing.assert_allclose(found, theirs.inv_freq.numpy(), rtol=2e-5)
    assert scale == theirs.attention_scaling


def test_dynamic_scaling_begins_after_the_positions_there_are() -> None:
    scaling = read(rope_scaling={"type": "dynamic", "factor": 2}, max_position_embeddings=50, head_dim=4).rope_scaling
    assert scaling == exporter.RopeScaling("dynamic", factor=2.0, original_max_positions=50)


def test_what_stands_outside_the_rope_parameters_counts() -> None:
    config: dict[str, Any] = {"rope_parameters": {"rope_type": "yarn", "factor": 2}, "head_dim": 64}
    config["original_max_position_embeddings"] = 100
    theirs = LlamaRotaryEmbedding(transformers.LlamaConfig(**SIZES, **json.loads(json.dumps(config))))
    ours = read(**config)
    assert ours.rope_scaling.original_max_positions == 100
    np.testing.assert_allclose(frequencies(ours)[0], theirs.inv_freq.numpy(), rtol=2e-5)


_LINEAR = {"rope_type": "linear", "factor": 2.0}


@pytest.mark.parametrize(
    ("changes", "theta", "scaling", "note"),
    [
        (
            {"rope_scaling": _LINEAR, "rope_parameters": {**_LINEAR, "factor": 3.0, "rope_theta": 5e5}},
            10000.0,
            exporter.RopeScaling("linear", factor=2.0),
            "rope_parameters is ignored: transformers goes by rope_scaling where both are given",
        ),
        (
            {"rope_scaling": {}, "rope_parameters": _LINEAR},
            10000.0,
            exporter.RopeScaling("linear", factor=2.0),
            None,
        ),
        (
            {"rope_theta": 1e4, "rope_parameters": {"rope_theta": 5e5}},
            5e5,
            exporter.RopeScaling(),
            "rope_theta is ignored: transformers goes by the 500000 of rope_parameters",
        ),
        ({"rope_theta": None, "rope_parameters": {"rope_theta": 5e5}}, 5e5, exporter.RopeScaling(), None),
        (
            {"rope_scaling": {"type": "yarn", "rope_type": "linear", "factor": 2}},
            10000.0,
            exporter.RopeScaling("linear", factor=2.0),
            "rope_scaling: type 'yarn' is ignored: transformers goes by rope_type 'linear'",
        ),
        (
            {"rope_scaling": {"factor": 2}},
            10000.0,
            exporter.RopeScaling(),
            "rope_scaling: ignored, as transformers ignores it: factor",
        ),
        (
            {"rope_scaling": {**_LINEAR, "finetuned": True, "beta": None}},
            10000.0,
            exporter.RopeScaling("linear", factor=2.0),
            "rope_scaling: ignored, as transformers ignores it: finetuned",
        ),
        (
            {"rope_scaling": {"type": "dynamic", "factor": 2, "original_max_position_embeddings": 8}, "head_dim": 4},
            10000.0,
            exporter.RopeScaling("dynamic", factor=2.0, original_max_positions=2048),
            "rope_scaling: ignored, as transformers ignores it: original_max_position_embeddings",
        ),
        (
            {"partial_rotary_factor": 0.5},
            10000.0,
            exporter.RopeScaling(),
            "partial_rotary_factor is ignored, as transformers ignores it",
        ),
        ({"partial_rotary_factor": None, "rope_scaling": _LINEAR}, 1e4, exporter.RopeScaling("linear", 2.0), None),
        (
            {"original_max_position_embeddings": 9},
            10000.0,
            exporter.RopeScaling(),
            "original_max_position_embeddings is ignored, as transformers ignores it for default",
        ),
    ],
)
def test_what_two_spellings_mean_is_what_transformers_makes_of_them(
    changes: dict[str, Any], theta: float, scaling: exporter.RopeScaling, note: str | None
) -> None:
    config, notes = noted(**changes)
    assert (config.rope_theta, config.rope_scaling) == (theta, scaling)
    assert notes == ([note] if note else [])
    theirs = LlamaRotaryEmbedding(transformers.LlamaConfig(**SIZES, **json.loads(json.dumps(changes))))
    found, scale = frequencies(config)
    np.testing.assert_allclose(found, theirs.inv_freq.numpy(), rtol=2e-5)
    assert scale == theirs.attention_scaling


def test_original_positions_outside_count_before_those_within() -> None:
    changes = {"rope_type": "yarn", "factor": 2, "original_max_position_embeddings": 8}
    config = read(original_max_position_embeddings=9, rope_parameters=changes, head_dim=64)
    assert config.rope_scaling.original_max_positions == 9


def test_a_truncate_that_is_null_is_off() -> None:
    changes = {"rope_type": "yarn", "factor": 2, "truncate": None}
    assert not read(rope_parameters=changes, head_dim=64).rope_scaling.truncate
    assert read(rope_parameters={**changes, "truncate": True}, head_dim=64).rope_scaling.truncate


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"rope_scaling": {"type": "longrope", "factor": 2}},
            "rope_type: expected one of default, linear, dynamic, llama3, yarn, found 'longrope'",
        ),
        ({"rope_parameters": {"rope_type": "proportional"}}, "found 'proportional'"),
        ({"rope_scaling": {"type": "mrope"}}, "found 'mrope'"),
        ({"rope_scaling": {"type": "none", "factor": 2}}, "found 'none'"),
        ({"rope_scaling": {"type": []}}, r"found \[\]"),
        ({"rope_scaling": {"rope_type": None, "type": "linear", "factor": 2}}, "rope_type: expected .*, found None"),
        ({"rope_scaling": [1]}, r"rope_scaling: expected an object or null, found \[1\]"),
        ({"rope_parameters": []}, r"rope_parameters: expected an object or null, found \[\]"),
        ({"rope_scaling": {"type": "linear"}}, "rope_scaling: missing factor for linear"),
        ({"rope_scaling": {"type": "llama3", "factor": 2}}, "missing low_freq_factor for llama3"),
        (
            {"rope_scaling": {"type": "linear", "factor": 0}},
            "rope_scaling: factor: expected a positive finite number",
        ),
        ({"rope_scaling": {"type": "linear", "factor": "2"}}, "factor: expected a number, found '2'"),
        ({"rope_scaling": {"type": "linear", "factor": 10**400}}, "factor: expected a finite number, found 1000"),
        (
            {"rope_parameters": {"full_attention": _LINEAR}},
            "rope_parameters: full_attention: expected one RoPE for all layers, found another within it",
        ),
        (
            {"rope_scaling": {**_LINEAR, "partial_rotary_factor": 0.5}},
            "rope_scaling: partial_rotary_factor: expected 1, found 0.5",
        ),
        ({"partial_rotary_factor": 0.5, "rope_scaling": _LINEAR}, "partial_rotary_factor: expected 1, found 0.5"),
        (
            {"rope_scaling": {**_LINEAR, "partial_rotary_factor": None}},
            "partial_rotary_factor: expected a number, found None",
        ),
        (
            {"rope_scaling": {"type": "yarn", "factor": 2, "truncate": 1}},
            "truncate: expected true, false or null, found 1",
        ),
        (
            {"rope_scaling": {"type": "yarn", "factor": None, "original_max_position_embeddings": 0}},
            "original_max_position_embeddings: expected a positive integer, found 0",
        ),
        (
            {"original_max_position_embeddings": None, "rope_scaling": {"type": "yarn", "factor": 2}},
            "original_max_position_embeddings: expected an integer, found None",
        ),
        ({"rope_scaling": {"type": "dynamic", "factor": 2}}, "head_dim: expected more than 2 for dynamic .*found 2$"),
        ({"rope_theta": 0}, "rope_theta: expected a positive number, found 0"),
        ({"rope_theta": "1e4"}, "rope_theta: expected a number, found '1e4'"),
        ({"rope_theta": None}, "rope_theta: expected a number, found None"),
        ({"rope_parameters": {"rope_theta": None}}, "rope_theta: expected a number, found None"),
    ],
)
def test_rope_is_checked(changes: dict[str, Any], message: str) -> None:
    refused(message, **changes)
