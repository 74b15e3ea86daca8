"""An engine that begins to differ in more short sequences than draws of rounding do is detected by counting."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from verify.engine.int8_agreement import MEASURES, Int8Agreement
from verify.engine.probes import LENGTH, PROBES, Begun, try_probes
from verify.oracle.int8_probes import DRAWS, Hazard

VOCAB = 8
Sequences = Sequence[NDArray[np.int64]]
Run = Callable[[Sequences], list[NDArray[np.float32]]]


def reader(sequences: Sequences) -> list[NDArray[np.float32]]:
    return [np.zeros((len(tokens), VOCAB), np.float32) for tokens in sequences]


def engine_that_differs(
    share: float, first: int, by: float = 1.0
) -> Callable[[Sequences], list[NDArray[np.float32]]]:
    """In that share of sequences, from a position on."""

    def run(sequences: Sequences) -> list[NDArray[np.float32]]:
        found = reader(sequences)
        for number in range(round(share * len(found))):
            found[number][first:, 3] = by
        return found

    return run


def drawn(share: float) -> tuple[Callable[[torch.Tensor, float, int], Hazard], list[float]]:
    """Draws of which that share turns, and the scales that were asked for."""
    scales: list[float] = []

    def hazard(tokens: torch.Tensor, scale: float, seed: int) -> Hazard:
        scales.append(scale)
        turned = torch.from_numpy(np.random.default_rng(seed).binomial(DRAWS, share, len(tokens)))
        return Hazard(torch.full((len(tokens), VOCAB), 0.5), turned)

    return hazard, scales


def tried(share: float, first: int, of_draws: float, by: float = 1.0) -> tuple[Begun, ...]:
    return try_probes(engine_that_differs(share, first, by), reader, drawn(of_draws)[0], VOCAB, 64, [1])


def test_an_engine_that_turns_less_often_than_draws_is_not_suspicious() -> None:
    first, second = tried(0.5, 0, of_draws=0.8)
    assert (first.engine, first.probes, first.draws) == (PROBES // 2, PROBES, DRAWS * PROBES)
    assert (second.engine, second.probes) == (0, PROBES // 2)
    assert max(first.unlikely, second.unlikely) < 0.1


@pytest.mark.parametrize("position", range(LENGTH))
def test_an_engine_that_differs_in_every_sequence_fails_at_its_position(position: int) -> None:
    found = tried(1.0, position, of_draws=0.85)
    assert found[position].unlikely > MEASURES["probes"].limit
    assert found[position].probes == 4 * PROBES
    agreement = Int8Agreement()
    agreement.add_probes(found)
    agreement._differing = agreement._logits = 1
    verdict = agreement.verdict()
    assert verdict.status == "fail"
    assert "short sequences differ more often than rounding turns an activation" in verdict.detail
    assert verdict.where == {"position": position, "differ": 4 * PROBES, "probes": 4 * PROBES}


def test_where_every_draw_turns_probes_say_nothing() -> None:
    assert max(count.unlikely for count in tried(1.0, 0, of_draws=1.0)) == 0


def test_differences_without_turns_do_not_count_and_a_nan_does() -> None:
    assert tried(1.0, 0, of_draws=0.1, by=0.4)[0].engine == 0
    assert tried(1.0, 0, of_draws=0.1, by=math.nan)[0].engine == 4 * PROBES


def test_an_engine_that_rounds_finely_at_first_is_held_to_it_later() -> None:
    for share, least, most in ((0.0, 0.0, 0.1), (0.5, 0.5, 0.95), (1.0, 1.0, 1.0)):
        hazard, scales = drawn(0.8)
        try_probes(engine_that_differs(share, 0), reader, hazard, VOCAB, 64, [1])
        assert scales[0] == 1.0
        assert least <= scales[1] <= most


def test_a_file_of_one_position_has_probes_of_one_token() -> None:
    (only,) = try_probes(engine_that_differs(1.0, 0), reader, drawn(0.1)[0], VOCAB, 1, [1])
    assert only.engine == only.probes


def test_tokens_follow_from_the_seed_alone() -> None:
    seen: list[list[list[int]]] = []

    def kept(sequences: Sequences) -> list[NDArray[np.float32]]:
        seen.append([tokens.tolist() for tokens in sequences])
        return reader(sequences)

    for seed in ([1, 2], [1, 2], [1, 3]):
        try_probes(kept, reader, drawn(0.5)[0], VOCAB, 64, seed)
    assert seen[0] == seen[1] != seen[2]


@pytest.mark.parametrize(
    ("engine", "probes", "turned", "draws"), [(48, 48, 120, 144), (3, 48, 0, 144), (20, 48, 61, 144)]
)
def test_the_probability_is_that_of_a_random_sample(engine: int, probes: int, turned: int, draws: int) -> None:
    from scipy.stats import hypergeom

    expected = -math.log10(hypergeom(probes + draws, engine + turned, probes).sf(engine - 1))
    assert Begun(engine, probes, turned, draws).unlikely == pytest.approx(expected, rel=1e-9)
    assert Begun(0, probes, turned, draws).unlikely == pytest.approx(0, abs=1e-9)
    assert Begun().unlikely == 0
