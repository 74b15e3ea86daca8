"""RoPE's parameters by themselves: every default, every limit, and what is noted."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from verify.errors import CannotJudgeError
from verify.sources.huggingface_rope import local_theta, query_scale, read_rope, rotary_dim
from verify.sources.huggingface_settings import Settings
from verify.sources.source import RopeScaling

WHERE = Path("config.json")
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
LLAMA3 |= {"original_max_position_embeddings": 16}
FLOAT32_TENTH = 0.10000000149011612
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}


def read(rope: Any, said: dict[str, Any] | None = None, head_dim: int = 8) -> tuple[float, RopeScaling, list[str]]:
    if isinstance(rope, dict):
        rope = {"rope_theta": 5e5, **rope}
    config = SimpleNamespace(
        rope_parameters=rope, hidden_size=48, num_attention_heads=6, head_dim=8, max_position_embeddings=33
    )
    config.standardize_rope_params = lambda: None
    return read_rope(WHERE, Settings("llama", said or {}, {}), config, 33, head_dim)


LONGROPE = {"rope_type": "longrope", "short_factor": [1, 1.5, 0.1], "long_factor": [2, 3.5, 9]}
LONGROPE |= {"partial_rotary_factor": 0.75, "original_max_position_embeddings": 16}


def read_phi(rope: dict[str, Any], **more: Any) -> tuple[float, RopeScaling, list[str]]:
    fields = {"hidden_size": 48, "num_attention_heads": 6, "head_dim": 8, "max_position_embeddings": 64, **more}
    config = SimpleNamespace(rope_parameters={"rope_theta": 1e4, **rope}, **fields)
    config.standardize_rope_params = lambda: None
    return read_rope(WHERE, Settings("phi3", {}, {}), config, 64, 8)


@pytest.mark.parametrize(
    ("more", "factor"),
    [({}, 1.5**0.5), ({"factor": 16.0}, 2**0.5), ({"factor": 1}, 1.0), ({"attention_factor": 1.25}, 1.25)],
)
def test_longrope_has_a_factor_for_each_rotated_pair(more: dict[str, Any], factor: float) -> None:
    theta, scaling, notes = read_phi({**LONGROPE, **more})
    assert (theta, notes) == (1e4, [])
    expected = RopeScaling("longrope", 0.0, 16, attention_factor=factor, short_factors=(1.0, 1.5, FLOAT32_TENTH))
    assert scaling == expected
    assert scaling.long_factors == (2.0, 3.5, 9.0)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"short_factor": [1, 0, 1]}, "rope_scaling: short_factor: expected a positive finite number, found 0"),
        ({"long_factor": [1, -1, 1]}, "rope_scaling: long_factor: expected a positive finite number, found -1"),
        ({"attention_factor": 0}, "rope_scaling: attention_factor: expected a positive finite number, found 0"),
        ({"rope_type": "yarn"}, "rope_type: expected one of default, longrope, found yarn"),
        (
            {"original_max_position_embeddings": 1},
            "rope_scaling: expected longrope that transformers can compute, found float division by zero",
        ),
    ],
)
def test_a_longrope_that_nothing_can_compute_is_refused(more: dict[str, Any], message: str) -> None:
    with pytest.raises(CannotJudgeError) as caught:
        read_phi({**LONGROPE, **more})
    assert str(caught.value) == f"config.json: {message}"


def refused(rope: Any, **more: Any) -> str:
    with pytest.raises(CannotJudgeError) as caught:
        read(rope, **more)
    return str(caught.value)


@pytest.mark.parametrize(
    ("rope", "scaling"),
    [
        ({"rope_type": "default"}, RopeScaling()),
        ({"rope_type": "linear", "factor": 4}, RopeScaling("linear", 4.0)),
        ({"rope_type": "dynamic", "factor": 2.0}, RopeScaling("dynamic", 2.0, 33)),
        (LLAMA3, RopeScaling("llama3", 8.0, 16, low_freq_factor=1.0, high_freq_factor=4.0)),
        (
            {**YARN, "beta_fast": 30.0, "beta_slow": 2.0, "attention_factor": 1.5, "truncate": False},
            RopeScaling("yarn", 4.0, 16, 0.0, 0.0, 30.0, 2.0, 1.5, False),
        ),
        ({**YARN, "attention_factor": 1.5}, RopeScaling("yarn", 4.0, 16, 0.0, 0.0, 32.0, 1.0, 1.5, True)),
        (
            {**YARN, "attention_factor": 1.5, "beta_fast": 0, "beta_slow": None, "truncate": None},
            RopeScaling("yarn", 4.0, 16, 0.0, 0.0, 32.0, 1.0, 1.5, False),
        ),
        ({"rope_type": "linear", "factor": 4, "partial_rotary_factor": 1}, RopeScaling("linear", 4.0)),
        ({"rope_type": "default", "partial_rotary_factor": 1}, RopeScaling()),
    ],
)
def test_each_type_has_its_parameters_and_defaults(rope: dict[str, Any], scaling: RopeScaling) -> None:
    assert read(rope) == (5e5, scaling, [])


def test_yarn_without_a_factor_stretches_to_the_models_length() -> None:
    scaling = read({**YARN, "factor": None, "attention_factor": 1.5})[1]
    assert scaling.factor == 33 / 16


@pytest.mark.parametrize(
    "rope",
    [
        None,
        [],
        {"full_attention": 1},
        {"sliding_attention": None},
        {"a": {}},
        {"rope_type": "default", "b": {"rope_type": "default"}},
    ],
)
def test_parameters_of_each_layer_type_are_refused(rope: Any) -> None:
    assert refused(rope) == (
        "config.json: rope_parameters: expected one set of parameters, found one for each type of layer"
    )


@pytest.mark.parametrize("kind", ["longrope", None, 1, ["default"]])
def test_a_type_that_is_not_known_is_refused(kind: Any) -> None:
    message = f"config.json: rope_type: expected one of default, linear, dynamic, llama3, yarn, found {kind}"
    assert refused({"rope_type": kind}) == message


@pytest.mark.parametrize("theta", [None, 0, True, "1"])
def test_theta_is_positive(theta: Any) -> None:
    assert refused({"rope_type": "default", "rope_theta": theta}) == (
        f"config.json: rope_theta: expected a positive finite number, found {theta}"
    )


@pytest.mark.parametrize("kind", [{"rope_type": "linear", "factor": 4.0}, {**LLAMA3}, {**YARN}])
def test_a_partial_rotation_is_refused_where_it_is_read(kind: dict[str, Any]) -> None:
    for share in (0.5, 2):
        assert refused({**kind, "partial_rotary_factor": share}) == (
            "config.json: partial_rotary_factor: expected 1 (transformers reads it for rope_type "
            f"{kind['rope_type']}), found {share}"
        )
    notes = read({"rope_type": "default", "partial_rotary_factor": 0.5})[2]
    assert notes == ["config.json: of RoPE's parameters, ignored, as transformers ignores it: partial_rotary_factor"]


@pytest.mark.parametrize(
    ("rope", "message"),
    [
        ({**LLAMA3, "high_freq_factor": 1.0}, "high_freq_factor: expected more than low_freq_factor = 1, found 1.0"),
        ({**LLAMA3, "low_freq_factor": 5.0}, "high_freq_factor: expected more than low_freq_factor = 5, found 4.0"),
        ({**LLAMA3, "low_freq_factor": -1.0}, "low_freq_factor: expected a positive finite number, found -1.0"),
        ({"rope_type": "linear", "factor": 0}, "factor: expected a positive finite number, found 0"),
        ({**YARN, "attention_factor": 1.5, "truncate": 1}, "truncate: expected true or false, found 1"),
        ({**YARN, "attention_factor": -1.5}, "attention_factor: expected a positive finite number, found -1.5"),
    ],
)
def test_parameters_are_in_range(rope: dict[str, Any], message: str) -> None:
    assert refused(rope) == f"config.json: rope_scaling: {message}"


def test_llama3_just_above_its_low_factor_passes() -> None:
    assert read({**LLAMA3, "high_freq_factor": 1.001})[1].high_freq_factor == 1.001


def test_frequencies_that_transformers_cannot_compute_are_refused() -> None:
    found = refused({"rope_type": "linear"})
    assert found.startswith("config.json: rope_scaling: expected linear that transformers can compute, found ")
    assert refused({"rope_type": "linear", "factor": 4.0}, head_dim=10) == (
        "config.json: rope_scaling: expected 5 frequencies, found 4 in transformers"
    )


IGNORED = "config.json: of RoPE's parameters, ignored, as transformers ignores it:"


@pytest.mark.parametrize(
    ("rope", "said", "notes"),
    [
        ({"rope_type": "default", "factor": 4.0, "alpha": 1}, {}, [f"{IGNORED} alpha, factor"]),
        ({"rope_type": "default", "factor": None}, {}, []),
        ({"rope_type": "linear", "factor": 4.0, "beta_fast": 1}, {}, [f"{IGNORED} beta_fast"]),
        (
            {"rope_type": "default", **{f"k{number}": 0 for number in range(9)}},
            {},
            [f"{IGNORED} k0, k1, k2, k3, k4, k5, k6, k7"],
        ),
        ({"rope_type": "default", "x" * 81: 0}, {}, [f"{IGNORED} {'x' * 80}"]),
        ({"rope_type": "default", "type": "default"}, {}, []),
        (
            {"rope_type": "default", "type": "linear"},
            {},
            ["config.json: rope_type default decides over type, as in transformers"],
        ),
        (
            {"rope_type": "default"},
            {"rope_scaling": {"a": 1}, "rope_parameters": {"b": 1}},
            ["config.json: rope_scaling decides over rope_parameters, as in transformers"],
        ),
        ({"rope_type": "default"}, {"rope_scaling": {"a": 1}, "rope_parameters": {"a": 1}}, []),
        ({"rope_type": "default"}, {"rope_scaling": {"a": 1}}, []),
        ({"rope_type": "default"}, {"rope_parameters": {"a": 1}}, []),
        ({"rope_type": "default"}, {"rope_theta": 5e5}, []),
        ({"rope_type": "default"}, {"rope_theta": None}, []),
        (
            {"rope_type": "default"},
            {"rope_theta": 1e4},
            ["config.json: the rope_theta among RoPE's parameters decides, as in transformers"],
        ),
    ],
)
def test_what_is_passed_over_is_noted(rope: dict[str, Any], said: dict[str, Any], notes: list[str]) -> None:
    assert read(rope, said)[2] == notes


def of_layers(**sliding: Any) -> Any:
    rope = {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e6}
    return SimpleNamespace(rope_parameters={"full_attention": rope, "sliding_attention": sliding})


def test_layers_with_a_window_have_a_theta_of_their_own_in_two_families() -> None:
    config = of_layers(rope_type="default", rope_theta=1e4)
    for family in ("gemma3_text", "olmo3"):
        assert local_theta(WHERE, Settings(family, {}, {}), config) == 1e4
    assert local_theta(WHERE, Settings("gemma2", {}, {}), SimpleNamespace()) == 0.0
    for sliding, message in (
        (
            {"rope_type": "linear", "rope_theta": 1e4},
            "rope_parameters: sliding_attention: rope_type: expected default",
        ),
        ({"rope_theta": 1e4}, "rope_parameters: sliding_attention: rope_type: expected default"),
        ({"rope_type": "default"}, "rope_local_base_freq: expected a positive finite number"),
    ):
        with pytest.raises(CannotJudgeError) as caught:
            local_theta(WHERE, Settings("gemma3_text", {}, {}), of_layers(**sliding))
        assert str(caught.value).startswith(f"config.json: {message}, found ")


@pytest.mark.parametrize(
    ("rope", "found"),
    [
        ({"llama_4_scaling_beta": 0.5, "original_max_position_embeddings": 16}, (0.5, 16)),
        ({"llama_4_scaling_beta": 1, "original_max_position_embeddings": 16}, (1.0, 16)),
        ({"llama_4_scaling_beta": 0}, (0.0, 0)),
        ({"llama_4_scaling_beta": 0.0}, (0.0, 0)),
        ({"llama_4_scaling_beta": False, "original_max_position_embeddings": 16}, "llama_4_scaling_beta"),
        ({"llama_4_scaling_beta": -1, "original_max_position_embeddings": 16}, "llama_4_scaling_beta"),
        ({"original_max_position_embeddings": 16}, "llama_4_scaling_beta"),
        ({"llama_4_scaling_beta": 0.5}, "original_max_position_embeddings"),
    ],
)
def test_queries_of_ministral_3_grow_unless_beta_is_zero(rope: dict[str, Any], found: Any) -> None:
    config = SimpleNamespace(rope_parameters=rope)
    if isinstance(found, tuple):
        assert query_scale(WHERE, Settings("ministral3", {}, {}), config) == found
    else:
        with pytest.raises(CannotJudgeError, match=rf"^config.json: rope_parameters: {found}: expected a positive"):
            query_scale(WHERE, Settings("ministral3", {}, {}), config)
    assert query_scale(WHERE, Settings("mistral", {}, {}), config) == (0.0, 0)


def test_the_rotated_part_of_a_head_is_even_and_no_more_than_it() -> None:
    def rotated(share: Any, head_dim: int, family: str = "phi3") -> int:
        config = SimpleNamespace(rope_parameters={"partial_rotary_factor": share})
        return rotary_dim(WHERE, Settings(family, {}, {}), config, head_dim)

    assert [rotated(share, 8) for share in (1, 0.75, 0.25)] == [8, 6, 2]
    assert rotated(1, 2) == 2
    assert rotated(None, 7, "llama") == 7
    for share, head_dim in ((0.99, 8), (0.13, 8), (0.1, 8), (1.25, 8), (0.375, 8), (1.5, 2)):
        with pytest.raises(CannotJudgeError) as caught:
            rotated(share, head_dim)
        assert str(caught.value) == (
            f"config.json: partial_rotary_factor: expected an even part of a head of {head_dim}, found {share}"
        )


@pytest.mark.parametrize(("said", "truncate"), [({}, True), ({"truncate": False}, False), ({"truncate": True}, True)])
def test_yarn_of_two_ropes_truncates_as_the_object_around_them_says(said: dict[str, Any], truncate: bool) -> None:
    """The set of parameters itself is not asked."""
    full = {**YARN, "rope_theta": 5e5, "attention_factor": 1.5, "truncate": not truncate}
    config = SimpleNamespace(
        rope_parameters={"full_attention": full, **said}, hidden_size=48, num_attention_heads=6, head_dim=8
    )
    config.standardize_rope_params, config.max_position_embeddings = (lambda: None), 33
    config.per_layer_config = {"full_attention": config}
    theta, scaling, notes = read_rope(WHERE, Settings("olmo3", {}, {}), config, 33, 8)
    assert (theta, scaling.type, scaling.truncate) == (5e5, "yarn", truncate)
    assert notes == [f"{IGNORED} truncate"]
    plain = read({**YARN, "attention_factor": 1.5, "truncate": False})
    assert plain[1].truncate is False
