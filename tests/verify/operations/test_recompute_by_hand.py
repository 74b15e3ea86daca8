"""Every comparison of a layer beside loops over single numbers: the exact result, and the bound of just this sum."""

from __future__ import annotations

import dataclasses
import functools
import math

import numpy as np
import pytest
import torch
from helpers.models import config, hyperparameters
from helpers.roundings import SLACK, TAU, U, gamma

from reader_c import Activations, Arithmetic
from verify.operations.comparison import Comparison
from verify.operations.recompute import Recompute, Recorded
from verify.sources import Hyperparameters

WINDOWS, LENGTH, DIM, HIDDEN, HEADS, KV, SIZE, GROUP = 2, 5, 40, 20, 4, 2, 6, 4
ROW, KV_ROW = HEADS * SIZE, KV * SIZE
MODEL = dataclasses.replace(
    hyperparameters(
        config(dim=DIM, hidden_dim=HIDDEN, n_heads=HEADS, n_kv_heads=KV, head_dim=SIZE, max_seq_len=LENGTH)
    ),
    qkv_bias=True,
    activation="gelu",
)


def drawn(rng: np.random.Generator, *shape: int) -> torch.Tensor:
    return torch.from_numpy(rng.standard_normal(shape).astype(np.float32))


def recorded(rng: np.random.Generator) -> Recorded:
    """What an engine might have written; nothing fits to anything else."""
    widths = {
        **dict.fromkeys(("attention_norm", "wo", "attention_residual", "ffn_norm", "down", "ffn_residual"), DIM),
        **dict.fromkeys(("q", "q_rotated", "attended"), ROW),
        **dict.fromkeys(("k", "k_rotated", "v"), KV_ROW),
        **dict.fromkeys(("gate", "up", "gated"), HIDDEN),
        **dict.fromkeys(("cosine", "sine"), SIZE // 2),
    }
    at = {name: drawn(rng, WINDOWS, LENGTH, width) for name, width in widths.items()}
    at["scores"] = drawn(rng, WINDOWS, LENGTH, HEADS, LENGTH)
    # no share is negative, and later positions have none
    past = torch.ones(LENGTH, LENGTH).tril()[:, None, :]
    at["shares"] = drawn(rng, WINDOWS, LENGTH, HEADS, LENGTH).abs() * past
    for name in ("q", "k", "v", "wo", "gate", "up", "down"):
        width = {"wo": ROW, "down": HIDDEN}.get(name, DIM)
        at[f"{name} scale"] = drawn(rng, WINDOWS, LENGTH, width // GROUP).abs()
        at[f"{name} int8"] = torch.from_numpy(rng.integers(-127, 128, (WINDOWS, LENGTH, width)).astype(np.int8))
    return at


class Weights:
    """Of every name one tensor, made when it is first wanted."""

    def __init__(self, rng: np.random.Generator, hyper: Hyperparameters) -> None:
        shapes = hyper.shapes()
        self.of = {name: drawn(rng, *shapes[name]) for name in shapes}
        self.int8 = {
            name: (
                torch.from_numpy(rng.integers(-127, 128, w.shape).astype(np.int8)),
                drawn(rng, len(w), w.shape[1] // GROUP).abs(),
            )
            for name, w in self.of.items()
            if w.ndim == 2 and "tok" not in name
        }


@dataclasses.dataclass(frozen=True)
class Case:
    at: Recorded
    x: torch.Tensor
    weights: Weights
    found: dict[str, Comparison]

    def number(self, name: str, *place: int) -> float:
        return float(self.at[name][place])

    def holds(self, operation: str, place: tuple[int, ...], exact: float, bound: float) -> None:
        judged = self.found[operation]
        assert float(judged.exact[place]) == pytest.approx(exact, rel=1e-12, abs=1e-13), (operation, place)
        assert float(judged.bound[place]) == pytest.approx(bound * SLACK, rel=2e-5, abs=0), (operation, place)


@functools.cache
def judged(arithmetic: Arithmetic = "mirror", activations: Activations = "fp32", **changes: object) -> Case:
    hyper = dataclasses.replace(MODEL, **changes)  # type: ignore[arg-type]
    rng = np.random.default_rng(1)
    at, x, weights = recorded(rng), drawn(rng, WINDOWS, LENGTH, DIM), Weights(rng, hyper)
    recompute = Recompute(hyper, weights.of.__getitem__, weights.int8.get, activations, arithmetic)
    found = {one.operation + " again" * one.replay: one for one in recompute.layer(1, at, x)}
    return Case(at, x, weights, found)


PLACES = [(0, 0), (0, 3), (1, 4)]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(("arithmetic", "units"), [("mirror", DIM), ("fast", 3 + 4)])
def test_products(place: tuple[int, int], arithmetic: Arithmetic, units: int) -> None:
    """40 terms: three steps in the longest lane, and four additions of lanes."""
    case = judged(arithmetic)
    for operation, tensor, inputs, biased in (
        ("q", "attention.wq", "attention_norm", True),
        ("v", "attention.wv", "attention_norm", True),
        ("gate", "feed_forward.w1", "ffn_norm", False),
        ("up", "feed_forward.w3", "ffn_norm", False),
    ):
        row = 5
        weights = case.weights.of[f"layers.1.{tensor}.weight"][row].tolist()
        products = [w * v for w, v in zip(weights, case.at[inputs][place].tolist(), strict=True)]
        exact, bound = math.fsum(products), gamma(units) * math.fsum(map(abs, products)) + DIM * TAU / 2
        if biased:
            exact += float(case.weights.of[f"layers.1.{tensor}.bias"][row])
            bound = bound * (1 + U) + U * abs(exact)
        case.holds(operation, (*place, row), exact, bound)


@pytest.mark.parametrize("place", PLACES)
def test_int8_products(place: tuple[int, int]) -> None:
    case = judged(activations="q8")
    groups, row = HIDDEN // GROUP, 7
    steps, scales = case.at["down int8"][place].tolist(), case.at["down scale"][place].tolist()
    matrix, of_matrix = (part[row].tolist() for part in case.weights.int8["layers.1.feed_forward.w2.weight"])
    parts = [
        sum(steps[i] * matrix[i] for i in range(g * GROUP, (g + 1) * GROUP)) * of_matrix[g] * scales[g]
        for g in range(groups)
    ]
    bound = gamma(groups + 1) * math.fsum(map(abs, parts)) + groups * TAU / 2
    case.holds("down", (*place, row), math.fsum(parts), bound)
    again = case.found["down again"]
    assert not again.bound.any()
    assert float(again.exact[(*place, row)]) == pytest.approx(math.fsum(parts), rel=1e-5)
    # the group's largest activation has the scale, and the recorded scale the step
    inputs = case.at["gated"][place].tolist()
    peak = max(map(abs, inputs[GROUP : 2 * GROUP]))
    case.holds("down scale", (*place, 1), peak / 127, U * peak / 127)
    case.holds("down int8", (*place, 6), inputs[6], scales[1] * (0.5 + 128 * U))
    assert float(case.found["down int8"].out[(*place, 6)]) == pytest.approx(steps[6] * scales[1])


@pytest.mark.parametrize("place", PLACES)
def test_norms(place: tuple[int, int]) -> None:
    case, column = judged(norm_eps=0.1), 9
    for operation, x in (("attention_norm", case.x), ("ffn_norm", case.at["attention_residual"])):
        row = x[place].tolist()
        mean = math.fsum(v * v for v in row) / DIM + float(np.float32(0.1))
        weight = float(case.weights.of[f"layers.1.{operation}.weight"][column])
        exact = weight * row[column] / math.sqrt(mean)
        case.holds(operation, (*place, column), exact, gamma(DIM / 2 + 5) * abs(exact))


@pytest.mark.parametrize("place", PLACES)
def test_rotations(place: tuple[int, int]) -> None:
    case, half = judged(), SIZE // 2
    for name, heads in (("q", HEADS), ("k", KV)):
        head, pair = heads - 1, 1
        at = head * SIZE + 2 * pair
        a, b = case.number(name, *place, at), case.number(name, *place, at + 1)
        c, s = case.number("cosine", *place, pair), case.number("sine", *place, pair)
        assert pair < half
        case.holds(f"{name}_rotated", (*place, at), a * c - b * s, gamma(2) * (abs(a * c) + abs(b * s)))
        case.holds(f"{name}_rotated", (*place, at + 1), a * s + b * c, gamma(2) * (abs(a * s) + abs(b * c)))


@pytest.mark.parametrize(("window", "position"), PLACES)
def test_attention(window: int, position: int) -> None:
    case, head, column = judged(), 3, 2
    kv, here = head // (HEADS // KV), (window, position, head)
    seen = position + 1
    query = case.at["q_rotated"][window, position, head * SIZE : (head + 1) * SIZE].tolist()
    for other in range(LENGTH):
        if other > position:
            for operation in ("scores", "shares"):
                assert case.found[operation].exact[(*here, other)] == 0
                assert case.found[operation].bound[(*here, other)] == 0
            continue
        key = case.at["k_rotated"][window, other, kv * SIZE : (kv + 1) * SIZE].tolist()
        products = [a * b / math.sqrt(SIZE) for a, b in zip(query, key, strict=True)]
        case.holds("scores", (*here, other), math.fsum(products), gamma(SIZE + 2) * math.fsum(map(abs, products)))
    scores = case.at["scores"][here][:seen].tolist()
    depth = [max(scores) - score for score in scores]
    total = math.fsum(math.exp(-d) for d in depth)
    shares = [math.exp(-d) / total for d in depth]
    of_sum = math.fsum(p * (d + 2) for p, d in zip(shares, depth, strict=True))
    for other in range(seen):
        units = depth[other] + 2 + seen + of_sum
        case.holds("shares", (*here, other), shares[other], gamma(units) * shares[other])
    mixed = [case.number("shares", *here, p) * case.number("v", window, p, kv * SIZE + column) for p in range(seen)]
    bound = gamma(seen) * math.fsum(map(abs, mixed)) + seen * TAU / 2
    case.holds("attended", (window, position, head * SIZE + column), math.fsum(mixed), bound)


def test_residuals_and_gates() -> None:
    case, place = judged(activation="silu"), (1, 2, 3)
    residual = case.x[place] + case.at["wo"][place]
    assert float(case.found["attention_residual"].exact[place]) == float(residual)
    assert not case.found["attention_residual"].bound.any()
    residual = case.at["attention_residual"][place] + case.at["down"][place]
    assert float(case.found["ffn_residual"].exact[place]) == float(residual)
    assert not case.found["ffn_residual"].bound.any()
    gate, up = case.number("gate", *place), case.number("up", *place)
    exact = gate / (1 + math.exp(-gate)) * up
    case.holds("gated", place, exact, gamma(2 / (1 + math.exp(gate)) + 4) * abs(exact))
    exact = gate / 2 * math.erfc(-gate / math.sqrt(2)) * up
    assert float(judged().found["gated"].exact[place]) == pytest.approx(exact, rel=1e-12, abs=0)
    inner = 2 * math.sqrt(2 / math.pi) * (gate + 0.044715 * gate**3)
    exact = gate / (1 + math.exp(-inner)) * up
    assert float(judged(activation="gelu_tanh").found["gated"].exact[place]) == pytest.approx(exact, rel=1e-12, abs=0)


def test_a_layer_s_operations_come_in_the_order_of_the_pass() -> None:
    attention = ["scores", "shares", "attended", "wo", "attention_residual"]
    feed_forward = ["ffn_norm", "gate", "up", "gated", "down", "ffn_residual"]
    first, rotated = ["cosine", "sine", "attention_norm", "q", "k", "v"], ["q_rotated", "k_rotated"]
    assert list(judged().found) == [*first, *rotated, *attention, *feed_forward]
    normed = judged(qk_norm="head").found
    assert list(normed) == [*first, "q_normed", "k_normed", *rotated, *attention, *feed_forward]
    assert [normed[f"{name}_normed"].tensor for name in "qk"] == [
        f"layers.1.attention.{name}_norm.weight" for name in "qk"
    ]
