"""Compute the reference with one known mistake in it: other hyperparameters, weights, or results of operations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import torch

from verify.diagnosis.mistakes import Mistake
from verify.oracle import llama, rope
from verify.oracle.rounding_noise import Noise
from verify.sources import Hyperparameters

Load = llama.Load
# by RoPE, as rope.rotations() returns them
Rotations = dict[str, torch.Tensor]
# (the result of a norm, the weights of that norm) -> what an engine has in its place
ChangeNorm = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
# (the input of a norm, the weights of that norm) -> its result
Norm = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
# (hyperparameters, the layer's rotation if it has one) -> a watch over one layer, which sees the result of each
# operation and may change it
MakeWatch = Callable[[Hyperparameters, torch.Tensor | None], llama.Watch]
# as llama.layer
RunLayer = Callable[
    [Hyperparameters, Load, int, torch.Tensor, Rotations, Noise, llama.Watch, llama.Inputs], torch.Tensor
]


@dataclass(frozen=True)
class MistakenReference:
    """Describes the reference with one mistake in it.

    sentence: what an engine with the mistake does. hyper, load: what the reference computes with. watch: changes the
    results of its operations. order: of the layers, if it is not the right one. embedding: by what the embeddings are
    multiplied. norm: changes the result of every norm; last_norm: of the last one alone. normed: whether there is a
    last one. computed_norm: computes every norm, where norms stand only before the blocks. run: computes each layer,
    if not llama.layer. one_by_one: makes what computes each layer if positions must be computed one after the other.
    whole: earlier positions depend on later ones, so that no part of a window tells. inputs: what the products read,
    if not what they should. coarse: the mistake rounds, so
    that its own roundings differ between float32 and float64. chunk: positions depend on the later ones of their
    chunk of so many. before: a token in front of all others, which has no logits. tokens: what the engine reads
    instead of the window's tokens. only: the one layer with the mistake; right: hyperparameters and weights of the
    others. classify: computes the product with the classifier, whose name it gets. shared: it is in what all layers
    share, such as a table, so that it is never in one layer alone.
    """

    mistake: Mistake
    sentence: str
    hyper: Hyperparameters
    load: Load
    watch: MakeWatch | None = None
    order: tuple[int, ...] | None = None
    embedding: float = 1.0
    norm: ChangeNorm | None = None
    last_norm: ChangeNorm | None = None
    normed: bool = True
    computed_norm: Norm | None = None
    run: RunLayer = llama.layer
    one_by_one: Callable[[], RunLayer] | None = None
    whole: bool = False
    inputs: llama.Inputs | None = None
    coarse: bool = False
    chunk: int = 1
    before: int | None = None
    tokens: Callable[[torch.Tensor], torch.Tensor] | None = None
    only: int | None = None
    right: tuple[Hyperparameters, Load] | None = None
    classify: Callable[[torch.Tensor, str], torch.Tensor] | None = None
    shared: bool = False

    @property
    def around(self) -> MistakenReference:
        """Return the reference of what stands around the layers with the mistake."""
        if self.right is None:
            return self
        hyper, load = self.right
        return MistakenReference(self.mistake, self.sentence, hyper, load)

    def in_layer(self, number: int, hyper: Hyperparameters, load: Load) -> MistakenReference:
        """Return the reference with the mistake in one layer. hyper, load: those of the others."""
        sentence = f"{self.sentence}, in layer {number} alone"
        return replace(self, sentence=sentence, only=number, right=(hyper, load))


@torch.no_grad()
def logits_of(
    reference: MistakenReference,
    tokens: torch.Tensor,
    dtype: torch.dtype = torch.float64,
    inputs: llama.Inputs = llama.unrounded,
) -> torch.Tensor:
    """Compute logits (length, vocab_size) of tokens (length,) in dtype with the mistake.

    inputs: what products read in an engine without a mistake, such as rounded activations.
    """
    if reference.tokens is not None:
        tokens = reference.tokens(tokens)
    if reference.before is not None:
        tokens = torch.cat((torch.tensor([reference.before]), tokens))
    around = reference.around
    x = embedded(around, tokens, dtype)
    if reference.one_by_one:
        x = _one_by_one(reference, x, reference.inputs or inputs)
    else:
        for number in range(around.hyper.n_layers) if reference.order is None else reference.order:
            here = reference if reference.only in (None, number) else around
            x = layer_of(here, number, x, here.inputs or inputs)
    made = head_of(around, x, around.inputs or inputs)[0]
    return made if reference.before is None else made[1:]


def embedded(reference: MistakenReference, tokens: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Return the stream (1, length, dim) before the first layer."""
    x = llama.embed(reference.hyper, reference.load, tokens.unsqueeze(0), dtype, Noise())
    return x * reference.embedding


def layer_of(reference: MistakenReference, number: int, x: torch.Tensor, inputs: llama.Inputs) -> torch.Tensor:
    """Compute the stream after a layer from x (windows, length, dim), the stream before it."""
    hyper, load = reference.hyper, reference.load
    # one more than the positions, for mistakes that rotate by the next one
    rotations = _rotations(hyper, x.shape[1] + 1, x.dtype)
    rotation = rotations.get(hyper.layer(number).rope)
    watch = reference.watch(hyper, rotation) if reference.watch else llama.unwatched
    if reference.norm is not None:
        watch = _changing_norms(reference.norm, load, number)
    if reference.computed_norm is not None:
        watch = _computing_norms(reference.computed_norm, load, number, x)
    return reference.run(hyper, load, number, x, _within(rotations), Noise(), watch, inputs)


def head_of(reference: MistakenReference, x: torch.Tensor, inputs: llama.Inputs) -> torch.Tensor:
    """Compute the logits from x (windows, length, dim), the stream after the last layer."""
    hyper, load, dtype = reference.hyper, reference.load, x.dtype
    if reference.computed_norm is not None:
        x = reference.computed_norm(x, load("norm.weight").to(dtype))
    elif reference.normed:
        x = llama.final_norm(hyper, load, x, Noise())
    change = reference.last_norm or reference.norm
    if change is not None:
        x = change(x, load("norm.weight").to(dtype))
    classifier = llama.classifier(hyper)
    if reference.classify is not None:
        return llama.finished(hyper, reference.classify(x, classifier), Noise())
    return llama.finished(hyper, inputs(x, classifier) @ load(classifier).to(dtype).T, Noise())


@lru_cache(maxsize=4)
def _rotations(hyper: Hyperparameters, length: int, dtype: torch.dtype) -> Rotations:
    """Compute rotations once for all layers."""
    return rope.rotations(hyper, length, dtype, Noise())


def _within(rotations: Rotations) -> Rotations:
    return {kind: rotation[:-1] for kind, rotation in rotations.items()}


def _one_by_one(reference: MistakenReference, x: torch.Tensor, inputs: llama.Inputs) -> torch.Tensor:
    """Compute each position by itself; what computes the layers remembers the ones before."""
    assert reference.one_by_one is not None
    hyper, load = reference.hyper, reference.load
    within = _within(_rotations(hyper, x.shape[1] + 1, x.dtype))
    run, streams = reference.one_by_one(), []
    for position in range(x.shape[1]):
        here = slice(position, position + 1)
        stream, rotations = x[:, here], {kind: rotation[here] for kind, rotation in within.items()}
        for number in range(hyper.n_layers):
            stream = run(hyper, load, number, stream, rotations, Noise(), llama.unwatched, inputs)
        streams.append(stream)
    return torch.cat(streams, dim=1)


def _changing_norms(change: ChangeNorm, load: Load, layer: int) -> llama.Watch:
    def watch(operation: str, y: torch.Tensor) -> torch.Tensor:
        is_norm = operation in ("attention_norm", "ffn_norm", "attention_post_norm", "ffn_post_norm")
        return change(y, load(f"layers.{layer}.{operation}.weight").to(y.dtype)) if is_norm else y

    return watch


def _computing_norms(norm: Norm, load: Load, layer: int, x: torch.Tensor) -> llama.Watch:
    stream = x

    def watch(operation: str, y: torch.Tensor) -> torch.Tensor:
        nonlocal stream
        if operation == "attention_residual":
            stream = y
        is_norm = operation in ("attention_norm", "ffn_norm")
        return norm(stream, load(f"layers.{layer}.{operation}.weight").to(y.dtype)) if is_norm else y

    return watch
