"""What each tensor costs, against measuring it: one tensor at a time put into the source."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from helpers.models import arrays, config, hyperparameters

from verify.attribution.storage_cost import Attribution, attribute
from verify.oracle import llama
from verify.oracle.expected import numbers
from verify.sources import Hyperparameters

Weights = dict[str, torch.Tensor]

MODELS: list[dict[str, Any]] = [
    {},
    {"tied": True},
    {"n_kv_heads": 1, "qkv_bias": True, "wo_bias": True, "head_dim": 8},
]


def source(seed: int, **changes: Any) -> Weights:
    return {name: torch.from_numpy(array) for name, array in arrays(config(**changes), seed).items()}


def stored(weights: Weights, bits: int = 8) -> Weights:
    """Q8_0 in groups of 8; with fewer bits, steps as much coarser."""

    def coarse(tensor: torch.Tensor) -> torch.Tensor:
        scale = tensor.view(len(tensor), -1, 8).abs().amax(-1, keepdim=True) / (2 ** (bits - 1) - 1)
        return ((tensor.view(len(tensor), -1, 8) / scale).round() * scale).view_as(tensor)

    return {
        name: tensor if tensor.ndim == 1 else numbers(tensor, "q8_0", 8) if bits == 8 else coarse(tensor)
        for name, tensor in weights.items()
    }


TOKENS = torch.from_numpy(np.random.default_rng(0).integers(0, 29, 24))


def logits(model: Hyperparameters, weights: Weights) -> np.ndarray:
    return llama.logits(model, weights.__getitem__, TOKENS[None])[0].numpy()


def run(model: Hyperparameters, before: Weights, after: Weights) -> Attribution | None:
    return attribute(
        model, lambda name: (before[name], after[name]), TOKENS, logits(model, before), logits(model, after)
    )


@pytest.mark.parametrize("changes", MODELS)
@pytest.mark.parametrize("seed", range(3))
def test_shares_of_a_logit_are_like_measuring_one_tensor_at_a_time(changes: dict[str, Any], seed: int) -> None:
    model, before = hyperparameters(config(**changes)), source(seed, **changes)
    after = stored(before)
    found = run(model, before, after)
    assert found is not None
    plain = logits(model, before)[found.position, found.index]
    measured = [
        (logits(model, {**before, share.tensor: after[share.tensor]})[found.position, found.index] - plain)
        / found.logit_error
        for share in found.shares
    ]
    shares = [share.logit_error_share for share in found.shares]
    assert np.corrcoef(measured, shares)[0, 1] > 0.995
    assert abs(found.residual.logit_error) < 0.05
    assert abs(found.residual.kl) < 0.05
    assert sum(share.kl_share for share in found.shares) == pytest.approx(1 - found.residual.kl)
    assert {share.tensor for share in found.shares} == set(model.shapes())
    untouched = [share for share in found.shares if torch.equal(before[share.tensor], after[share.tensor])]
    assert untouched
    assert all(share.kl_share == share.logit_error_share == 0 for share in untouched)


def test_a_derivative_is_what_differences_say() -> None:
    model, before = hyperparameters(config()), source(0)
    after = stored(before)
    found = run(model, before, after)
    assert found is not None
    name = found.shares[0].tensor
    middle = {key: (before[key].double() + after[key].double()) / 2 for key in before}
    step = (after[name].double() - before[name].double()) * 1e-3
    up, down = (
        llama.logits(model, {**middle, name: middle[name] + sign * step}.__getitem__, TOKENS[None])[0]
        for sign in (1, -1)
    )
    change = float((up - down)[found.position, found.index]) / 2e-3
    assert found.shares[0].logit_error_share * found.logit_error == pytest.approx(change, rel=1e-5)


def test_the_tensor_that_was_spoiled_ranks_first() -> None:
    model, before = hyperparameters(config()), source(1)
    after = stored(before)
    for name in ("layers.1.attention.wv.weight", "layers.0.feed_forward.w2.weight", "output.weight"):
        noise = torch.randn(before[name].shape, generator=torch.Generator().manual_seed(0))
        found = run(model, before, {**after, name: after[name] + 0.02 * noise})
        assert found is not None
        assert found.shares[0].tensor == name
        assert found.shares[0].kl_share > 0.5


def test_the_linearity_residual_grows_with_the_error_and_is_told() -> None:
    model, before = hyperparameters(config()), source(2)
    fine, coarse = run(model, before, stored(before)), run(model, before, stored(before, bits=3))
    assert fine is not None
    assert coarse is not None
    assert abs(coarse.residual.kl) > 4 * abs(fine.residual.kl)


def test_a_tiny_change_is_shared_out_as_well_as_a_large_one() -> None:
    """A KL of 1e-15, less than what rounding leaves of terms that cancel."""
    model, before = hyperparameters(config()), source(3)
    after = {**before, "layers.0.attention.wv.weight": before["layers.0.attention.wv.weight"] * (1 + 2.0**-22)}
    found = run(model, before, after)
    assert found is not None
    assert 0 < found.kl < 1e-12
    assert found.shares[0].tensor == "layers.0.attention.wv.weight"
    assert found.shares[0].kl_share == pytest.approx(1, abs=1e-3)
    assert abs(found.residual.logit_error) < 1e-6


def test_nothing_changed_is_no_attribution() -> None:
    model, before = hyperparameters(config()), source(0)
    assert run(model, before, before) is None
