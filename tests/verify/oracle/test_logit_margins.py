"""The margin between two logits is measured in the rounding of their difference, which float32 passes have."""

from __future__ import annotations

import numpy as np
import torch
from helpers.mistake_files import hyperparameters
from helpers.models import arrays, config

from verify.oracle import llama
from verify.oracle.logit_margins import Margins, WindowMargins
from verify.oracle.logit_sigma import LogitNoise

MODEL = config()
HYPER = hyperparameters(MODEL)
WEIGHTS = {name: torch.from_numpy(array) for name, array in arrays(MODEL).items()}
TOKENS = torch.from_numpy(np.random.default_rng(0).integers(0, 29, (2, 12)))
EXACT = llama.logits(HYPER, WEIGHTS.__getitem__, TOKENS).numpy()


def margins(draws: int, tokens: np.ndarray | None = None, rounders: int = 1) -> list[WindowMargins]:
    found = Margins(HYPER, WEIGHTS.__getitem__, EXACT, tokens)
    noise = LogitNoise(HYPER, WEIGHTS.__getitem__, TOKENS, EXACT, 3, rounders=rounders, seen=found.add)
    noise.draw(draws)
    return [found.window(row, noise) for row in range(len(TOKENS))]


def test_the_two_likeliest_tokens_are_named() -> None:
    for window, logits in zip(margins(1), EXACT, strict=True):
        order = logits.argsort(axis=1)
        assert (window.first == order[:, -1]).all()
        assert (window.second == order[:, -2]).all()
        assert (window.sigmas > 0).all()


def test_a_margin_is_that_of_a_float32_pass_within_a_factor() -> None:
    single = llama.logits(HYPER, WEIGHTS.__getitem__, TOKENS, torch.float32).double().numpy()
    moved = []
    for row, window in enumerate(margins(8)):
        ids = np.stack([window.first, window.second], axis=1)
        exact, found = (-np.diff(np.take_along_axis(one[row], ids, axis=1))[:, 0] for one in (EXACT, single))
        moved += (np.abs(found - exact) / (exact / window.sigmas)).tolist()
    assert 0.05 < float(np.median(moved)) < 3
    assert max(moved) < 10


def test_one_draw_claims_hardly_more_than_many() -> None:
    for one, many in zip(margins(1), margins(64), strict=True):
        assert (one.sigmas < 2 * many.sigmas).all()


def test_where_both_sides_round_a_margin_is_smaller() -> None:
    for one, both in zip(margins(2), margins(2, rounders=2), strict=True):
        np.testing.assert_allclose(both.sigmas * np.sqrt(2), one.sigmas)


def test_given_tokens_have_the_margin_of_their_order() -> None:
    (window, _) = margins(2)
    first, second = window.first, window.second
    asked = np.stack([np.stack([second, first], axis=1), np.stack([first, first], axis=1)])
    turned, equal = margins(2, asked)
    np.testing.assert_allclose(turned.sigmas, -window.sigmas)
    assert (equal.sigmas == 0).all()
