"""Compute the reference with one known mistake in it: other hyperparameters, weights, or results of operations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

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
    chunk of so many. before: a token in front of all others, which has no logits.
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
    hyper, load, exact = reference.hyper, reference.load, Noise()
    inputs = reference.inputs or inputs
    if reference.before is not None:
        tokens = torch.cat((torch.tensor([reference.before]), tokens))
    # one more than the tokens, for mistakes that rotate by the next position
    rotations = rope.rotations(hyper, len(tokens) + 1, dtype, exact)
    within = {kind: rotation[:-1] for kind, rotation in rotations.items()}
    x = llama.embed(hyper, load, tokens.unsqueeze(0), dtype, exact) * reference.embedding
    if reference.one_by_one:
        x = _one_by_one(reference, x, within, inputs)
    else:
        x = _layers(reference, x, rotations, within, inputs)
    if reference.computed_norm is not None:
        x = reference.computed_norm(x, load("norm.weight").to(dtype))
    elif reference.normed:
        x = llama.final_norm(hyper, load, x, exact)
    change = reference.last_norm or reference.norm
    if change is not None:
        x = change(x, load("norm.weight").to(dtype))
    classifier = llama.classifier(hyper)
    made = llama.finished(hyper, inputs(x, classifier)[0] @ load(classifier).to(dtype).T, exact)
    return made if reference.before is None else made[1:]


def _layers(
    reference: MistakenReference, x: torch.Tensor, rotations: Rotations, within: Rotations, inputs: llama.Inputs
) -> torch.Tensor:
    hyper, load = reference.hyper, reference.load
    for number in range(hyper.n_layers) if reference.order is None else reference.order:
        rotation = rotations.get(hyper.layer(number).rope)
        watch = reference.watch(hyper, rotation) if reference.watch else llama.unwatched
        if reference.norm is not None:
            watch = _changing_norms(reference.norm, load, number)
        if reference.computed_norm is not None:
            watch = _computing_norms(reference.computed_norm, load, number, x)
        x = reference.run(hyper, load, number, x, within, Noise(), watch, inputs)
    return x


def _one_by_one(
    reference: MistakenReference, x: torch.Tensor, within: Rotations, inputs: llama.Inputs
) -> torch.Tensor:
    """Compute each position by itself; what computes the layers remembers the ones before."""
    assert reference.one_by_one is not None
    hyper, load = reference.hyper, reference.load
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
