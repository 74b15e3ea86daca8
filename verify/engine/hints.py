"""Find the known mistake that gives exactly the logits of an engine.

The reference is computed again with one known mistake at a time: with other hyperparameters, other weights, or
another result of one of its operations. A hint is given only if the changed reference is as near to the engine as a
healthy engine is to the right one; nothing is guessed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import torch

from verify.diagnosis import engine_mistakes as m
from verify.diagnosis.mistakes import LAYERS_REVERSED, ROPE_THETA, Mistake
from verify.oracle import llama, rope
from verify.oracle.rounding_noise import Noise
from verify.sources import Hyperparameters, RopeScaling

Load = llama.Load
# (hyperparameters, rotations) -> a watch over one layer, which sees the result of each operation and may change it
MakeWatch = Callable[[Hyperparameters, torch.Tensor], llama.Watch]

# Inputs that a loop over a row may take at a time, so that it omits the rest.
_LANES = (4, 8, 16, 32, 64)


@dataclass(frozen=True)
class MistakenReference:
    """Describes the reference with one mistake in it.

    sentence: what an engine with the mistake does. hyper, load: what the reference computes with. watch: changes the
    results of its operations. backwards: runs the layers in reverse order. late: gives each position the logits of
    the position before.
    """

    mistake: Mistake
    sentence: str
    hyper: Hyperparameters
    load: Load
    watch: MakeWatch | None = None
    backwards: bool = False
    late: bool = False


@torch.no_grad()
def logits_of(reference: MistakenReference, tokens: torch.Tensor) -> torch.Tensor:
    """Compute logits (length, vocab_size), float64, of tokens (length,) with the mistake."""
    hyper, load, exact = reference.hyper, reference.load, Noise()
    # one more than the tokens, for mistakes that rotate by the next position
    rotations = rope.rotations(hyper, len(tokens) + 1, torch.float64, exact)
    x = llama.embed(load, tokens.unsqueeze(0), torch.float64)
    layers = range(hyper.n_layers)
    for number in reversed(layers) if reference.backwards else layers:
        watch = reference.watch(hyper, rotations) if reference.watch else llama.unwatched
        x = llama.layer(hyper, load, number, x, rotations[:-1], exact, watch)
    logits = llama.head(hyper, load, x, exact)[0]
    return torch.cat((logits[:1], logits[:-1])) if reference.late else logits


def mistaken_references(hyper: Hyperparameters, load: Load, group_size: int) -> Iterator[MistakenReference]:
    """Yield every known mistake that shows in this model. group_size: of its Q8_0 tensors, 0 if it has none."""
    yield from _of_hyperparameters(hyper, load)
    yield from _of_rope(hyper, load)
    yield from _of_attention(hyper, load)
    yield from _of_weights(hyper, load)
    yield from _of_omitted_inputs(hyper, load, group_size)
    if hyper.n_layers > 1:
        yield MistakenReference(LAYERS_REVERSED, LAYERS_REVERSED.of_engine(), hyper, load, backwards=True)
    yield MistakenReference(m.LOGITS_LATE, m.LOGITS_LATE.of_engine(), hyper, load, late=True)


def _of_hyperparameters(hyper: Hyperparameters, load: Load) -> Iterator[MistakenReference]:
    for theta in ROPE_THETA.numbers:
        if theta != hyper.rope_theta:
            sentence = ROPE_THETA.of_engine(found=theta, expected=hyper.rope_theta)
            yield MistakenReference(ROPE_THETA, sentence, replace(hyper, rope_theta=theta), load)
    if hyper.rope_scaling.type != "none":
        sentence = m.ROPE_SCALING_IGNORED.of_engine(scaling=hyper.rope_scaling.type)
        yield MistakenReference(m.ROPE_SCALING_IGNORED, sentence, replace(hyper, rope_scaling=RopeScaling()), load)
    for eps in m.NORM_EPS.numbers:
        if eps != hyper.norm_eps:
            sentence = m.NORM_EPS.of_engine(found=eps, expected=hyper.norm_eps)
            yield MistakenReference(m.NORM_EPS, sentence, replace(hyper, norm_eps=eps), load)
    for activation in m.ACTIVATION.words:
        if activation != hyper.activation:
            sentence = m.ACTIVATION.of_engine(found=activation, expected=hyper.activation)
            yield MistakenReference(m.ACTIVATION, sentence, replace(hyper, activation=activation), load)
    unbiased = replace(hyper, qkv_bias=False, wo_bias=False, mlp_bias=False)
    if unbiased != hyper:
        yield MistakenReference(m.BIAS_DROPPED, m.BIAS_DROPPED.of_engine(what="the biases"), unbiased, load)
    if not hyper.tied:
        tied = replace(hyper, tied=True)
        yield MistakenReference(m.TIED_CLASSIFIER, m.TIED_CLASSIFIER.of_engine(), tied, load)


# ---- RoPE and attention: other results of their operations ----


def _of_rope(hyper: Hyperparameters, load: Load) -> Iterator[MistakenReference]:
    if hyper.head_dim > 2:
        yield MistakenReference(m.ROPE_HALF_SPLIT, m.ROPE_HALF_SPLIT.of_engine(), hyper, load, _rotating(_halves))
    yield MistakenReference(m.ROPE_BACKWARDS, m.ROPE_BACKWARDS.of_engine(), hyper, load, _rotating(_backwards))
    missing = m.ROPE_MISSING.of_engine(what="queries and keys, or takes every position for 0")
    yield MistakenReference(m.ROPE_MISSING, missing, hyper, load, _rotating(_not_at_all))
    further = m.ROPE_POSITION.of_engine(what="queries", side="after")
    yield MistakenReference(m.ROPE_POSITION, further, hyper, load, _rotating(_one_further, keys=False))


def _of_attention(hyper: Hyperparameters, load: Load) -> Iterator[MistakenReference]:
    sharing = hyper.n_heads // hyper.n_kv_heads
    modulo, higher, lower, _always_first = m.KV_HEADS.words
    if 1 < hyper.n_kv_heads < hyper.n_heads:
        order = [slot % sharing * hyper.n_kv_heads + slot // sharing for slot in range(hyper.n_heads)]
        yield MistakenReference(m.KV_HEADS, m.KV_HEADS.of_engine(found=modulo), hyper, load, _queries_of(order))
    if hyper.n_kv_heads > 1:
        for step, found in ((-1, higher), (1, lower)):
            order = [(slot + step * sharing) % hyper.n_heads for slot in range(hyper.n_heads)]
            yield MistakenReference(m.KV_HEADS, m.KV_HEADS.of_engine(found=found), hyper, load, _queries_of(order))
    root = math.sqrt(hyper.head_dim)
    for found, factor in zip(m.SCORE_SCALE.words, (root, 1 / root), strict=True):
        sentence = m.SCORE_SCALE.of_engine(found=found)
        yield MistakenReference(m.SCORE_SCALE, sentence, hyper, load, _scores_times(factor))
    yield MistakenReference(m.OWN_POSITION, m.OWN_POSITION.of_engine(), hyper, load, _without_itself)


def _rotating(rotate: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], *, keys: bool = True) -> MakeWatch:
    """Replace RoPE. rotate: of (windows, length, heads, head_dim) and complex rotations (length + 1, head_dim /
    2)."""

    def make(hyper: Hyperparameters, rotations: torch.Tensor) -> llama.Watch:
        seen: dict[str, torch.Tensor] = {}

        def watch(operation: str, y: torch.Tensor) -> torch.Tensor:
            if operation in ("q", "k"):
                seen[operation] = y
            if operation == "q_rotated" or (keys and operation == "k_rotated"):
                heads = seen[operation[0]].unflatten(-1, (-1, hyper.head_dim))
                return rotate(heads, rotations).flatten(2)
            return y

        return watch

    return make


def _complex(heads: torch.Tensor) -> torch.Tensor:
    return torch.view_as_complex(heads.unflatten(-1, (-1, 2)).contiguous())


def _halves(heads: torch.Tensor, rotations: torch.Tensor) -> torch.Tensor:
    low, high = heads.chunk(2, dim=-1)
    rotated = torch.complex(low.contiguous(), high.contiguous()) * rotations[:-1].unsqueeze(1)
    return torch.cat((rotated.real, rotated.imag), dim=-1)


def _backwards(heads: torch.Tensor, rotations: torch.Tensor) -> torch.Tensor:
    return torch.view_as_real(_complex(heads) * rotations[:-1].conj().unsqueeze(1)).flatten(-2)


def _not_at_all(heads: torch.Tensor, _rotations: torch.Tensor) -> torch.Tensor:
    return heads


def _one_further(heads: torch.Tensor, rotations: torch.Tensor) -> torch.Tensor:
    return torch.view_as_real(_complex(heads) * rotations[1:].unsqueeze(1)).flatten(-2)


def _queries_of(order: list[int]) -> MakeWatch:
    """Let head order[s] take slot s of the queries, which are in the order of the kv heads."""
    there = torch.tensor(order)
    back = there.argsort()

    def make(hyper: Hyperparameters, _rotations: torch.Tensor) -> llama.Watch:
        def watch(operation: str, y: torch.Tensor) -> torch.Tensor:
            if operation not in ("q_rotated", "attended"):
                return y
            heads: torch.Tensor = y.unflatten(-1, (-1, hyper.head_dim))
            return heads[:, :, there if operation == "q_rotated" else back].flatten(2)

        return watch

    return make


def _scores_times(factor: float) -> MakeWatch:
    def make(_hyper: Hyperparameters, _rotations: torch.Tensor) -> llama.Watch:
        return lambda operation, y: y * factor if operation == "scores" else y

    return make


def _without_itself(_hyper: Hyperparameters, _rotations: torch.Tensor) -> llama.Watch:
    def watch(operation: str, y: torch.Tensor) -> torch.Tensor:
        if operation != "scores":
            return y
        own = torch.eye(y.shape[-1], dtype=torch.bool)
        # the first position can attend to nothing else
        own[0, 0] = False
        return y.masked_fill(own, -torch.inf)

    return watch


# ---- other weights ----


def _of_weights(hyper: Hyperparameters, load: Load) -> Iterator[MistakenReference]:
    swapped = {"feed_forward.w1.": "feed_forward.w3.", "feed_forward.w3.": "feed_forward.w1."}

    def exchanged(name: str) -> torch.Tensor:
        for mine, other in swapped.items():
            if mine in name:
                return load(name.replace(mine, other))
        return load(name)

    yield MistakenReference(m.GATE_UP_SWAPPED, m.GATE_UP_SWAPPED.of_engine(), hyper, exchanged)

    def without_norms(name: str) -> torch.Tensor:
        return torch.ones_like(load(name)) if name.endswith("norm.weight") else load(name)

    yield MistakenReference(m.NORM_WEIGHTS, m.NORM_WEIGHTS.of_engine(), hyper, without_norms)


def _of_omitted_inputs(hyper: Hyperparameters, load: Load, group_size: int) -> Iterator[MistakenReference]:
    # a tied classifier omits inputs like any other matrix, but embeddings are looked up whole
    untied = replace(hyper, tied=False)
    widths = (hyper.dim, hyper.hidden_dim, hyper.n_heads * hyper.head_dim)

    def omitting(mistake: Mistake, sentence: str, until: Callable[[int], int]) -> MistakenReference:
        return MistakenReference(mistake, sentence, untied, _cut(load, llama.classifier(hyper), until))

    if group_size:
        sentence = m.LAST_GROUP.of_engine(count=group_size)
        yield omitting(m.LAST_GROUP, sentence, partial(_fewer, group_size))
    for lanes in _LANES:
        if any(columns % lanes for columns in widths):
            sentence = m.LAST_INPUTS_DROPPED.of_engine(which=f"the inputs after the last multiple of {lanes}")
            yield omitting(m.LAST_INPUTS_DROPPED, sentence, partial(_whole, lanes))
    for count in map(int, m.LAST_INPUTS_DROPPED.numbers):
        if count < min(widths):
            sentence = m.LAST_INPUTS_DROPPED.of_engine(which=m.last_inputs(count))
            yield omitting(m.LAST_INPUTS_DROPPED, sentence, partial(_fewer, count))


def _whole(lanes: int, columns: int) -> int:
    return columns // lanes * lanes


def _fewer(dropped: int, columns: int) -> int:
    return columns - dropped


def _cut(load: Load, classifier: str, until: Callable[[int], int]) -> Load:
    """Load matrices whose columns from until(columns) on are zero."""

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
