"""The reference's attention beside loops over single numbers, and the roundings that each of its steps counts."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
from helpers.models import config, hyperparameters

from verify.oracle import attention as oracle
from verify.oracle.rounding_noise import Noise
from verify.sources import Hyperparameters, LayerKind

WINDOWS, LENGTH, HEADS, KV, SIZE = 2, 5, 4, 2, 6
MODEL = hyperparameters(config(n_heads=HEADS, n_kv_heads=KV, head_dim=SIZE, max_seq_len=LENGTH))
Numbers = list[float]


class Counted(Noise):
    """Perturbs nothing and records what it is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[Any, ...]] = []

    def within(self, y: torch.Tensor, size: torch.Tensor, roundings: float) -> torch.Tensor:
        self.asked.append(("within", roundings, y.clone(), size.clone()))
        return y

    def product(self, y: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        self.asked.append(("product", tuple(a.shape), tuple(b.shape), (a @ b - y).abs().max().item()))
        return y

    def softmax(self, shares: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        self.asked.append(("softmax", torch.equal(torch.softmax(scores, -1), shares)))
        return shares

    def by_constant(
        self, y: torch.Tensor, constant: float | torch.Tensor, moved: torch.Tensor | None = None
    ) -> torch.Tensor:
        self.asked.append(("by_constant", constant, moved))
        return y

    def steps(self) -> list[tuple[Any, ...]]:
        return [one[:2] if one[0] == "within" else one[:1] for one in self.asked]


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(math.prod(shape)), dtype=torch.float64)


Q, K, V = drawn(WINDOWS, LENGTH, HEADS * SIZE), drawn(WINDOWS, LENGTH, KV * SIZE), drawn(WINDOWS, LENGTH, KV, SIZE)
ROTATION = torch.polar(torch.ones(LENGTH, 3, dtype=torch.float64), drawn(LENGTH, 3))
WEIGHTS = {"q": drawn(HEADS * SIZE) + 2, "k": drawn(KV * SIZE) - 2}


def rms_norm(x: Numbers, weight: Numbers, plus_one: bool) -> Numbers:
    root = math.sqrt(math.fsum(v * v for v in x) / len(x) + float(torch.tensor(MODEL.norm_eps)))
    return [(w + plus_one) * v / root for v, w in zip(x, weight, strict=True)]


def before_scores(hyper: Hyperparameters, name: str, row: Numbers, position: int, rotates: bool) -> list[Numbers]:
    """Return the heads of one position's queries or keys: normed, rotated and scaled."""
    heads = [row[n : n + SIZE] for n in range(0, len(row), SIZE)]
    weight = WEIGHTS[name].tolist()
    if hyper.qk_norm == "whole":
        row = rms_norm(row, weight, hyper.norm_plus_one)
        heads = [row[n : n + SIZE] for n in range(0, len(row), SIZE)]
    elif hyper.qk_norm == "head":
        heads = [rms_norm(head, weight[:SIZE], hyper.norm_plus_one) for head in heads]
    if rotates:
        for head in heads:
            for pair in range(hyper.rotated // 2):
                turned = complex(*head[2 * pair : 2 * pair + 2]) * complex(ROTATION[position, pair].item())
                head[2 * pair : 2 * pair + 2] = [turned.real, turned.imag]
    if name == "q" and hyper.query_scale_beta:
        factor = 1 + hyper.query_scale_beta * math.log(1 + position // hyper.query_scale_positions)
        heads = [[v * factor for v in head] for head in heads]
    return heads


def by_hand(hyper: Hyperparameters, kind: LayerKind, rotates: bool) -> torch.Tensor:
    out = torch.zeros(WINDOWS, LENGTH, HEADS * SIZE, dtype=torch.float64)
    for window in range(WINDOWS):
        q, k = (
            [before_scores(hyper, name, row, n, rotates) for n, row in enumerate(x[window].tolist())]
            for name, x in (("q", Q), ("k", K))
        )
        for position in range(LENGTH):
            first = max(0, position + 1 - hyper.window) if kind.windowed and hyper.window else 0
            for head in range(HEADS):
                kv = head // (HEADS // KV)
                scores = []
                for other in range(first, position + 1):
                    score = math.fsum(a * b for a, b in zip(q[position][head], k[other][kv], strict=True))
                    score = score * hyper.score_scale if hyper.score_scale else score / math.sqrt(SIZE)
                    scores.append(hyper.score_cap * math.tanh(score / hyper.score_cap) if hyper.score_cap else score)
                shares = [math.exp(score) for score in scores]
                for column in range(SIZE):
                    mixed = [
                        share * float(V[window, first + n, kv, column]) / math.fsum(shares)
                        for n, share in enumerate(shares)
                    ]
                    out[window, position, head * SIZE + column] = math.fsum(mixed)
    return out


def computed(
    hyper: Hyperparameters,
    kind: LayerKind = LayerKind(),  # noqa: B008  # frozen
    rotation: torch.Tensor | None = None,
    noise: Noise | None = None,
    seen: dict[str, torch.Tensor] | None = None,
) -> torch.Tensor:
    def weight(name: str) -> torch.Tensor:
        whole = WEIGHTS[name.removeprefix("attention.")[0]]
        return whole if hyper.qk_norm == "whole" else whole[:SIZE]

    def watch(name: str, result: torch.Tensor) -> torch.Tensor:
        if seen is not None:
            seen[name] = result.clone()
        return result

    qkv = (Q.clone(), K.clone(), V.flatten(2).clone())
    return oracle.attention(hyper, kind, qkv, weight, rotation, noise or Noise(), watch)


MODELS: dict[str, dict[str, Any]] = {
    "llama": {},
    "norms of heads": {"qk_norm": "head"},
    "a norm of all heads, of 1 + w": {"qk_norm": "whole", "norm_plus_one": True},
    "half of each head turns": {"rotary_dim": 4},
    "scaled queries": {"query_scale_beta": 0.25, "query_scale_positions": 2},
    "a scale and a cap": {"score_scale": 0.3, "score_cap": 0.7},
    "a window": {"window": 2},
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("rotates", [False, True])
@pytest.mark.parametrize("windowed", [False, True])
def test_attention_is_what_loops_give(name: str, rotates: bool, windowed: bool) -> None:
    hyper, kind = dataclasses.replace(MODEL, **MODELS[name]), LayerKind(windowed=windowed)
    rotation = ROTATION[:, : hyper.rotated // 2] if rotates else None
    torch.testing.assert_close(computed(hyper, kind, rotation), by_hand(hyper, kind, rotates), rtol=1e-12, atol=1e-13)


def test_each_step_is_watched_in_its_order_and_what_the_watch_returns_goes_on() -> None:
    every = dataclasses.replace(MODEL, qk_norm="head", query_scale_beta=0.25, query_scale_positions=2, score_cap=0.7)
    steps = ("q_normed", "k_normed", "q_rotated", "k_rotated", "q_scaled", "scores_raw", "scores", "shares")
    seen: dict[str, torch.Tensor] = {}
    plain = computed(every, rotation=ROTATION, seen=seen)
    assert tuple(seen) == steps
    assert seen["scores"].shape == (WINDOWS, KV, HEADS // KV, LENGTH, LENGTH)
    for step in steps:

        def watch(name: str, result: torch.Tensor, step: str = step) -> torch.Tensor:
            return result * 1.5 if name == step else result

        qkv = (Q, K, V.flatten(2))
        weight = {f"attention.{n}_norm.weight": w[:SIZE] for n, w in WEIGHTS.items()}.__getitem__
        assert not torch.allclose(oracle.attention(every, LayerKind(), qkv, weight, ROTATION, Noise(), watch), plain)


def test_the_roundings_of_each_step() -> None:
    noise = Counted()
    computed(dataclasses.replace(MODEL, qk_norm="head"), rotation=ROTATION, noise=noise)
    norm = [("within", SIZE / 12 + 2), ("within", 2)]
    assert noise.steps() == [
        *norm,
        *norm,
        ("within", 2),
        ("within", 2),
        ("product",),
        ("by_constant",),
        ("within", 1.0),
        ("softmax",),
        ("product",),
    ]
    scores, shares = (one for one in noise.asked if one[0] == "product")
    assert scores == ("product", (WINDOWS, KV, 2, LENGTH, SIZE), (WINDOWS, KV, 1, SIZE, LENGTH), 0.0)
    assert shares == ("product", (WINDOWS, KV, 2, LENGTH, LENGTH), (WINDOWS, KV, 1, LENGTH, SIZE), 0.0)
    assert ("by_constant", math.sqrt(SIZE), None) in noise.asked
    assert ("softmax", True) in noise.asked


def test_the_roundings_of_scales_and_caps() -> None:
    noise = Counted()
    hyper = dataclasses.replace(MODEL, query_scale_beta=0.25, query_scale_positions=2, score_scale=0.3, score_cap=0.7)
    computed(hyper, noise=noise)
    one = ("within", 1)
    expected = [("by_constant",), one, ("product",), ("by_constant",), one, one, ("within", 3), ("by_constant",)]
    assert noise.steps() == [*expected, ("softmax",), ("product",)]
    of_queries, of_scale, of_cap = (asked[1] for asked in noise.asked if asked[0] == "by_constant")
    assert of_queries.shape == (LENGTH, 1)
    assert (of_scale, of_cap) == (0.3, 0.7)


def test_queries_are_scaled_in_steps_of_positions() -> None:
    hyper = dataclasses.replace(MODEL, query_scale_beta=0.5, query_scale_positions=2)
    found = oracle.query_scale(hyper, 5)
    assert found.dtype == torch.float64
    assert found.tolist() == [[pytest.approx(1 + 0.5 * math.log(1 + n))] for n in (0, 0, 1, 1, 2)]


@pytest.mark.parametrize("window", [0, 1, 2, 9])
def test_a_position_sees_itself_and_those_before_it_in_its_window(window: int) -> None:
    found = oracle.hidden(4, window)
    for position in range(4):
        seen = [other for other in range(4) if not found[position, other]]
        first = max(0, position + 1 - window) if window else 0
        assert seen == list(range(first, position + 1))


@pytest.mark.parametrize("x", [0.25, 0.7, -3.0, 40.0])
def test_a_cap_and_how_its_errors_move_it(x: float) -> None:
    noise, y, step = Counted(), torch.tensor([x], dtype=torch.float64), 1e-6
    assert oracle.capped(y.clone(), 1.5, noise).item() == pytest.approx(1.5 * math.tanh(x / 1.5), rel=1e-12, abs=0)
    of_share, whole, of_cap = noise.asked
    of_number = (1.5 * math.tanh(x * (1 + step) / 1.5) - 1.5 * math.tanh(x * (1 - step) / 1.5)) / (2 * step)
    assert of_share[:2] == ("within", 1)
    assert of_share[3].item() == pytest.approx(of_number, rel=1e-6, abs=1e-9)
    assert whole[:2] == ("within", 3)
    larger, smaller = (1.5 * sign * math.tanh(x / 1.5 / sign) for sign in (1 + step, 1 - step))
    assert of_cap[:2] == ("by_constant", 1.5)
    assert of_cap[2].item() == pytest.approx((larger - smaller) / (2 * step), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("plus_one", [False, True])
def test_a_norm_and_its_roundings(plus_one: bool) -> None:
    hyper = dataclasses.replace(MODEL, norm_plus_one=plus_one, norm_eps=0.1)
    noise, x, weight = Counted(), drawn(2, 24), drawn(24)
    found = oracle.rms_norm(x, weight, hyper, noise)
    for row in range(2):
        mean = math.fsum(v * v for v in x[row].tolist()) / 24 + float(torch.tensor(0.1))
        expected = [
            (w + plus_one) * v / math.sqrt(mean) for v, w in zip(x[row].tolist(), weight.tolist(), strict=True)
        ]
        assert found[row].tolist() == pytest.approx(expected, rel=1e-12, abs=0)
    assert noise.steps() == [("within", 24 / 12 + 2), ("within", 2 + plus_one)]


def test_a_rotation_s_roundings_are_relative_to_the_pair() -> None:
    noise = Counted()
    found = oracle.rotate(Q.clone(), dataclasses.replace(MODEL, rotary_dim=4), ROTATION[:, :2], noise)
    assert found.shape == Q.shape
    [(_, roundings, y, size)] = noise.asked
    assert roundings == 2
    assert y.shape == (WINDOWS, LENGTH, HEADS, 2, 2)
    assert size.shape == (WINDOWS, LENGTH, HEADS, 2, 1)
    heads = Q.unflatten(-1, (HEADS, SIZE))
    torch.testing.assert_close(size[..., 0], torch.stack([heads[..., n : n + 2].norm(dim=-1) for n in (0, 2)], -1))
