"""RoPE of sliding layers by itself: which of two spellings counts, each kind's theta, and every refusal."""

from __future__ import annotations

from typing import Any

import pytest

import exporter
from exporter.families import FAMILIES
from exporter.rope_scaling import RopeScaling
from exporter.sources.huggingface_local_rope import read_ropes

GEMMA, OLMO = FAMILIES["gemma3_text"], FAMILIES["olmo3"]
LINEAR = {"rope_type": "linear", "factor": 2.0}
SCALED = RopeScaling("linear", factor=2.0)


def ropes(family: Any = GEMMA, **raw: Any) -> tuple[float, RopeScaling, float, list[str]]:
    rope, local, notes = read_ropes(raw, 32, family)
    assert (rope.rotary_dim, rope.beta, rope.positions) == (0, 0.0, 0)
    return rope.theta, rope.scaling, local, notes


def refused(family: Any = GEMMA, **raw: Any) -> str:
    with pytest.raises(exporter.CheckpointError) as caught:
        read_ropes(raw, 32, family)
    return str(caught.value)


@pytest.mark.parametrize(
    ("raw", "theta", "scaling", "local"),
    [
        ({}, 1e6, RopeScaling(), 1e4),
        ({"rope_parameters": None, "rope_scaling": None}, 1e6, RopeScaling(), 1e4),
        ({"rope_theta": 5.0, "rope_local_base_freq": 7.0}, 5.0, RopeScaling(), 7.0),
        ({"rope_scaling": LINEAR}, 1e6, SCALED, 1e4),
        ({"rope_parameters": {"full_attention": {"rope_theta": 3.0, **LINEAR}}}, 3.0, SCALED, 1e4),
        (
            {
                "rope_theta": 5.0,
                "rope_local_base_freq": 7.0,
                "rope_parameters": {"full_attention": {"rope_theta": 3.0}, "sliding_attention": {"rope_theta": 2.0}},
            },
            3.0,
            RopeScaling(),
            2.0,
        ),
        (
            {"rope_parameters": {"full_attention": {}, "sliding_attention": None}, "rope_scaling": LINEAR},
            1e6,
            SCALED,
            1e4,
        ),
        (
            {"rope_parameters": {"full_attention": {**LINEAR, "factor": 3.0}}, "rope_scaling": {"factor": 2.0}},
            1e6,
            SCALED,
            1e4,
        ),
        ({"rope_parameters": {"full_attention": None}}, 1e6, RopeScaling(), 1e4),
        ({"rope_parameters": {"sliding_attention": {"type": "default"}}}, 1e6, RopeScaling(), 1e4),
        (
            {"rope_parameters": {"sliding_attention": {"rope_type": "default", "type": "linear"}}},
            1e6,
            RopeScaling(),
            1e4,
        ),
    ],
)
def test_each_kind_of_layers_has_its_own(
    raw: dict[str, Any], theta: float, scaling: RopeScaling, local: float
) -> None:
    assert ropes(**raw) == (theta, scaling, local, [])


def test_a_class_without_the_old_key_has_its_default_for_sliding_layers() -> None:
    assert ropes(OLMO, rope_theta=5.0, rope_local_base_freq=7.0) == (5.0, RopeScaling(), 5e5, [])


def test_what_is_ignored_is_noted() -> None:
    raw = {"rope_parameters": {"full_attention": {"truncate": False, "rope_theta": 3.0, "beta_fast": 2}}}
    assert ropes(**raw)[3] == [
        "rope_parameters: full_attention: truncate is ignored, as transformers ignores it for kinds of layers",
        "rope_parameters: ignored, as transformers ignores it: beta_fast",
    ]
    assert raw["rope_parameters"]["full_attention"]["truncate"] is False


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (
            {"rope_parameters": {"rope_theta": 5.0, "factor": 2}},
            "rope_parameters: expected full_attention and sliding_attention, one RoPE for each, found 'rope_theta'",
        ),
        (
            {"rope_parameters": {"full_attention": 5}},
            "rope_parameters: full_attention: expected an object or null, found 5",
        ),
        (
            {"rope_parameters": {"sliding_attention": []}},
            "rope_parameters: sliding_attention: expected an object or null, found []",
        ),
        ({"rope_scaling": 8}, "rope_scaling: expected an object or null, found 8"),
        (
            {"rope_parameters": {}, "rope_scaling": LINEAR},
            "rope_parameters: expected full_attention, into which transformers merges rope_scaling, found none",
        ),
        (
            {"rope_parameters": {"full_attention": None}, "rope_scaling": LINEAR},
            "rope_parameters: expected full_attention, into which transformers merges rope_scaling, found none",
        ),
        *(
            (
                {"rope_parameters": {"sliding_attention": {key: "linear"}}},
                "rope_parameters: sliding_attention: rope_type: expected default, since no format scales a second "
                "RoPE, found 'linear'",
            )
            for key in ("rope_type", "type")
        ),
        (
            {"rope_parameters": {"sliding_attention": {"rope_theta": 0}}},
            "rope_parameters: sliding_attention: rope_theta: expected a positive number, found 0",
        ),
        ({"rope_local_base_freq": -1.5}, "rope_local_base_freq: expected a positive number, found -1.5"),
        ({"rope_local_base_freq": None}, "rope_local_base_freq: expected a number, found None"),
    ],
)
def test_what_no_model_can_mean_is_refused(raw: dict[str, Any], message: str) -> None:
    assert refused(**raw) == message


def test_any_positive_theta_is_taken() -> None:
    assert ropes(rope_local_base_freq=5e-324)[2] == 5e-324
