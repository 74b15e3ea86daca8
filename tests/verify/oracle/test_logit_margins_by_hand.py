"""Margins beside loops over single numbers: their variance by draws, by their own sums, and by all logits."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from helpers.models import config, hyperparameters

from verify.oracle.logit_margins import Margins
from verify.oracle.logit_sigma import SCALE
from verify.oracle.rounding_noise import ROUNDING_VARIANCE
from verify.sources import Hyperparameters

WINDOWS, LENGTH, VOCABULARY, DIM, CERTAIN = 2, 6, 11, 4, 5
HYPER = hyperparameters(config())
RNG = np.random.default_rng(5)
LOGITS = RNG.normal(scale=1.5, size=(WINDOWS, LENGTH, VOCABULARY))
CLASSIFIER = torch.from_numpy(RNG.normal(size=(VOCABULARY, DIM)).astype(np.float32))
# the second draw is of the first positions alone
DRAWS = [torch.from_numpy(RNG.normal(size=(WINDOWS, length, DIM))) for length in (LENGTH, 3)]
# of all logits: it decides at the last certain position alone
MOVEMENT = torch.tensor([1e-9, 1e-9, 1e-9, 1e-9, 1e4, 1e4])


@dataclass(frozen=True)
class Said:
    """What a LogitNoise says of its draws."""

    rounders: int = 1
    positions: int = CERTAIN

    def movement(self, row: int) -> torch.Tensor:
        return MOVEMENT * (row + 1)

    def certainty(self, _row: int) -> Any:
        return SimpleNamespace(positions=self.positions)


def finished(hyper: Hyperparameters, y: float) -> float:
    y /= hyper.logit_divisor
    return hyper.logit_cap * math.tanh(y / hyper.logit_cap) if hyper.logit_cap else y


def own_roundings(hyper: Hyperparameters, h: list[float], row: list[float], logit: float) -> float:
    products = [a * b for a, b in zip(h, row, strict=True)]
    variance = (DIM / 6 + 1) * sum(p * p for p in products) + DIM / 3 * sum(products) ** 2
    if hyper.logit_divisor != 1 or hyper.logit_cap:
        slope = 1 / hyper.logit_divisor
        if hyper.logit_cap:
            slope *= 1 - min(1.0, abs(logit / hyper.logit_cap)) ** 2
        variance = variance * slope**2 + 5 * logit**2
    return variance * ROUNDING_VARIANCE


def by_hand(hyper: Hyperparameters, window: int, rounders: int) -> tuple[list[float], set[int]]:
    """Return the margins, and which of the three variances were the largest."""
    two = [np.argsort(-LOGITS[window, at])[:2].tolist() for at in range(LENGTH)]
    rows = CLASSIFIER.double().tolist()
    gaps, own = [], []
    for at, (first, second) in enumerate(two):
        logits = [float(LOGITS[window, at, token]) for token in (first, second)]
        gaps.append(logits[0] - logits[1])
        squares = []
        for draw in (one for one in DRAWS if at < one.shape[1]):
            h = draw[window, at].tolist()
            moved = [
                finished(hyper, sum(a * b for a, b in zip(h, rows[token], strict=True))) for token in (first, second)
            ]
            squares.append(((moved[0] - moved[1] - gaps[-1]) / SCALE) ** 2)
            squares[-1] += sum(
                own_roundings(hyper, h, rows[n], y) for n, y in zip((first, second), logits, strict=True)
            )
        own.append(sum(squares) / len(squares))
    mean, size = sum(own) / LENGTH, sum(a * a for row in rows for a in row) / VOCABULARY
    sigmas, largest = [], set()
    for at, (first, second) in enumerate(two):
        apart = sum((a - b) ** 2 for a, b in zip(rows[first], rows[second], strict=True))
        every = float(MOVEMENT[at]) * (window + 1) * apart / size
        variances = [own[at], (own[at] + mean) / 2, every]
        largest.add(variances.index(max(variances)))
        sigmas.append(gaps[at] / math.sqrt(max(variances) * rounders) if at < CERTAIN else 0.0)
    return sigmas, largest


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"logit_divisor": 2.0},
        {"logit_divisor": 3.0},
        {"logit_cap": 1.25},
        {"logit_divisor": 0.25, "logit_cap": 2.0},
    ],
    ids=str,
)
@pytest.mark.parametrize("rounders", [1, 2])
def test_margins_are_what_loops_give(changes: dict[str, Any], rounders: int) -> None:
    hyper = replace(HYPER, **changes)
    found = Margins(hyper, lambda _name: CLASSIFIER, LOGITS)
    for draw in DRAWS:
        found.add(draw)
    largest = set()
    for row in range(WINDOWS):
        window = found.window(row, Said(rounders))  # type: ignore[arg-type]
        expected, decided = by_hand(hyper, row, rounders)
        assert window.sigmas.tolist() == pytest.approx(expected, rel=1e-6)
        assert window.first.tolist() == LOGITS[row].argmax(axis=1).tolist()
        largest |= decided
    assert largest == {0, 1, 2}


@pytest.mark.parametrize(("cap", "divisor"), [(0.0, 1.0), (0.0, 2.0), (0.0, 4.0), (9.0, 1.0), (4.0, 0.5), (2.5, 2.0)])
def test_what_follows_the_sums_scales_their_roundings(cap: float, divisor: float) -> None:
    hyper = replace(HYPER, logit_cap=cap, logit_divisor=divisor)
    rng = np.random.default_rng(3)
    rows, h = torch.from_numpy(rng.normal(size=(2, DIM))), torch.from_numpy(rng.normal(size=DIM) * 3)
    logits = [finished(hyper, float(h @ row)) for row in rows]
    ids = np.array([[[0, 1]]])
    for within in (True, False):
        # logits of another program may be a little beyond the cap
        said = logits if within else [1.5 * (cap or 1.0), -1.5 * (cap or 1.0)]
        found = Margins(hyper, lambda _name: rows, np.array([[said]]), ids)
        own = found._own(h[None, None], (rows @ h)[None, None], slice(0, 1))
        expected = sum(own_roundings(hyper, h.tolist(), row.tolist(), y) for row, y in zip(rows, said, strict=True))
        assert own.item() == pytest.approx(expected, rel=1e-9, abs=0)
        # the draw moves nothing where the stream without noise gives the same logits
        found.add(h[None, None])
        assert not within or found._squares.item() == pytest.approx(expected, rel=1e-9, abs=0)


@pytest.mark.parametrize(("rows", "step"), [(2047, 1), (2048, 2), (4095, 2), (4096, 3)])
def test_about_2048_rows_say_how_long_a_row_is(rows: int, step: int) -> None:
    classifier = torch.arange(1.0, 2 * rows + 1).reshape(rows, 2) / rows
    logits = np.zeros((1, 1, rows))
    logits[0, 0, :2] = 3.0, 1.0
    found = Margins(HYPER, lambda _name: classifier, logits)
    found.add(torch.zeros(1, 1, 2))
    size = float(classifier[::step].double().square().sum()) / len(classifier[::step])
    apart = float((classifier[0] - classifier[1]).double().square().sum())
    noise = SimpleNamespace(
        movement=lambda _row: torch.tensor([1e12]),
        rounders=1,
        certainty=lambda _row: SimpleNamespace(positions=1),
    )
    [margin] = found.window(0, noise).sigmas  # type: ignore[arg-type]
    assert margin == pytest.approx(2 / math.sqrt(1e12 * apart / size), rel=1e-6)


def test_equal_logits_have_no_margin_even_where_nothing_rounds() -> None:
    found = Margins(HYPER, lambda _name: torch.ones(2, 2), np.ones((1, LENGTH, 2)))
    found.add(torch.zeros(1, LENGTH, 2))
    assert found.window(0, Said()).sigmas.tolist() == [0.0] * LENGTH  # type: ignore[arg-type]
