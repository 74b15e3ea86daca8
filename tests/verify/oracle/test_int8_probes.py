"""Hazards of short sequences: how often rounding alone turns an activation at their last position."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.engine_trials import Bench

from verify.oracle import int8_probes
from verify.oracle.int8_noise import DrawsNoise
from verify.oracle.int8_probes import DRAWS, Hazard, _Activations, probe_hazard

PROBES = torch.from_numpy(np.random.default_rng(0).integers(0, 96, (64, 2)))


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("bench"), "q8_0")


def hazard(bench: Bench, size: int, scale: float = 1.0) -> Hazard:
    return probe_hazard(bench.hyper, bench.load, lambda _name: size, PROBES, scale, seed=0)


def test_without_q8_0_nothing_turns(bench: Bench) -> None:
    found = hazard(bench, 0)
    assert not found.turned.any()
    assert found.moved.shape == (64, 96)
    assert 0 < float(found.moved.max()) < 1e-4


def test_coarser_rounding_turns_more_and_moves_no_limit(bench: Bench) -> None:
    fine, usual, coarse = (hazard(bench, 32, scale) for scale in (0.0, 1.0, 300.0))
    turned = [int(found.turned.sum()) for found in (fine, usual, coarse)]
    # roundings in attention are not scaled
    assert turned[0] <= turned[1] < turned[2]
    assert turned[1] < 0.2 * DRAWS * len(PROBES) < turned[2]
    assert torch.allclose(usual.moved, hazard(bench, 32).moved)


def test_earlier_positions_keep_the_steps_of_the_clean_pass(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two draws of two positions, so coarse that every activation turns that may."""
    x = torch.full((3, 2, 4), 2.5)
    x[..., 0] = 127.0
    noise = DrawsNoise([1e5, 1e5], 0)
    clean, kept, free = _Activations(lambda _name: 4, noise, [1, 0])(x, "any")
    assert torch.equal(clean, torch.tensor([127.0, 3, 3, 3]).expand(2, 4))
    assert torch.equal(kept[0], clean[0])
    assert not torch.equal(kept[1], clean[1])
    assert not torch.equal(free[0], clean[0])
    # in a model: position 0 turns in nearly every draw, and none of it counts at position 1
    monkeypatch.setattr(int8_probes._Activations, "_steps", _all_turn_at_first)
    assert not hazard(bench, 32).turned.any()


def _all_turn_at_first(self: _Activations, quotient: torch.Tensor) -> torch.Tensor:
    """Move position 0 of the draws that do not keep it."""
    moved = quotient.unflatten(0, (1 + self._noise.draws, -1)).clone()
    for draw, kept in enumerate(self._kept, 1):
        if not kept:
            moved[draw, :, 0] += 1
    return moved.flatten(0, 1)
