"""Mixtures of experts: which experts a token goes through, and that no way of grouping tokens changes a bit."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from helpers.arch_draws import EXPERTS
from helpers.arch_files import Arch, random_weights, write
from helpers.float32 import quantize_activations
from helpers.models import same_bits
from numpy.typing import NDArray
from reader_c._reader import lib

import reader_c

ARITHMETICS: tuple[reader_c.Arithmetic, ...] = ("mirror", "fast")
ONE = replace(EXPERTS, n_layers=1, n_experts=6, n_active_experts=2)
ROUTER = "layers.0.feed_forward.router.weight"


def routed(path: Path, own: Arch, weights: dict[str, NDArray[np.float32]], tokens: list[int]) -> list[np.ndarray]:
    """What layer 0 records of its router, by each arithmetic."""
    write(path, own, weights)
    with reader_c.open(path) as model:
        return [list(model.trace(tokens, arithmetic=way))[1].at["routed"].copy() for way in ARITHMETICS]


@pytest.mark.parametrize("normalized", [False, True])
def test_of_equal_shares_the_lower_numbers_are_chosen(tmp_path: Path, normalized: bool) -> None:
    own, weights = replace(ONE, experts_normalized=normalized), random_weights(ONE)
    # experts 1 to 4 alike; the router knows the sign of one product alone, so 0 or 5 comes first
    weights[ROUTER] = np.outer([5, 0, 0, 0, 0, -5], weights[ROUTER][0]).astype(np.float32)
    for shares in routed(tmp_path / "model.bin", own, weights, list(range(20))):
        chosen = [tuple(int(e) for e in np.flatnonzero(row)) for row in shares]
        assert set(chosen) == {(0, 1), (1, 5)}
        assert (np.abs(shares.sum(axis=1) - 1) < 1e-6).all() == normalized


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_router_without_an_answer_chooses_the_first_experts(tmp_path: Path, value: float) -> None:
    weights = random_weights(ONE)
    weights["tok_embeddings.weight"][3] = value
    path = tmp_path / "model.bin"
    for shares in routed(path, ONE, weights, [5, 3, 6]):
        assert np.isnan(shares[1]).tolist() == [True, True, False, False, False, False]
        assert np.isfinite(shares[0]).all()
    with reader_c.open(path) as model:
        assert all(np.isnan(model.forward([3], arithmetic=way)).all() for way in ARITHMETICS)


CUTS = ([0, 256, 512, 600], [0, 64, 600], [0, 3, 255, 256, 300, 511, 512, 600], [0, 599, 600])


@pytest.mark.parametrize("activations", ["fp32", "q8"])
@pytest.mark.parametrize("arithmetic", ARITHMETICS)
def test_batches_threads_and_pieces_change_no_bit(
    tmp_path: Path, arithmetic: reader_c.Arithmetic, activations: reader_c.Activations
) -> None:
    own = replace(EXPERTS, n_experts=9, n_active_experts=3, max_seq_len=700)
    write(tmp_path / "model.bin", own, random_weights(own), lambda _: ("q8_0", 4))
    tokens = [int(t) for t in np.random.default_rng(0).integers(0, own.vocab_size, 600)]
    with reader_c.open(tmp_path / "model.bin") as model:
        with model.session(700, 1) as session:
            alone = [session.forward([t], activations=activations, arithmetic=arithmetic) for t in tokens]
        whole = np.concatenate(alone)
        for cuts in CUTS:
            for threads in (1, 3):
                with model.session(600, threads) as session:
                    pieces = [
                        session.forward(tokens[a:b], activations=activations, arithmetic=arithmetic)
                        for a, b in pairwise(cuts)
                    ]
                assert same_bits(np.concatenate(pieces), whole), (cuts, threads)
        *_, last = model.trace(tokens, activations=activations, arithmetic=arithmetic)
        assert same_bits(last.at["logits"], whole)


def quantized(x: NDArray[np.float32], group: int) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Of x (..., size), group by group: in the same shape, and (..., size / group)."""
    pairs = [quantize_activations(row) for row in x.reshape(-1, group)]
    q, scales = np.stack([q for q, _ in pairs]), np.array([scale for _, scale in pairs], np.float32)
    return q.reshape(x.shape), scales.reshape(*x.shape[:-1], -1)


@pytest.mark.parametrize("arithmetic", ARITHMETICS)
def test_a_trace_has_what_goes_into_each_expert_and_what_comes_out(
    tmp_path: Path, arithmetic: reader_c.Arithmetic
) -> None:
    own, slots = replace(ONE, expert_hidden_dim=16, hidden_dim=16), ONE.n_active_experts
    stored = write(tmp_path / "model.bin", own, random_weights(own), lambda _: ("q8_0", 8))
    with reader_c.open(tmp_path / "model.bin") as model:
        _, layer, _ = (dict(stage.at) for stage in model.trace(range(7), activations="q8", arithmetic=arithmetic))
        at = {name: layer[name].reshape(7, slots, -1) for name in layer if name.startswith("expert_")}
    q, scales = quantized(layer["ffn_norm"], 8)
    for name in ("expert_gate", "expert_up"):
        for slot in range(slots):
            assert same_bits(at[f"{name} int8"][:, slot], q)
            assert same_bits(at[f"{name} scale"][:, slot], scales)
    gated, gated_scales = quantized(at["expert_gated"], 8)
    assert same_bits(at["expert_down int8"], gated)
    assert same_bits(at["expert_down scale"], gated_scales)
    given = (q.reshape(7, 3, 8) * scales[..., None]).reshape(7, 24)
    for t, shares in enumerate(layer["routed"]):
        out = np.zeros(24)
        for slot, expert in enumerate(np.flatnonzero(shares)):
            prefix = f"layers.0.feed_forward.experts.{expert}"
            expected = stored[f"{prefix}.w1.weight"] @ given[t]
            assert np.abs(at["expert_gate"][t, slot] - expected).max() < 1e-5
            out += shares[expert] * at["expert_down"][t, slot].astype(float)
        assert np.abs(layer["down"][t] - out).max() < 1e-6
    assert not {"gate", "up", "gated", "gate int8", "down int8", "router int8"} & set(layer)


def test_each_point_is_as_wide_as_the_specification_of_the_trace_says(tmp_path: Path) -> None:
    own = replace(EXPERTS, hidden_dim=36, plain=(0,))
    write(tmp_path / "model.bin", own, random_weights(own), lambda _: ("q8_0", 4))
    points = (
        *("ROUTER", "ROUTED", "EXPERT_GATE", "EXPERT_UP", "EXPERT_GATED", "EXPERT_DOWN", "GATE", "DOWN"),
        *("EXPERT_GATE_INT8", "EXPERT_DOWN_INT8", "EXPERT_UP_SCALE", "EXPERT_DOWN_SCALE", "GATE_INT8"),
    )
    with reader_c.open(tmp_path / "model.bin") as model:
        plain, mixed = (
            [lib.rc_trace_width(model._open_pointer(), getattr(lib, f"RC_AT_{point}"), layer, 3) for point in points]
            for layer in (0, 1)
        )
    assert plain == [0, 0, 0, 0, 0, 0, 36, 24, 0, 0, 0, 0, 24]
    assert mixed == [5, 5, 40, 40, 40, 48, 0, 24, 48, 40, 12, 10, 0]
