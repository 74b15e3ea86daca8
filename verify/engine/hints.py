"""What an engine does otherwise, told from its logits alone: the reference is made to commit known mistakes one by
one, and the mistake that gives the engine's own logits is named.

A mistake is a change of the reference's numbers or of what one of its operations gives. Nothing is guessed: a hint is
given only where the changed reference lies as near to the engine as a healthy engine does to the right one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import torch

from verify.oracle import llama, rope
from verify.oracle.rounding_noise import Noise
from verify.sources import Hyperparameters, RopeScaling

Load = llama.Load
# Of one layer and pass: sees what each operation gives, and may change it.
MakeWatch = Callable[[Hyperparameters, torch.Tensor], llama.Watch]

# Values that engines have built in.
_THETAS = (1e4, 5e5, 1e6)
_EPS = (1e-5, 1e-6, 1e-8, 0.0)
_ACTIVATIONS = ("silu", "gelu", "gelu_tanh")
# Widths that a loop over the inputs of a product may take at a time, leaving out a rest.
_WIDTHS = (4, 8, 16, 32, 64)


@dataclass(frozen=True)
class Fault:
    """One mistake. name: short and stable. sentence: what the engine does. model, load: what the reference computes
    with; watch: what becomes of its operations; backwards: layers; late: logits are those of the position before."""

    name: str
    sentence: str
    model: Hyperparameters
    load: Load
    watch: MakeWatch | None = None
    backwards: bool = False
    late: bool = False


@torch.no_grad()
def logits_of(fault: Fault, tokens: torch.Tensor) -> torch.Tensor:
    """Logits (length, vocab_size), float64, of tokens (length,) as an engine with the fault computes them."""
    model, silent = fault.model, Noise()
    # one more, for what turns by the position after its own
    turns = rope.turns(model, len(tokens) + 1, torch.float64, silent)
    x = llama.embed(fault.load, tokens.unsqueeze(0), torch.float64)
    layers = range(model.n_layers)
    for number in reversed(layers) if fault.backwards else layers:
        watch = fault.watch(model, turns) if fault.watch else llama.unwatched
        x = llama.layer(model, fault.load, number, x, turns[:-1], silent, watch)
    logits = llama.head(model, fault.load, x, silent)[0]
    return torch.cat((logits[:1], logits[:-1])) if fault.late else logits


def faults(model: Hyperparameters, load: Load, group_size: int) -> Iterator[Fault]:
    """Every known mistake that this model can show. group_size: of its Q8_0 tensors, 0 where there is none."""
    yield from _of_numbers(model, load)
    yield from _of_attention(model, load)
    yield from _of_weights(model, load, group_size)
    if model.n_layers > 1:
        yield Fault("layers-reversed", "runs the layers in reverse order", model, load, backwards=True)
    yield Fault("logits-late", "gives each position the logits of the position before", model, load, late=True)


def _of_numbers(model: Hyperparameters, load: Load) -> Iterator[Fault]:
    for theta in _THETAS:
        if theta != model.rope_theta:
            told = f"turns by RoPE's theta of {theta:g} instead of {model.rope_theta:g}"
            yield Fault("rope-theta", told, replace(model, rope_theta=theta), load)
    if model.rope_scaling.type != "none":
        told = f"leaves out RoPE's scaling ({model.rope_scaling.type})"
        yield Fault("rope-scaling", told, replace(model, rope_scaling=RopeScaling()), load)
    for eps in _EPS:
        if eps != model.norm_eps:
            told = f"adds {eps:g} instead of {model.norm_eps:g} to a norm's mean square"
            yield Fault("norm-eps", told, replace(model, norm_eps=eps), load)
    for activation in _ACTIVATIONS:
        if activation != model.activation:
            told = f"computes {activation} instead of {model.activation}"
            yield Fault("activation", told, replace(model, activation=activation), load)
    unbiased = replace(model, qkv_bias=False, wo_bias=False, mlp_bias=False)
    if unbiased != model:
        yield Fault("bias-dropped", "leaves out the biases", unbiased, load)
    if not model.tied:
        told = "uses the token embeddings as classifier, though the file has one of its own"
        yield Fault("tied-classifier", told, replace(model, tied=True), load)


# ---- attention, by what its operations give ----


def _of_attention(model: Hyperparameters, load: Load) -> Iterator[Fault]:
    if model.head_dim > 2:
        told = "turns the two halves of each head against each other instead of its pairs"
        yield Fault("rope-half-split", told, model, load, _turning(_halves))
    yield Fault("rope-backwards", "turns the other way", model, load, _turning(_backwards))
    yield Fault("rope-position", "turns nothing: the position is always 0", model, load, _turning(_not_at_all))
    told = "turns queries by the position after their own"
    yield Fault("rope-position", told, model, load, _turning(_one_further, keys=False))
    sharing = model.n_heads // model.n_kv_heads
    if 1 < model.n_kv_heads < model.n_heads:
        order = [slot % sharing * model.n_kv_heads + slot // sharing for slot in range(model.n_heads)]
        told = "takes kv head h % n_kv_heads instead of h / (n_heads / n_kv_heads) for head h"
        yield Fault("kv-heads", told, model, load, _queries_of(order))
    if model.n_kv_heads > 1:
        for step, where in ((-1, "after"), (1, "before")):
            order = [(slot + step * sharing) % model.n_heads for slot in range(model.n_heads)]
            yield Fault("kv-heads", f"takes the kv head {where} the right one", model, load, _queries_of(order))
    root = math.sqrt(model.head_dim)
    yield Fault("score-scale", "does not divide scores by sqrt(head_dim)", model, load, _scores_times(root))
    yield Fault("score-scale", "divides scores by head_dim, not its root", model, load, _scores_times(1 / root))
    yield Fault("own-position", "leaves each position itself out of its attention", model, load, _without_itself)


def _turning(turn: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], *, keys: bool = True) -> MakeWatch:
    """turn: of (windows, length, heads, head_dim) and complex (length + 1, head_dim / 2), in place of RoPE."""

    def make(model: Hyperparameters, turns: torch.Tensor) -> llama.Watch:
        seen: dict[str, torch.Tensor] = {}

        def watch(operation: str, y: torch.Tensor) -> torch.Tensor:
            if operation in ("q", "k"):
                seen[operation] = y
            if operation == "q_rotated" or (keys and operation == "k_rotated"):
                heads = seen[operation[0]].unflatten(-1, (-1, model.head_dim))
                return turn(heads, turns).flatten(2)
            return y

        return watch

    return make


def _complex(heads: torch.Tensor) -> torch.Tensor:
    return torch.view_as_complex(heads.unflatten(-1, (-1, 2)).contiguous())


def _halves(heads: torch.Tensor, turns: torch.Tensor) -> torch.Tensor:
    low, high = heads.chunk(2, dim=-1)
    turned = torch.complex(low.contiguous(), high.contiguous()) * turns[:-1].unsqueeze(1)
    return torch.cat((turned.real, turned.imag), dim=-1)


def _backwards(heads: torch.Tensor, turns: torch.Tensor) -> torch.Tensor:
    return torch.view_as_real(_complex(heads) * turns[:-1].conj().unsqueeze(1)).flatten(-2)


def _not_at_all(heads: torch.Tensor, _turns: torch.Tensor) -> torch.Tensor:
    return heads


def _one_further(heads: torch.Tensor, turns: torch.Tensor) -> torch.Tensor:
    return torch.view_as_real(_complex(heads) * turns[1:].unsqueeze(1)).flatten(-2)


def _queries_of(order: list[int]) -> MakeWatch:
    """Slot s of the queries, in the order of the kv heads, is taken by head order[s]."""
    there = torch.tensor(order)
    back = there.argsort()

    def make(model: Hyperparameters, _turns: torch.Tensor) -> llama.Watch:
        def watch(operation: str, y: torch.Tensor) -> torch.Tensor:
            if operation not in ("q_rotated", "attended"):
                return y
            heads: torch.Tensor = y.unflatten(-1, (-1, model.head_dim))
            return heads[:, :, there if operation == "q_rotated" else back].flatten(2)

        return watch

    return make


def _scores_times(factor: float) -> MakeWatch:
    def make(_model: Hyperparameters, _turns: torch.Tensor) -> llama.Watch:
        return lambda operation, y: y * factor if operation == "scores" else y

    return make


def _without_itself(_model: Hyperparameters, _turns: torch.Tensor) -> llama.Watch:
    def watch(operation: str, y: torch.Tensor) -> torch.Tensor:
        if operation != "scores":
            return y
        own = torch.eye(y.shape[-1], dtype=torch.bool)
        # the first position has nothing but itself
        own[0, 0] = False
        return y.masked_fill(own, -torch.inf)

    return watch


# ---- weights, by name ----


def _of_weights(model: Hyperparameters, load: Load, group_size: int) -> Iterator[Fault]:
    swapped = {"feed_forward.w1.": "feed_forward.w3.", "feed_forward.w3.": "feed_forward.w1."}

    def exchanged(name: str) -> torch.Tensor:
        for mine, other in swapped.items():
            if mine in name:
                return load(name.replace(mine, other))
        return load(name)

    yield Fault("other-tensor", "takes gate (w1) and up (w3) for each other", model, exchanged)

    def without_norms(name: str) -> torch.Tensor:
        return torch.ones_like(load(name)) if name.endswith("norm.weight") else load(name)

    yield Fault("norm-weights", "does not multiply by the norms' weights", model, without_norms)

    # a tied classifier is cut like any other matrix, while embeddings are looked up whole
    untied = replace(model, tied=False)

    def cut(name: str, told: str, until: Callable[[int], int]) -> Fault:
        return Fault(name, told, untied, _cut(load, llama.classifier(model), until))

    if group_size:
        told = f"leaves out the last group of {group_size} inputs of each row"
        yield cut("last-group", told, partial(_fewer, group_size))
    for width in _WIDTHS:
        if any(columns % width for columns in (model.dim, model.hidden_dim, model.n_heads * model.head_dim)):
            told = f"leaves out the inputs of each row that {width} at a time do not fill"
            yield cut("last-inputs-dropped", told, partial(_whole, width))
    for dropped in (1, 4, 8):
        told = f"leaves out the last {'input' if dropped == 1 else f'{dropped} inputs'} of each row"
        yield cut("last-inputs-dropped", told, partial(_fewer, dropped))


def _whole(width: int, columns: int) -> int:
    return columns // width * width


def _fewer(dropped: int, columns: int) -> int:
    return columns - dropped


def _cut(load: Load, classifier: str, until: Callable[[int], int]) -> Load:
    """Matrices whose columns from until(columns) on do not count."""

    def cut(name: str) -> torch.Tensor:
        if name.startswith("tok_"):
            return load(name)
        tensor = load(classifier if name == "output.weight" else name)
        if tensor.ndim != 2:
            return tensor
        kept = tensor.clone()
        kept[:, max(0, until(tensor.shape[1])) :] = 0
        return kept

    return cut
