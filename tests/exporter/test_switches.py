"""The switches of a ModelConfig: one form for one model, and a refusal for each contradiction."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from helpers.models import config

import exporter
from exporter.config import SWITCH_DEFAULTS, without_idle_window
from exporter.switches import SWITCHES, described

WINDOWED, SECOND = exporter.LayerKind(windowed=True), exporter.LayerKind(rope="second")
PLAIN, MIXED = exporter.LayerKind(), exporter.LayerKind(experts=True)
OF_ONE: dict[str, Any] = {
    "n_experts": 3,
    "n_active_experts": 2,
    "expert_hidden_dim": 7,
    "layers": (MIXED, PLAIN),
}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"norm_place": "within"}, "norm_place: expected one of before, after, both, found 'within'"),
        ({"qk_norm": "all"}, "qk_norm: expected one of none, head, whole, found 'all'"),
        ({"norm_plus_one": 1}, "norm_plus_one: expected true or false, found 1"),
        ({"rotary_dim": 3}, "rotary_dim: expected an even number up to head_dim = 8, found 3"),
        ({"rotary_dim": 10}, "rotary_dim: expected an even number up to head_dim = 8, found 10"),
        ({"rotary_dim": -2}, "rotary_dim: expected 1 to 2147483647, found -2"),
        ({"layers": (PLAIN,)}, "layers: expected 2, one for each layer, found 1"),
        (
            {"layers": (PLAIN, exporter.LayerKind(rope="third"))},
            "layers: 1: expected one of none, first, second as rope, found 'third'",
        ),
        ({"window": 4}, "window: expected 0 without a windowed layer, found 4"),
        ({"layers": (WINDOWED, PLAIN)}, "window: expected more than 0 beside a windowed layer, found 0"),
        ({"local_theta": 5.0}, "local_theta: expected 0 without a layer with it, found 5"),
        ({"layers": (SECOND, PLAIN)}, "local_theta: expected more than 0 beside a layer with it, found 0"),
        ({"query_scale_positions": 5}, "query_scale_positions: expected 0 without query_scale_beta, found 5"),
        ({"query_scale_beta": 0.1}, "query_scale_positions: expected more than 0 beside query_scale_beta, found 0"),
        ({"score_cap": -1.0}, "score_cap: expected a positive finite number, found -1.0"),
        ({"embedding_scale": 0.0}, "embedding_scale: expected a positive finite number, found 0.0"),
        ({"logit_divisor": float("inf")}, "logit_divisor: expected a positive finite number, found inf"),
        ({"n_experts": 4}, "n_experts: expected 0 without a layer with experts, found 4"),
        ({"expert_hidden_dim": 4}, "expert_hidden_dim: expected 0 without a layer with experts, found 4"),
        ({"experts_normalized": True}, "experts_normalized: expected false without a layer with experts, found true"),
        ({"layers": (MIXED, PLAIN)}, "n_experts: expected 2 to 65535 beside a layer with experts, found 0"),
        ({**OF_ONE, "n_experts": 1}, "n_experts: expected 2 to 65535 beside a layer with experts, found 1"),
        ({**OF_ONE, "n_experts": 65536}, "n_experts: expected 2 to 65535 beside a layer with experts, found 65536"),
        (
            {**OF_ONE, "n_active_experts": 4},
            "n_active_experts: expected 1 to 3 beside a layer with experts, found 4",
        ),
        (
            {**OF_ONE, "expert_hidden_dim": 0},
            "expert_hidden_dim: expected 1 to 2147483647 beside a layer with experts, found 0",
        ),
        ({**OF_ONE, "mlp_bias": True}, "mlp_bias: expected false beside experts, which have no biases, found true"),
        (
            {**OF_ONE, "layers": (MIXED, MIXED)},
            "hidden_dim: expected expert_hidden_dim = 7, since every layer has experts, found 40",
        ),
        ({"window": True, "layers": (WINDOWED, PLAIN)}, "window: expected an integer, found True"),
    ],
)
def test_a_contradiction_is_refused_by_name(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(exporter.CheckpointError) as caught:
        config(**changes)
    assert str(caught.value) == message


def test_one_model_has_one_form() -> None:
    assert config(rotary_dim=8, layers=(PLAIN, PLAIN)) == config()
    assert config().rotated == 8
    assert config(rotary_dim=4).rotated == 4
    assert config().layer(1) == PLAIN
    assert {field: getattr(config(), field) for field in SWITCHES} == SWITCH_DEFAULTS


def test_values_are_described_in_words() -> None:
    values = (True, 0.5, "head", 7, (PLAIN,) * 3, ())
    expected = ["true", "0.5", "head", "7", "3 layers of several kinds", "layers of one kind"]
    assert [described(value) for value in values] == expected


def test_a_window_as_long_as_the_model_is_dropped_and_a_shorter_one_is_not() -> None:
    layers = (WINDOWED, replace(SECOND, windowed=True))
    model = config(window=33, local_theta=9.0, layers=layers)
    assert without_idle_window(model) == config(local_theta=9.0, layers=(PLAIN, SECOND))
    shorter = replace(model, window=32)
    assert without_idle_window(shorter) is shorter


def test_an_export_that_cuts_a_model_to_its_window_has_none(tmp_path: Any) -> None:
    from helpers.models import checkpoint

    source = checkpoint(config(window=20, layers=(WINDOWED, WINDOWED)))
    with pytest.raises(
        exporter.FormatError, match=r"^window: expected 0, which every reader of v1 assumes, found 20"
    ):
        exporter.export(source, tmp_path / "a.bin", format="v1", max_seq_len=21)
    exporter.export(source, tmp_path / "a.bin", format="v1", max_seq_len=20)
    exporter.export(source, tmp_path / "b.bin", format="v3", max_seq_len=20)
    assert exporter.open_checkpoint(tmp_path / "b.bin").config == config(max_seq_len=20)
