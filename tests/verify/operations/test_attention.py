"""Each step of attention beside loops over single numbers, for models that do more than Llama does."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
from helpers.models import config, hyperparameters
from helpers.roundings import SLACK, TAU, U, gamma

from reader_c import Arithmetic
from verify.operations import attention
from verify.operations.comparison import Comparison
from verify.sources import Hyperparameters, LayerKind

WINDOWS, LENGTH, HEADS, KV, SIZE = 2, 5, 4, 2, 6
MODEL = hyperparameters(config(n_heads=HEADS, n_kv_heads=KV, head_dim=SIZE, max_seq_len=LENGTH))
PLACES = [(0, 0), (0, 3), (1, 4)]
RANDOM = torch.Generator().manual_seed(1)


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(WINDOWS, LENGTH, *shape, generator=RANDOM)


AT = {
    **{name: drawn(HEADS * SIZE) for name in ("q", "q_normed", "q_rotated", "q_scaled", "attended")},
    **{name: drawn(KV * SIZE) for name in ("k", "k_normed", "k_rotated", "v")},
    **{name: drawn(SIZE // 2) for name in ("cosine", "sine")},
    **{name: drawn(HEADS, LENGTH) for name in ("scores", "scores_raw")},
    "shares": drawn(HEADS, LENGTH).abs(),
}
LATER = ("q_normed", "k_normed", "q_scaled", "scores_raw")
LLAMA = {name: part for name, part in AT.items() if name not in LATER}


def model(**changes: Any) -> Hyperparameters:
    return dataclasses.replace(MODEL, **changes)


def holds(judged: Comparison, place: tuple[int, ...], exact: float, bound: float) -> None:
    assert float(judged.exact[place]) == pytest.approx(exact, rel=1e-12, abs=1e-13), place
    assert float(judged.bound[place]) == pytest.approx(bound * SLACK, rel=2e-5, abs=0), place


def judged(
    hyper: Hyperparameters,
    at: attention.Recorded,
    kind: LayerKind = LayerKind(),  # noqa: B008  # frozen
    arithmetic: Arithmetic = "mirror",
) -> dict[str, Comparison]:
    return {one.operation: one for one in attention.judge_attention(hyper, kind, at, arithmetic)}


# ---- tables and rotations ----


@pytest.mark.parametrize("rope", ["first", "second"])
def test_tables_are_those_of_the_layer_s_own_rope(rope: str) -> None:
    hyper = model(rope_theta=100.0, local_theta=16.0)
    theta = {"first": 100.0, "second": 16.0}[rope]
    found = list(attention.judge_tables(hyper, LayerKind(rope=rope), AT))
    assert [one.operation for one in found] == ["cosine", "sine"]
    for one, function in zip(found, (math.cos, math.sin), strict=True):
        assert torch.equal(one.out.double(), AT[one.operation].double())
        assert one.exact.shape == one.bound.shape == one.out.shape
        for pair in range(SIZE // 2):
            angle = 3 * theta ** (-2 * pair / SIZE)
            assert float(one.exact[1, 3, pair]) == pytest.approx(function(angle), abs=1e-12)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("rotary", [0, 4])
@pytest.mark.parametrize("normed", [False, True])
def test_rotations_turn_the_first_elements_of_each_head(place: tuple[int, int], rotary: int, normed: bool) -> None:
    rotated = rotary or SIZE
    tables = {name: AT[name][..., : rotated // 2] for name in ("cosine", "sine")}
    at = (AT if normed else LLAMA) | tables
    for name, heads in (("q", HEADS), ("k", KV)):
        read = AT[f"{name}_normed" if normed else name]
        found = attention.judge_rotation(model(rotary_dim=rotary), name, at)
        assert found.operation == f"{name}_rotated"
        assert torch.equal(found.out.double(), AT[f"{name}_rotated"].double())
        first = (heads - 1) * SIZE
        for pair in range(rotated // 2):
            even = first + 2 * pair
            a, b = (float(read[(*place, even + n)]) for n in (0, 1))
            c, s = (float(at[table][(*place, pair)]) for table in ("cosine", "sine"))
            lost = 2 * TAU / 2
            holds(found, (*place, even), a * c - b * s, gamma(2) * (abs(a * c) + abs(b * s)) + lost)
            holds(found, (*place, even + 1), a * s + b * c, gamma(2) * (abs(a * s) + abs(b * c)) + lost)
        for column in range(first + rotated, first + SIZE):
            assert float(found.exact[(*place, column)]) == float(read[(*place, column)])
            assert float(found.bound[(*place, column)]) == 0


# ---- names ----


def test_queries_and_keys_are_those_of_the_last_step_before() -> None:
    at = dict(AT)
    assert attention.query_of_scores(at) == "q_scaled"
    for step in ("q_rotated", "q_normed", "q"):
        at.pop("q_scaled", None)
        assert attention.query_of_scores(at) == attention.query_before_scale(at) == step
        del at[step]
    for step in ("k_rotated", "k_normed", "k"):
        assert attention.key_of_scores(at) == step
        del at[step]


@pytest.mark.parametrize("position", range(LENGTH))
def test_queries_are_scaled_by_the_logarithm_of_their_block(position: int) -> None:
    found = attention.judge_query_scale(model(query_scale_beta=0.25, query_scale_positions=2), AT)
    assert found.operation == "q_scaled"
    assert torch.equal(found.out.double(), AT["q_scaled"].double())
    factor = 1 + 0.25 * math.log(1 + position // 2)
    exact = float(AT["q_rotated"][1, position, 9]) * factor
    holds(found, (1, position, 9), exact, 0 if factor == 1 else gamma(2) * abs(exact) + TAU / 2)


# ---- scores ----


def products_of(at: attention.Recorded, query: str, key: str, place: tuple[int, int, int], other: int) -> list[float]:
    window, position, head = place
    kv = head // (HEADS // KV)
    q = at[query][window, position, head * SIZE : (head + 1) * SIZE].tolist()
    k = at[key][window, other, kv * SIZE : (kv + 1) * SIZE].tolist()
    return [a * b for a, b in zip(q, k, strict=True)]


@pytest.mark.parametrize("place", [(0, 0, 0), (0, 3, 1), (1, 4, 3)])
def test_scores_are_products_over_the_root_of_the_head_s_size(place: tuple[int, int, int]) -> None:
    found = judged(MODEL, LLAMA)
    assert list(found) == ["scores", "shares", "attended"]
    for other in range(LENGTH):
        here = (*place, other)
        if other > place[1]:
            assert found["scores"].exact[here] == found["scores"].bound[here] == 0
            continue
        products = [one / math.sqrt(SIZE) for one in products_of(AT, "q_rotated", "k_rotated", place, other)]
        size = math.fsum(map(abs, products))
        holds(found["scores"], here, math.fsum(products), gamma(SIZE + 2) * size + (SIZE / 2 + 1) * TAU)


@pytest.mark.parametrize("place", [(0, 0, 0), (0, 3, 1), (1, 4, 3)])
def test_a_model_s_own_scale_takes_the_root_s_place(place: tuple[int, int, int]) -> None:
    found, scale = judged(model(score_scale=0.1), AT | {"q_scaled": AT["q"]}), 0.1
    of_scale = abs(float(torch.tensor(scale)) / scale - 1) / U
    for other in range(place[1] + 1):
        products = [one * scale for one in products_of(AT, "q", "k_rotated", place, other)]
        size = math.fsum(map(abs, products))
        holds(found["scores"], (*place, other), math.fsum(products), gamma(SIZE + 1 + of_scale) * size)


@pytest.mark.parametrize(("arithmetic", "ulps"), [("mirror", 3), ("fast", 2.6)])
def test_capped_scores_are_those_of_the_recorded_ones(arithmetic: Arithmetic, ulps: float) -> None:
    found = judged(model(score_cap=0.5), AT, arithmetic=arithmetic)
    assert list(found) == ["scores_raw", "scores", "shares", "attended"]
    place = (1, 4, 3, 2)
    products = [one / math.sqrt(SIZE) for one in products_of(AT, "q_scaled", "k_rotated", (1, 4, 3), 2)]
    holds(found["scores_raw"], place, math.fsum(products), gamma(SIZE + 2) * math.fsum(map(abs, products)))
    assert torch.equal(found["scores_raw"].out.double(), AT["scores_raw"].double())
    z = float(AT["scores_raw"][place]) / 0.5
    exact, slope = 0.5 * math.tanh(z), 2 * z / math.sinh(2 * z)
    holds(found["scores"], place, exact, gamma(slope + 2 * ulps + 1) * abs(exact))
    assert not found["scores"].bound[0, 2, 1, 3:].any()
    assert not found["scores_raw"].bound[0, 2, 1, 3:].any()


def test_windows_hide_earlier_positions_from_layers_that_have_them() -> None:
    hyper = model(window=2)
    for kind, seen in ((LayerKind(windowed=True), 2), (LayerKind(windowed=False), 4)):
        found = judged(hyper, LLAMA, kind)
        visible = [4 - seen <= other <= 3 for other in range(LENGTH)]
        for operation in ("scores", "shares"):
            assert (found[operation].bound[1, 3, 2] != 0).tolist() == visible
            assert (found[operation].exact[1, 3, 2] != 0).tolist() == visible


# ---- shares and the mix ----


@pytest.mark.parametrize("window", [0, 2])
@pytest.mark.parametrize("place", [(0, 0, 0), (0, 3, 1), (1, 4, 3)])
def test_shares_are_of_the_positions_that_a_query_sees(place: tuple[int, int, int], window: int) -> None:
    found = judged(model(window=window), LLAMA, LayerKind(windowed=True))
    first = max(0, place[1] + 1 - window) if window else 0
    scores = AT["scores"][place][first : place[1] + 1].tolist()
    depth = [max(scores) - score for score in scores]
    total = math.fsum(math.exp(-one) for one in depth)
    shares = [math.exp(-one) / total for one in depth]
    of_sum = math.fsum(share * (one + 2) for share, one in zip(shares, depth, strict=True))
    for n, share in enumerate(shares):
        units = depth[n] + 2 + len(scores) + of_sum
        holds(found["shares"], (*place, first + n), share, gamma(units) * share + 2 * TAU)
    assert torch.equal(found["shares"].out.double(), AT["shares"].double())
    # the mix is of all recorded shares
    at_window, position, head = place
    kv, column = head // (HEADS // KV), 2
    mixed = [
        float(AT["shares"][(*place, other)]) * float(AT["v"][at_window, other, kv * SIZE + column])
        for other in range(LENGTH)
    ]
    bound = gamma(len(scores)) * math.fsum(map(abs, mixed)) + len(scores) * TAU / 2
    holds(found["attended"], (at_window, position, head * SIZE + column), math.fsum(mixed), bound)
    assert torch.equal(found["attended"].out.double(), AT["attended"].double())
