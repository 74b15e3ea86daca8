"""Operations that models have beyond Llama's, and parts of products, beside loops over single numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
import torch
from helpers.roundings import SLACK, TAU, U, gamma

from reader_c import Activations, Arithmetic
from verify.operations import recompute as module
from verify.operations.comparison import Comparison
from verify.operations.recompute import Recompute, Recorded
from verify.sources import Hyperparameters, LayerKind
from verify.system.pulse import BOUNDED

WINDOWS, LENGTH, DIM, HIDDEN, HEADS, KV, SIZE, VOCAB, EXPERTS, ACTIVE, GROUP = 2, 3, 8, 6, 4, 2, 6, 5, 6, 4, 2
RANDOM = torch.Generator().manual_seed(1)
PLACES = [(window, position) for window in range(WINDOWS) for position in range(LENGTH)]


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=RANDOM)


def steps(*shape: int) -> torch.Tensor:
    return torch.randint(-127, 128, shape, generator=RANDOM).to(torch.int8)


def single(number: float) -> float:
    return torch.tensor(number).item()


def units_of(constant: float) -> float:
    """How far a constant is from float32's, in units of u."""
    return abs(single(constant) / constant - 1) / U


class Weights(dict[str, torch.Tensor]):
    """Of each name one tensor, made when it is first wanted."""

    def __init__(self, **shapes: tuple[int, ...]) -> None:
        super().__init__()
        self._shapes = shapes

    def __missing__(self, name: str) -> torch.Tensor:
        self[name] = drawn(*self._shapes[name.split(".")[-2]])
        return self[name]


def recompute(
    weights: dict[str, torch.Tensor],
    quantized: Callable[[str], Any] = lambda _name: None,
    activations: Activations = "fp32",
    arithmetic: Arithmetic = "mirror",
    **changes: Any,
) -> Recompute:
    sizes: dict[str, Any] = {
        **{"dim": DIM, "hidden_dim": HIDDEN, "n_layers": 1, "n_heads": HEADS, "n_kv_heads": KV, "head_dim": SIZE},
        **{"vocab_size": VOCAB, "max_seq_len": 16, "tied": False, "norm_eps": 0.1, "rope_theta": 1e4},
        **{"n_experts": EXPERTS, "n_active_experts": ACTIVE, "expert_hidden_dim": HIDDEN},
    }
    hyper = Hyperparameters(**{**sizes, "layers": (LayerKind(experts=True),), **changes})
    return Recompute(hyper, weights.__getitem__, quantized, activations, arithmetic)


def holds(judged: Comparison, place: tuple[int, ...], exact: float, bound: float) -> None:
    assert float(judged.exact[place]) == pytest.approx(exact, rel=1e-12, abs=1e-13), place
    assert float(judged.bound[place]) == pytest.approx(bound * SLACK, rel=1e-5, abs=0), place


# ---- constants ----

TOKENS = torch.tensor([[0, 4, 2], [1, 1, 3]])


def test_embeddings_are_rows_or_rows_times_a_constant() -> None:
    table, out = drawn(VOCAB, DIM), drawn(WINDOWS, LENGTH, DIM)
    weights, at, name = {"tok_embeddings.weight": table}, {"embedding": out}, "tok_embeddings.weight"
    (plain,) = recompute(weights).embedding(at, TOKENS)
    assert torch.equal(plain.exact, table[TOKENS].double())
    assert not plain.bound.any()
    for scale in (3.7, 0.3, 2.0):
        scaled, again = recompute(weights, embedding_scale=scale).embedding(at, TOKENS)
        for place in PLACES:
            number = float(table[TOKENS[place], 5])
            bound = gamma(1 + units_of(scale)) * abs(number * scale) + TAU / 2
            holds(scaled, (*place, 5), number * scale, bound)
            assert float(again.exact[(*place, 5)]) == float(table[TOKENS[place], 5] * torch.tensor(scale))
        assert not again.bound.any()
        assert [one.replay for one in (plain, scaled, again)] == [False, False, True]
        for one in (plain, scaled, again):
            assert (one.operation, one.tensor) == ("embedding", name)
            assert torch.equal(one.out.double(), out.double())


@pytest.mark.parametrize("scale", [1.0, 0.3, 2.0])
def test_a_block_is_added_to_the_stream_by_its_own_factor(scale: float) -> None:
    x, at = drawn(WINDOWS, LENGTH, DIM), {name: drawn(WINDOWS, LENGTH, DIM) for name in ("wo", "attention_residual")}
    found = list(recompute({}, residual_scale=scale)._added("attention", "wo", at, x, "layers.0."))
    assert [(one.operation, one.replay) for one in found] == [
        ("attention_residual", replay) for replay in ((False, True) if scale != 1 else (False,))
    ]
    for place in PLACES:
        a, b = (float(side[(*place, 2)]) for side in (x, at["wo"]))
        right = float(x[(*place, 2)] + at["wo"][(*place, 2)] * torch.tensor(scale))
        assert float(found[-1].exact[(*place, 2)]) == right
        if scale != 1:
            exact = a + b * scale
            part = gamma(1 + units_of(scale)) * abs(b * scale) + TAU / 2
            holds(found[0], (*place, 2), exact, part * (1 + U) + U * abs(exact))
    assert not found[-1].bound.any()


@pytest.mark.parametrize("kind", ["head", "whole"])
def test_queries_are_normed_by_head_or_all_together(kind: str) -> None:
    width = SIZE if kind == "head" else HEADS * SIZE
    at = {name: drawn(WINDOWS, LENGTH, HEADS * SIZE) for name in ("q", "q_normed")}
    weights = {"w": drawn(width)}
    found = recompute(weights, qk_norm=kind)._head_norm("q", at, "w")
    assert (found.operation, found.tensor) == ("q_normed", "w")
    for place in PLACES:
        for column in (0, 7, HEADS * SIZE - 1):
            first = column // width * width
            row = at["q"][place].tolist()
            mean = math.fsum(one * one for one in row[first : first + width]) / width + single(0.1)
            exact = float(weights["w"][column - first]) * row[column] / math.sqrt(mean)
            holds(found, (*place, column), exact, gamma(width / 2 + 5) * abs(exact))


# ---- the end ----


@pytest.mark.parametrize(("divisor", "cap"), [(1.0, 0.0), (2.0, 0.0), (1.0, 0.5), (0.3, 0.5)])
@pytest.mark.parametrize(("block", "firsts"), [(1 << 21, [0]), (17, [0, 2, 4]), (3, [0, 1, 2, 3, 4])])
def test_logits_are_the_product_or_what_a_divisor_and_a_cap_make_of_it(
    monkeypatch: pytest.MonkeyPatch, divisor: float, cap: float, block: int, firsts: list[int]
) -> None:
    monkeypatch.setattr(module, "_BLOCK", block)
    weights = Weights(norm=(DIM,), output=(VOCAB, DIM))
    at = {name: drawn(WINDOWS, LENGTH, VOCAB) for name in ("classified", "logits")}
    at["final_norm"] = drawn(WINDOWS, LENGTH, DIM)
    made = recompute(weights, logit_divisor=divisor, logit_cap=cap)
    found = list(made.classifier(at, drawn(WINDOWS, LENGTH, DIM)))
    plain = divisor == 1 and not cap
    product = "logits" if plain else "classified"
    expected = [("final_norm", 0), *((product, first) for first in firsts)]
    expected += [] if plain else [("logits", first) for first in firsts]
    assert [(one.operation, one.first) for one in found] == expected
    for one in found[1:]:
        assert torch.equal(one.out.double(), at[one.operation][..., one.first :][..., : one.out.shape[-1]].double())
    if not plain:
        assert torch.equal(torch.cat([one.out for one in found[1 + len(firsts) :]], -1), at["logits"].double())
    for one in found[1 + len(firsts) :]:
        for place in PLACES:
            for column in range(one.out.shape[-1]):
                number = float(at["classified"][(*place, one.first + column)]) / divisor
                exact = cap * math.tanh(number / cap) if cap else number
                assert float(one.exact[(*place, column)]) == pytest.approx(exact, rel=1e-12, abs=0)
                if not cap:
                    bound = gamma(1 + units_of(divisor)) * abs(exact) + TAU / 2
                    holds(one, (*place, column), exact, bound)
                else:
                    z = abs(number / cap)
                    slope = 2 * z / math.sinh(2 * z)
                    units = slope * ((divisor != 1) * (1 + units_of(divisor)) + 1) + 2 * 3 + 1
                    holds(one, (*place, column), exact, gamma(units) * abs(exact))
    # the classifier has no bias
    assert set(weights) == {"norm.weight", "output.weight"}


def test_int8_activations_of_a_classifier_before_a_cap_are_recorded_as_those_of_the_logits() -> None:
    weights = Weights(norm=(DIM,))
    stored = steps(VOCAB, DIM), drawn(VOCAB, DIM // GROUP).abs()
    at = {name: drawn(WINDOWS, LENGTH, VOCAB) for name in ("classified", "logits")}
    at |= {"final_norm": drawn(WINDOWS, LENGTH, DIM), "logits int8": steps(WINDOWS, LENGTH, DIM)}
    at["logits scale"] = drawn(WINDOWS, LENGTH, DIM // GROUP).abs()
    made = recompute(weights, {"output.weight": stored}.get, "q8", logit_cap=30.0)
    found = list(made.classifier(at, drawn(WINDOWS, LENGTH, DIM)))
    assert [one.operation + " again" * one.replay for one in found] == [
        *("final_norm", "logits scale", "logits int8", "logits scale again", "logits int8 again"),
        *("classified again", "classified", "logits"),
    ]


# ---- parts of products ----


@pytest.mark.parametrize("activations", ["fp32", "q8"])
@pytest.mark.parametrize(("block", "firsts"), [(6 * 5, [0]), (6 * 2 + 5, [0, 2, 4]), (5, [0, 1, 2, 3, 4])])
def test_a_product_is_judged_in_parts_of_a_block_and_counted(
    monkeypatch: pytest.MonkeyPatch, activations: Activations, block: int, firsts: list[int]
) -> None:
    """Of six tokens. A replay has a block of its own, and its parts all threads."""
    other = 10**9
    monkeypatch.setattr(module, "_BLOCK", block if activations == "fp32" else other)
    monkeypatch.setattr(module, "_REPLAYED_BLOCK", block if activations == "q8" else other)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 7)
    pulses: list[float] = []
    workers: list[int] = []

    def ahead(function: Callable[[int], Any], items: Iterable[int], count: int) -> Iterator[Any]:
        workers.append(count)
        return map(function, items)

    monkeypatch.setattr(module, "pulse", pulses.append)
    monkeypatch.setattr(module, "ahead", ahead)
    stored = steps(VOCAB, DIM), drawn(VOCAB, DIM // GROUP).abs()
    x = drawn(WINDOWS, LENGTH, DIM)
    at = {"q": drawn(WINDOWS, LENGTH, VOCAB), "q int8": steps(WINDOWS, LENGTH, DIM)}
    at["q scale"] = drawn(WINDOWS, LENGTH, DIM // GROUP).abs()
    made = recompute({"w.weight": drawn(VOCAB, DIM)}, lambda _name: stored, activations)
    found = [one for one in made._product("q", at, x, "w", biased=False) if one.operation == "q"]
    replays = [one.first for one in found if one.replay]
    assert [one.first for one in found if not one.replay] == firsts
    assert replays == (firsts if activations == "q8" else [])
    assert workers == [7 if activations == "q8" else 1]
    assert pulses == pytest.approx([BOUNDED * WINDOWS * LENGTH * DIM * VOCAB / len(firsts)] * len(firsts))
    assert torch.equal(torch.cat([one.out for one in found if not one.replay], -1), at["q"])


def test_parts_of_products_fit_into_the_memory_and_the_cache_that_they_are_meant_for() -> None:
    """16 MiB of doubles, and of a replay 1 MiB."""
    assert 8 * module._BLOCK == 16 << 20
    assert 8 * module._REPLAYED_BLOCK == 1 << 20


@pytest.mark.parametrize(("arithmetic", "units"), [("mirror", 20_000), ("fast", 1250 + 4)])
def test_the_roundings_of_the_magnitudes_themselves_are_allowed_for(arithmetic: Arithmetic, units: int) -> None:
    magnitudes = torch.tensor([[3.0, 5.0], [0.0, 7.0]])
    found = module._bound_of_product(magnitudes, 20_000, arithmetic)
    for place in ((0, 0), (0, 1), (1, 0), (1, 1)):
        grown = float(magnitudes[place]) * (1 + 2 * gamma(20_000))
        expected = gamma(units) * grown + 20_000 * TAU / 2 * (1 + gamma(units))
        assert float(found[place]) == pytest.approx(expected * SLACK, rel=1e-9, abs=0)


# ---- experts ----

CHOSEN = torch.tensor([[[0, 1, 2, 3], [1, 2, 3, 5], [0, 1, 4, 5]], [[2, 3, 4, 5], [0, 2, 3, 4], [0, 1, 2, 5]]])
NAME = "experts.{expert}.w1.weight"


def of_experts() -> tuple[dict[str, torch.Tensor], dict[str, tuple[torch.Tensor, torch.Tensor]]]:
    names = [NAME.format(expert=number) for number in range(EXPERTS)]
    weights = {name: drawn(HIDDEN, DIM) for name in names}
    return weights, {name: (steps(HIDDEN, DIM), drawn(HIDDEN, DIM // GROUP).abs()) for name in names}


def recorded_slots(active: int = ACTIVE) -> Recorded:
    at = {"expert_gate": drawn(WINDOWS, LENGTH, ACTIVE * HIDDEN)}
    at["expert_gate int8"] = steps(WINDOWS, LENGTH, active * DIM)
    at["expert_gate scale"] = drawn(WINDOWS, LENGTH, active * DIM // GROUP).abs()
    return at


@pytest.mark.parametrize(
    ("activations", "stored", "active"), [("fp32", True, 4), ("q8", False, 4), ("q8", True, 5), ("fp32", False, 4)]
)
def test_products_with_experts_are_those_of_the_chosen_ones(
    monkeypatch: pytest.MonkeyPatch, activations: Activations, *, stored: bool, active: int
) -> None:
    """In float32, too, where int8 activations of another number of experts were recorded."""
    weights, quantized = of_experts()
    pulses: list[float] = []
    monkeypatch.setattr(module, "pulse", pulses.append)
    at, x = recorded_slots(active), drawn(WINDOWS, LENGTH, ACTIVE, DIM)
    made = recompute(weights, quantized.get if stored else lambda _name: None, activations)
    (found,) = made._slots("expert_gate", at, x, CHOSEN, NAME)
    assert (found.operation, found.tensor, found.replay) == ("expert_gate", NAME, False)
    assert found.slots is CHOSEN
    assert found.inputs is x
    assert torch.equal(found.out, at["expert_gate"].double())
    assert pulses == [BOUNDED * WINDOWS * LENGTH * ACTIVE * DIM * HIDDEN]
    for place in PLACES:
        for slot in range(ACTIVE):
            weight = weights[NAME.format(expert=int(CHOSEN[(*place, slot)]))]
            for row in range(HIDDEN):
                pairs = zip(weight[row].tolist(), x[(*place, slot)].tolist(), strict=True)
                parts = [a * b for a, b in pairs]
                bound = gamma(DIM) * math.fsum(map(abs, parts)) + DIM * TAU / 2
                holds(found, (*place, slot * HIDDEN + row), math.fsum(parts), bound)


def test_int8_products_with_experts_are_replayed_too() -> None:
    weights, quantized = of_experts()
    at, x = recorded_slots(), drawn(WINDOWS, LENGTH, ACTIVE, DIM)
    found = list(recompute(weights, quantized.get, "q8")._slots("expert_gate", at, x, CHOSEN, NAME))
    assert [one.operation + " again" * one.replay for one in found] == [
        *("expert_gate scale", "expert_gate int8", "expert_gate scale again", "expert_gate int8 again"),
        *("expert_gate again", "expert_gate"),
    ]
    assert torch.equal(found[1].exact, x.flatten(2).double())
    again, judged = found[-2:]
    assert (again.slots is CHOSEN, again.tensor) == (True, NAME)
    for place in PLACES:
        for slot in range(ACTIVE):
            matrix, scales = quantized[NAME.format(expert=int(CHOSEN[(*place, slot)]))]
            read = at["expert_gate int8"][place][slot * DIM : (slot + 1) * DIM].tolist()
            of_read = at["expert_gate scale"][place][slot * DIM // GROUP :].tolist()
            for row in range(HIDDEN):
                parts = [
                    sum(read[i] * int(matrix[row, i]) for i in range(g * GROUP, (g + 1) * GROUP))
                    * float(scales[row, g])
                    * of_read[g]
                    for g in range(DIM // GROUP)
                ]
                groups, here = DIM // GROUP, (*place, slot * HIDDEN + row)
                size = math.fsum(map(abs, parts))
                holds(judged, here, math.fsum(parts), gamma(groups + 1) * size + groups * TAU / 2)
                assert float(again.exact[here]) == pytest.approx(math.fsum(parts), abs=1e-5 * size)


def test_an_only_expert_is_replayed_too() -> None:
    weights, quantized = of_experts()
    at = {"expert_gate": drawn(1, LENGTH, HIDDEN), "expert_gate int8": steps(1, LENGTH, DIM)}
    at["expert_gate scale"] = drawn(1, LENGTH, DIM // GROUP).abs()
    x, chosen, only = drawn(1, LENGTH, 1, DIM), torch.zeros(1, LENGTH, 1, dtype=torch.int64), NAME.format(expert=0)
    made = recompute(weights, {only: quantized[only]}.get, "q8", n_experts=1, n_active_experts=1)
    assert len(list(made._slots("expert_gate", at, x, chosen, NAME))) == 6


def test_experts_are_judged_by_their_own_tensors_and_inputs() -> None:
    """The router has no bias, every slot reads the norm, and the way down reads each expert's own gate."""
    weights = Weights(router=(EXPERTS, DIM), w1=(HIDDEN, DIM), w2=(DIM, HIDDEN), w3=(HIDDEN, DIM))
    h = drawn(WINDOWS, LENGTH, DIM)
    at = {"router": drawn(WINDOWS, LENGTH, EXPERTS), "routed": torch.zeros(WINDOWS, LENGTH, EXPERTS)}
    at["routed"].scatter_(-1, CHOSEN, 0.5)
    at |= {name: drawn(WINDOWS, LENGTH, ACTIVE * HIDDEN) for name in ("expert_gate", "expert_up", "expert_gated")}
    at |= {"expert_down": drawn(WINDOWS, LENGTH, ACTIVE * DIM), "down": drawn(WINDOWS, LENGTH, DIM)}
    found = {one.operation: one for one in recompute(weights)._experts(at, h, "p.")}
    assert list(found) == [
        *("router", "routed", "expert_gate", "expert_up", "expert_gated", "expert_down", "down"),
    ]
    for operation, matrix in (("expert_gate", "w1"), ("expert_up", "w3"), ("expert_down", "w2")):
        assert found[operation].tensor == f"p.experts.{{expert}}.{matrix}.weight"
        slots = found[operation].slots
        assert slots is not None
        assert torch.equal(slots, CHOSEN)
    gates, ups, downs = (found[operation].inputs for operation in ("expert_gate", "expert_up", "expert_down"))
    assert gates is not None
    assert ups is not None
    assert downs is not None
    for place in PLACES:
        for slot in range(ACTIVE):
            assert torch.equal(gates[(*place, slot)], h[place])
            assert torch.equal(ups[(*place, slot)], h[place])
            mine = at["expert_gated"][place][slot * HIDDEN : (slot + 1) * HIDDEN]
            assert torch.equal(downs[(*place, slot)], mine)
    assert not any(name.endswith(".bias") for name in weights)
