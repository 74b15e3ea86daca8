"""Margins of greedy text by hand: the gap of the first two logits beside what rounding does to it."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from helpers.models import config, hyperparameters

from verify.sources import Hyperparameters
from verify.vectors.margins import Margins

SCALE, VARIANCE = 32.0, 0.18 * 2.0**-48
DIM, WINDOWS, LENGTH, VOCAB = 3, 2, 4, 6
MODEL = hyperparameters(config(vocab_size=VOCAB))
RANDOM = torch.Generator().manual_seed(3)
ROWS = torch.randn(VOCAB, DIM, generator=RANDOM)
STREAM = torch.randn(WINDOWS, LENGTH, DIM, generator=RANDOM)
DRAWS = [STREAM + torch.randn(WINDOWS, length, DIM, generator=RANDOM) * 1e-6 for length in [LENGTH] * 3] + [
    STREAM[:, :2] + torch.randn(WINDOWS, 2, DIM, generator=RANDOM) * 1e-5
]
MODELS: dict[str, dict[str, float]] = {
    "llama": {},
    "a divisor": {"logit_divisor": 4.0},
    "a cap": {"logit_cap": 2.0},
    "both": {"logit_divisor": 0.5, "logit_cap": 3.0},
}


def finished(hyper: Hyperparameters, sums: float) -> float:
    sums /= hyper.logit_divisor
    return hyper.logit_cap * math.tanh(sums / hyper.logit_cap) if hyper.logit_cap else sums


def logits_of(hyper: Hyperparameters) -> np.ndarray:
    sums = (STREAM.double() @ ROWS.double().T).tolist()
    return np.array([[[finished(hyper, one) for one in row] for row in window] for window in sums])


def measured(hyper: Hyperparameters, draws: list[torch.Tensor]) -> Margins:
    found = Margins(hyper, {"output.weight": ROWS}.__getitem__, logits_of(hyper))
    for draw in draws:
        found.add(draw)
    return found


def expected_variance(hyper: Hyperparameters, window: int, position: int, draw: torch.Tensor) -> float:
    """Return what one draw says of the difference of a position's first two logits."""
    logits = logits_of(hyper)[window, position]
    two = np.argsort(-logits)[:2]
    h, moved, own = draw[window, position].tolist(), [], 0.0
    for token in two:
        products = [a * b for a, b in zip(h, ROWS[token].tolist(), strict=True)]
        sums = math.fsum(products)
        moved.append(finished(hyper, sums))
        part = (DIM / 6 + 1) * math.fsum(p * p for p in products) + DIM / 3 * sums**2
        if hyper.logit_divisor != 1 or hyper.logit_cap:
            bend = 1 - min(1.0, abs(logits[token] / hyper.logit_cap)) ** 2 if hyper.logit_cap else 1.0
            part = part * (bend / hyper.logit_divisor) ** 2 + 5 * logits[token] ** 2
        own += part
    gap = logits[two[0]] - logits[two[1]]
    return ((moved[0] - moved[1] - gap) / SCALE) ** 2 + own * VARIANCE


@pytest.mark.parametrize("name", MODELS)
def test_margins_are_gaps_in_standard_deviations(name: str) -> None:
    hyper = dataclasses.replace(MODEL, tied=False, **MODELS[name])  # type: ignore[arg-type]
    found, logits = measured(hyper, DRAWS), logits_of(hyper)
    assert (found.first == logits.argmax(-1)).all()
    for window in range(WINDOWS):
        own = []
        for position in range(LENGTH):
            draws = [draw for draw in DRAWS if draw.shape[1] > position]
            assert len(draws) == (4 if position < 2 else 3)
            own.append(math.fsum(expected_variance(hyper, window, position, d) for d in draws) / len(draws))
        for position in range(LENGTH):
            first, second = sorted(logits[window, position])[:-3:-1]
            variance = max(own[position], (own[position] + math.fsum(own) / LENGTH) / 2)
            assert found.sigmas[window, position] == pytest.approx((first - second) / math.sqrt(variance), rel=1e-6)


def test_a_tied_model_reads_its_embedding() -> None:
    tied = dataclasses.replace(MODEL, tied=True)
    found = Margins(tied, {"tok_embeddings.weight": ROWS}.__getitem__, logits_of(tied))
    found.add(STREAM)
    other = measured(dataclasses.replace(MODEL, tied=False), [STREAM])
    assert (found.sigmas == other.sigmas).all()


def test_ten_standard_deviations_certify() -> None:
    found = measured(dataclasses.replace(MODEL, tied=False), DRAWS)
    for least, certain in ((10.0, True), (np.nextafter(10.0, 0), False)):
        found._gap = torch.full_like(found._gap, least)
        found._squares = torch.ones_like(found._gap) * found._draws
        assert (found.sigmas == least).all()
        assert (found.certified == certain).all()


def test_equal_logits_have_no_margin() -> None:
    found = measured(dataclasses.replace(MODEL, tied=False), DRAWS)
    found._gap = torch.zeros_like(found._gap)
    assert not found.sigmas.any()
    assert not found.certified.any()
    found._squares = torch.zeros_like(found._gap)
    assert not found.sigmas.any()
