"""Mixtures of experts by themselves: names, fused tensors, and counts on both sides of each limit."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from verify.errors import CannotJudgeError
from verify.sources.huggingface_experts import (
    canonical_expert,
    expert_parts,
    layers_with_experts,
    transformers_expert,
    widths,
)

WHERE = Path("config.json")


def test_names_of_experts_in_both_places() -> None:
    own = "layers.2.feed_forward.experts"
    for family, bare, name in (
        ("mixtral", "layers.2.block_sparse_moe.experts.7.w3.weight", f"{own}.7.w3.weight"),
        ("mixtral", "layers.2.mlp.experts.0.w2.weight", f"{own}.0.w2.weight"),
        ("mixtral", "layers.2.mlp.experts.gate_up_proj", f"{own}.gate_up_proj"),
        ("olmoe", "layers.2.mlp.experts.10.down_proj.weight", f"{own}.10.w2.weight"),
        ("olmoe", "layers.2.mlp.experts.down_proj", f"{own}.down_proj"),
    ):
        assert canonical_expert(family, bare) == name
    for family, bare in (
        ("olmoe", "layers.2.mlp.experts.0.w2.weight"),
        ("olmoe", "layers.2.mlp.experts.0.down_proj.bias"),
        ("olmoe", "layers.2.mlp.experts.00.down_proj.weight"),
        ("olmoe", "layers.2.mlp.experts"),
        ("olmoe", "layers.2.block_sparse_moe.experts.0.down_proj.weight"),
        ("olmoe", "norm.weight"),
        ("llama", "layers.2.mlp.experts.0.down_proj.weight"),
    ):
        assert canonical_expert(family, bare) is None
    assert transformers_expert(f"{own}.3.w1.weight") == "model.layers.2.mlp.experts.gate_up_proj"
    assert transformers_expert("layers.2.feed_forward.w1.weight") is None


def parts_of(stored: dict[str, tuple[int, ...]]) -> tuple[dict[str, str], dict[str, Any]]:
    prefix = "layers.0.feed_forward.experts"
    return expert_parts(Path("model"), {f"{prefix}.{name}": name for name in stored}, stored)


def test_one_fused_expert_of_one_row_has_its_parts() -> None:
    """The least that has them all: (1, 2, 1) and (1, 1, 1)."""
    prefix = "layers.0.feed_forward.experts.0"
    names, parts = parts_of({"gate_up_proj": (1, 2, 1), "down_proj": (1, 1, 1)})
    assert names == {
        **{f"{prefix}.w1.weight": "gate_up_proj", f"{prefix}.w3.weight": "gate_up_proj"},
        f"{prefix}.w2.weight": "down_proj",
    }
    assert parts == {
        **{f"{prefix}.w1.weight": (0, slice(0, 1)), f"{prefix}.w3.weight": (0, slice(1, 2))},
        f"{prefix}.w2.weight": (0, slice(0, 1)),
    }


@pytest.mark.parametrize(
    "shape", [(4, 6), (4, 6, 3, 1), (0, 6, 3), (4, 0, 3), (4, 6, 0), (4, 5, 3), (), (2,)], ids=str
)
def test_a_fused_tensor_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(CannotJudgeError) as caught:
        parts_of({"gate_up_proj": shape})
    assert str(caught.value) == (
        f"model: gate_up_proj: expected (experts, rows, columns), with rows for each matrix, found {shape}"
    )


@pytest.mark.parametrize(
    ("step", "dense", "sparse"),
    [
        (1, [], [True] * 6),
        (1, [0, 5, 9], [False, True, True, True, True, False]),
        (2, [], [False, True] * 3),
        (3, [], [False, False, True] * 2),
        (3, [2], [False] * 5 + [True]),
        (7, [], [False] * 6),
    ],
)
def test_every_so_many_layers_have_experts(step: int, dense: list[int], sparse: list[bool]) -> None:
    config = SimpleNamespace(decoder_sparse_step=step, mlp_only_layers=dense)
    assert layers_with_experts(WHERE, "qwen3_moe", config, 6) == tuple(sparse)
    assert layers_with_experts(WHERE, "olmoe", config, 6) == (True,) * 6
    assert layers_with_experts(WHERE, "llama", config, 6) == (False,) * 6


def of_mixtral(many: int = 4, width: int = 8, **said: Any) -> dict[str, Any]:
    config = SimpleNamespace(
        **{"num_local_experts": many, "intermediate_size": width, "num_experts_per_tok": 2, **said}
    )
    return widths(WHERE, "mixtral", config, 2, lambda name: (many if name.endswith("router.weight") else width, 12))


def test_experts_are_two_at_least_and_the_chosen_are_among_them() -> None:
    for many, active in ((4, 1), (4, 4), (2, 2), (2, 1), (3, 3)):
        assert of_mixtral(many, num_experts_per_tok=active) == {
            **{"n_experts": many, "n_active_experts": active, "expert_hidden_dim": 8, "hidden_dim": 8},
            "experts_normalized": True,
        }
    for many, said, message in (
        (1, {"num_experts_per_tok": 1}, "num_local_experts: expected at least 2 experts, found 1"),
        (
            2,
            {"num_experts_per_tok": 3},
            "num_experts_per_tok: expected at most 2, the experts that there are, found 3",
        ),
        (2, {"num_experts_per_tok": 0}, "num_experts_per_tok: expected a positive integer below 2^31, found 0"),
        (4, {"num_local_experts": 3}, "num_local_experts: expected 4, as the tensors say, found 3"),
        (1, {"num_local_experts": True}, "num_local_experts: expected 1, as the tensors say, found True"),
        (4, {"intermediate_size": 9}, "intermediate_size: expected 8, as the tensors say, found 9"),
    ):
        with pytest.raises(CannotJudgeError) as caught:
            of_mixtral(many, **said)
        assert str(caught.value) == f"config.json: {message}"
