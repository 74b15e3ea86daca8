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
# (hyperparameters, the layer's rotation if it has one) -> a watch over one layer, which sees the result of each
# operation and may change it
MakeWatch = Callable[[Hyperparameters, torch.Tensor | None], llama.Watch]


@dataclass(frozen=True)
class MistakenReference:
    """Describes the reference with one mistake in it.

    sentence: what an engine with the mistake does. hyper, load: what the reference computes with. watch: changes the
    results of its operations. order: of the layers, if it is not the right one. embedding: by what the embeddings are
    multiplied. normed: whether the last norm is applied. coarse: the mistake rounds, so that its own roundings differ
    between float32 and float64.
    """

    mistake: Mistake
    sentence: str
    hyper: Hyperparameters
    load: Load
    watch: MakeWatch | None = None
    order: tuple[int, ...] | None = None
    embedding: float = 1.0
    normed: bool = True
    coarse: bool = False


@torch.no_grad()
def logits_of(reference: MistakenReference, tokens: torch.Tensor, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """Compute logits (length, vocab_size) of tokens (length,) in dtype with the mistake."""
    hyper, load, exact = reference.hyper, reference.load, Noise()
    # one more than the tokens, for mistakes that rotate by the next position
    rotations = rope.rotations(hyper, len(tokens) + 1, dtype, exact)
    within = {kind: rotation[:-1] for kind, rotation in rotations.items()}
    x = llama.embed(hyper, load, tokens.unsqueeze(0), dtype, exact) * reference.embedding
    for number in range(hyper.n_layers) if reference.order is None else reference.order:
        rotation = rotations.get(hyper.layer(number).rope)
        watch = reference.watch(hyper, rotation) if reference.watch else llama.unwatched
        x = llama.layer(hyper, load, number, x, within, exact, watch)
    if reference.normed:
        return llama.head(hyper, load, x, exact)[0]
    return llama.finished(hyper, x[0] @ load(llama.classifier(hyper)).to(dtype).T, exact)
