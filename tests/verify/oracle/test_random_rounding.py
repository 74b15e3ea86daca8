"""Draws of honest storage: every error keeps its size, equal weights keep equal errors, and a draw repeats."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from helpers.models import arrays, config, hyperparameters
from hypothesis import given
from hypothesis import strategies as st

from verify.oracle import llama
from verify.oracle.expected import numbers
from verify.oracle.random_rounding import Coins, Rounding, drawn_logits
from verify.testing import weights


@dataclass(frozen=True)
class Stored:
    storage: str
    group_size: int = 0


def q8(_name: str) -> Stored:
    return Stored("q8_0", 8)


def errors_of(weights: torch.Tensor, storage: str, group_size: int = 0) -> torch.Tensor:
    rounding = Rounding.of(weights, storage, group_size)
    return torch.zeros_like(weights) if rounding is None else rounding.errors


@given(st.data(), st.sampled_from([1, 2, 8, 32]))
def test_the_errors_of_q8_0_are_those_of_the_expected_numbers(data: st.DataObject, group_size: int) -> None:
    """Two derivations of one storage: they differ by the roundings of float32 alone."""
    matrix = torch.from_numpy(data.draw(weights(group_size)))
    step = matrix.view(len(matrix), -1, group_size).abs().amax(-1, keepdim=True).double() / 127
    found = matrix.double() + errors_of(matrix, "q8_0", group_size).double()
    off = (found - numbers(matrix, "q8_0", group_size).double()).view(*step.shape[:2], -1).abs()
    # a tie may go either way, by float32's rounding of the quotient; subnormal steps are another matter
    near_tie = (off - step).abs() <= 1e-4 * step
    assert bool(((off <= 1e-4 * step) | near_tie | (step < 2.0**-120)).all())


@pytest.mark.parametrize("storage", ["fp16", "bf16", "fp32"])
def test_the_errors_of_a_float_are_those_of_the_expected_numbers(storage: str) -> None:
    matrix = torch.from_numpy(np.random.default_rng(0).standard_normal((5, 7)).astype(np.float32))
    assert torch.equal(matrix + errors_of(matrix, storage), numbers(matrix, storage, 0))


def test_what_the_storage_holds_exactly_stays_exact() -> None:
    matrix = torch.tensor([[0.0, 127.0, -126.0, 1.0], [0.0, 0.0, 0.0, 0.0]])
    assert not errors_of(matrix, "q8_0", 4).any()
    assert not errors_of(matrix, "bf16").any()


@pytest.mark.parametrize("storage", ["q8_0", "fp16", "bf16"])
def test_a_coin_changes_the_direction_of_an_error_and_never_its_size(storage: str) -> None:
    matrix = torch.randn(64, 64, generator=torch.Generator().manual_seed(0))
    rounding = Rounding.of(matrix, storage, 8)
    assert rounding is not None
    draws = [rounding.reversed_by(Coins(0, draw).throw("w", 1024)) for draw in range(50)]
    assert all(torch.equal(one.abs(), rounding.errors.abs()) for one in draws)
    moved = rounding.errors != 0
    reversed_ones = torch.stack([(one * rounding.errors < 0).double() for one in draws])[:, moved]
    assert abs(float(reversed_ones.mean()) - 0.5) < 0.05
    assert float((reversed_ones.mean(0) - 0.5).abs().max()) < 0.35


def test_weights_that_round_to_one_number_share_a_coin_and_others_do_not() -> None:
    matrix = torch.tensor([[1.0, 0.3, -0.3, 0.3001, 0.7, -0.7001, 0.7, 0.31]])
    rounding = Rounding.of(matrix, "q8_0", 8)
    assert rounding is not None
    honest = rounding.errors.sign()[0]
    kept = [(rounding.reversed_by(Coins(0, draw).throw("w", 1024))[0].sign() * honest) for draw in range(60)]
    assert all(len(set(one[1:4].tolist())) == len(set(one[4:7].tolist())) == 1 for one in kept)
    assert {(float(one[1]), float(one[4])) for one in kept} == {(1, 1), (1, -1), (-1, 1), (-1, -1)}
    assert {(float(one[1]), float(one[7])) for one in kept} == {(1, 1), (1, -1), (-1, 1), (-1, -1)}


def test_a_float_and_its_double_share_a_coin() -> None:
    rounding = Rounding.of(torch.tensor([0.3, 0.6, -1.2, 0.31]), "bf16", 0)
    assert rounding is not None
    assert len(set(rounding.codes[:3].tolist())) == 1
    assert rounding.codes[3] != rounding.codes[0]


def test_coins_depend_on_the_seed_the_draw_and_the_tensor() -> None:
    thrown = [
        Coins(seed, draw).throw(name, 1024)
        for seed, draw, name in ((0, 0, "a"), (1, 0, "a"), (0, 1, "a"), (0, 0, "b"))
    ]
    for number, one in enumerate(thrown):
        assert set(one.tolist()) == {1, -1}
        for other in thrown[:number]:
            assert abs(float((one * other).mean())) < 0.15
    assert torch.equal(Coins(0, 0).throw("a", 1024), thrown[0])


def draw(tokens: torch.Tensor, *, int8: bool = True, seed: int = 0) -> dict[tuple[int, bool, int], torch.Tensor]:
    model = config()
    held = {name: torch.from_numpy(array) for name, array in arrays(model).items()}
    found = drawn_logits(
        hyperparameters(model),
        held.__getitem__,
        lambda name: q8(name) if held[name].ndim == 2 else Stored("fp32"),
        tokens,
        int8=int8,
        draws=3,
        seed=seed,
    )
    return {(one.draw, one.int8, one.window): one.logits for one in found}


TOKENS = torch.from_numpy(np.random.default_rng(1).integers(0, 29, (4, 12)))


def test_a_window_has_the_same_draws_in_any_batch() -> None:
    together, apart = draw(TOKENS), draw(TOKENS[2:3])
    for number in range(3):
        for int8 in (False, True):
            torch.testing.assert_close(together[number, int8, 2], apart[number, int8, 0], rtol=1e-4, atol=1e-5)
    assert set(draw(TOKENS, int8=False)) == {key for key in together if not key[1]}


def test_draws_differ_from_each_other_and_int8_activations_from_float() -> None:
    found = draw(TOKENS)
    assert not torch.allclose(found[0, False, 0], found[1, False, 0], atol=1e-4)
    assert not torch.allclose(found[0, False, 0], found[0, True, 0], atol=1e-4)
    assert not torch.allclose(found[0, False, 0], draw(TOKENS, seed=1)[0, False, 0], atol=1e-4)


def test_storage_without_loss_draws_the_sources_own_logits() -> None:
    model = config()
    held = {name: torch.from_numpy(array) for name, array in arrays(model).items()}
    hyper = hyperparameters(model)
    clean = llama.logits(hyper, held.__getitem__, TOKENS, torch.float32)
    found = drawn_logits(hyper, held.__getitem__, lambda _name: Stored("fp32"), TOKENS, int8=False, draws=2, seed=0)
    for one in found:
        torch.testing.assert_close(one.logits, clean[one.window], rtol=1e-5, atol=1e-5)


def test_each_tensor_is_loaded_once_and_a_tied_embedding_twice() -> None:
    model = config(tied=True)
    held = {name: torch.from_numpy(array) for name, array in arrays(model).items()}
    loaded: list[str] = []

    def load(name: str) -> torch.Tensor:
        loaded.append(name)
        return held[name]

    list(drawn_logits(hyperparameters(model), load, lambda _: Stored("bf16"), TOKENS, int8=False, draws=5, seed=0))
    assert sorted(loaded) == sorted([*held, "tok_embeddings.weight"])
