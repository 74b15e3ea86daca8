"""The RoPE fields of config.json by themselves: numbers by hand, each limit from both sides, and exact messages."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

import exporter
from exporter.families import FAMILIES
from exporter.rope_scaling import RopeScaling
from exporter.sources.huggingface_rope import Rope, read_rope

LLAMA, PHI, MINISTRAL = (FAMILIES[name] for name in ("llama", "phi3", "ministral3"))
PARTIAL, ORIGINAL, BETA = "partial_rotary_factor", "original_max_position_embeddings", "llama_4_scaling_beta"


def rope(family: Any = LLAMA, head_dim: int = 8, positions: int = 32, **raw: Any) -> Rope:
    return read_rope(raw, positions, family, head_dim)


def refused(family: Any = LLAMA, **raw: Any) -> str:
    with pytest.raises(exporter.CheckpointError) as caught:
        rope(family, **raw)
    return str(caught.value)


# ---- a part of each head ----


@pytest.mark.parametrize(
    ("share", "rotated"), [(0.25, 2), (0.5, 4), (0.6, 4), (0.75, 6), (1, 8), (1.0625, 8), (None, 8)]
)
def test_an_even_part_of_a_head_is_rotated(share: float | None, rotated: int) -> None:
    outside = {} if share is None else {PARTIAL: share}
    plain = Rope(1e4, RopeScaling(), rotated, 0.0, 0, ())
    assert rope(PHI, **outside) == rope(PHI, rope_parameters=outside) == plain
    assert rope(PHI, **{PARTIAL: 0.1}, rope_parameters={PARTIAL: share or 1}) == plain


@pytest.mark.parametrize(("head_dim", "share"), [(8, 0.24), (8, 0.375), (8, 1.25), (7, 8 / 7), (8, -0.5)])
def test_another_part_is_refused(head_dim: int, share: float) -> None:
    expected = f"expected a share of {head_dim} that leaves an even number of rotated elements, at least 2, found"
    assert refused(PHI, head_dim=head_dim, **{PARTIAL: share}) == f"{PARTIAL}: {expected} {share}"
    for key in ("rope_parameters", "rope_scaling"):
        assert refused(PHI, head_dim=head_dim, **{key: {PARTIAL: share}}) == f"{key}: {PARTIAL}: {expected} {share}"
    with pytest.raises(exporter.CheckpointError, match="expected a share of 0 that"):
        read_rope({}, 32, PHI)


def test_a_part_that_is_null_is_none() -> None:
    assert refused(PHI, **{PARTIAL: None}) == f"{PARTIAL}: expected a number, found None"
    assert rope(**{PARTIAL: None}, rope_scaling={"type": "linear", "factor": 2}).scaling == RopeScaling("linear", 2.0)


# ---- longrope ----


def test_longrope_has_a_factor_for_each_rotated_pair() -> None:
    for kind in ("longrope", "su", "yarn"):
        said = {"type": kind, "short_factor": [1.0, 2.0], "long_factor": [1.0, 4.0], ORIGINAL: 16}
        found = rope(PHI, positions=8192, **{PARTIAL: 0.5, "rope_scaling": said})
        factor = math.sqrt(1 + math.log(2) / math.log(4096))
        # the class has a default for the original length, which counts before the one within
        assert found.scaling == RopeScaling(
            "longrope", original_max_positions=4096, attention_factor=factor, short_factors=(1.0, 2.0)
        )
        assert rope(PHI, **{PARTIAL: 0.5, ORIGINAL: 9, "rope_scaling": said}).scaling.original_max_positions == 9
        assert refused(PHI, rope_scaling=said) == (
            "rope_scaling: short_factor: expected a list of 4 numbers, one for each rotated pair, found 2"
        )
    del said[ORIGINAL]
    assert rope(PHI, **{PARTIAL: 0.5, "rope_scaling": {**said, "type": "longrope"}})
    assert refused(PHI, rope_scaling={**said, "type": "su"}) == (
        f"rope_scaling: missing {ORIGINAL} for su, which transformers requires"
    )
    for kind in ("longrope", "yarn"):
        assert refused(PHI, rope_scaling={"type": kind}) == (
            f"rope_scaling: missing short_factor for {kind}, which transformers requires"
        )


# ---- what is read, ignored and refused ----


def test_one_known_type_is_named_alone() -> None:
    one = replace(LLAMA, rope_kinds=("linear",))
    assert refused(one) == "rope_parameters: rope_type: expected linear, found 'default'"
    assert refused(PHI, rope_scaling={"type": "x"}) == (
        "rope_scaling: rope_type: expected one of default, longrope, found 'x'"
    )


@pytest.mark.parametrize(
    ("family", "raw", "notes"),
    [
        (LLAMA, {PARTIAL: 1}, []),
        (LLAMA, {PARTIAL: 1.0, "rope_parameters": {}}, []),
        (LLAMA, {PARTIAL: 0}, [f"{PARTIAL} is ignored, as transformers ignores it"]),
        (LLAMA, {PARTIAL: 2}, [f"{PARTIAL} is ignored, as transformers ignores it"]),
        (
            LLAMA,
            {PARTIAL: 2, "rope_parameters": {PARTIAL: 0.5, BETA: 1}},
            [f"rope_parameters: ignored, as transformers ignores it: {PARTIAL}, {BETA}"],
        ),
        (LLAMA, {ORIGINAL: 9}, [f"{ORIGINAL} is ignored, as transformers ignores it for default"]),
        (PHI, {PARTIAL: 0.5, ORIGINAL: 9}, []),
        (PHI, {PARTIAL: 2, "rope_parameters": {PARTIAL: 0.5}}, []),
        (PHI, {"rope_parameters": {BETA: 1}}, [f"rope_parameters: ignored, as transformers ignores it: {BETA}"]),
        (MINISTRAL, {"rope_parameters": {BETA: 1, ORIGINAL: 9, "max_position_embeddings": 5}}, []),
        (
            MINISTRAL,
            {"rope_parameters": {BETA: 1, ORIGINAL: 9, PARTIAL: 0.5}},
            [f"rope_parameters: ignored, as transformers ignores it: {PARTIAL}"],
        ),
    ],
)
def test_what_a_class_does_not_read_is_noted(family: Any, raw: dict[str, Any], notes: list[str]) -> None:
    assert rope(family, **raw).notes == tuple(notes)


@pytest.mark.parametrize(
    ("fields", "key"), [({"full_attention": None}, "full_attention"), ({"x": {}}, "x"), ({"a b": {}}, "'a b'")]
)
def test_one_rope_holds_no_other(fields: dict[str, Any], key: str) -> None:
    found = f"{key}: expected one RoPE for all layers, found another within it"
    assert refused(rope_parameters=fields) == f"rope_parameters: {found}"
    assert refused(rope_scaling={"type": "default", **fields}) == f"rope_scaling: {found}"
    assert refused(**{PARTIAL: {}}).startswith(f"rope_parameters: {PARTIAL}: expected one RoPE for all layers")


def test_any_positive_theta_is_taken() -> None:
    for theta in (5e-324, 0.5, 1):
        assert rope(rope_theta=theta).theta == theta
    for theta in (0, -0.5):
        assert refused(rope_theta=theta) == f"rope_theta: expected a positive number, found {theta}"


# ---- the scale of late queries ----


@pytest.mark.parametrize(
    ("raw", "beta", "positions"),
    [
        ({"rope_parameters": {BETA: 0.25, ORIGINAL: 1}}, 0.25, 1),
        ({"rope_parameters": {BETA: 2, ORIGINAL: 16}, ORIGINAL: 9}, 2.0, 16),
        ({"rope_parameters": {"type": "yarn", "factor": 2, BETA: 0.25, ORIGINAL: 16}}, 0.25, 16),
        ({"rope_parameters": {"type": "yarn", "factor": 2, BETA: 0.25, ORIGINAL: 16}, ORIGINAL: 9}, 0.25, 9),
        ({"rope_parameters": {BETA: 0, ORIGINAL: 16}}, 0.0, 0),
        ({}, 0.1, 16384),
    ],
)
def test_late_queries_have_the_positions_that_the_scaling_reads(
    raw: dict[str, Any], beta: float, positions: int
) -> None:
    found = rope(MINISTRAL, **raw)
    assert (found.beta, found.positions) == (beta, positions)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, f"missing {BETA}, which transformers computes with"),
        ({BETA: None, ORIGINAL: 9}, f"missing {BETA}, which transformers computes with"),
        ({BETA: "1", ORIGINAL: 9}, f"{BETA}: expected a number, found '1'"),
        ({BETA: -0.25, ORIGINAL: 9}, f"{BETA}: expected 0 or more, found -0.25"),
        ({BETA: 1}, f"{ORIGINAL}: expected a positive integer, found None"),
        ({BETA: 1, ORIGINAL: True}, f"{ORIGINAL}: expected a positive integer, found True"),
        ({BETA: 1, ORIGINAL: 2.5}, f"{ORIGINAL}: expected a positive integer, found 2.5"),
        ({BETA: 0, ORIGINAL: 0}, f"{ORIGINAL}: expected a positive integer, found 0"),
    ],
)
def test_a_scale_of_late_queries_is_whole_or_refused(fields: dict[str, Any], message: str) -> None:
    assert refused(MINISTRAL, rope_parameters=fields) == f"rope_parameters: {message}"


# ---- yarn ----


def yarn(**said: Any) -> RopeScaling:
    return rope(rope_scaling={"type": "yarn", **said}).scaling


@pytest.mark.parametrize(
    ("said", "attention"),
    [
        ({"factor": 4}, 0.1 * math.log(4) + 1),
        ({"factor": 1.5}, 0.1 * math.log(1.5) + 1),
        ({"factor": 1}, 1.0),
        ({"factor": 0.5, "mscale": 2, "mscale_all_dim": 3}, 1.0),
        ({"factor": 4, "mscale": 2}, 0.1 * math.log(4) + 1),
        ({"factor": 4, "mscale_all_dim": 2}, 0.1 * math.log(4) + 1),
        ({"factor": 4, "mscale": 0, "mscale_all_dim": 2}, 0.1 * math.log(4) + 1),
        ({"factor": 4, "mscale": 2, "mscale_all_dim": 3}, (0.2 * math.log(4) + 1) / (0.1 * 3 * math.log(4) + 1)),
        ({"factor": 4, "mscale": 2, "mscale_all_dim": 3, "attention_factor": 0.5}, 0.5),
    ],
)
def test_yarn_multiplies_attention_as_transformers_does(said: dict[str, Any], attention: float) -> None:
    assert yarn(**said) == RopeScaling(
        "yarn",
        factor=float(said["factor"]),
        original_max_positions=32,
        beta_fast=32.0,
        beta_slow=1.0,
        attention_factor=attention,
        truncate=True,
    )


def test_a_factor_that_is_null_is_that_of_the_positions() -> None:
    for original in (1, 8):
        found = yarn(factor=None, **{ORIGINAL: original})
        assert (found.factor, found.original_max_positions) == (32 / original, original)
    for original in (0, -1):
        assert refused(rope_scaling={"type": "yarn", "factor": None, ORIGINAL: original}) == (
            f"rope_scaling: {ORIGINAL}: expected a positive integer, found {original}"
        )


def test_a_scale_of_zero_is_refused() -> None:
    for said, found in (
        ({"mscale": 1, "mscale_all_dim": -10}, "-10.0"),
        ({"mscale": -10, "mscale_all_dim": 1}, "-10.0"),
    ):
        assert refused(rope_scaling={"type": "yarn", "factor": math.e, **said}) == (
            f"rope_scaling: mscale: expected one that leaves the attention a factor, found {found}"
        )
