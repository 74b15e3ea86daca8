"""The sizes that decide how much memory a verdict takes."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from verify.sources import Hyperparameters

# Bytes.
FLOAT, DOUBLE = 4, 8


@dataclass(frozen=True)
class Shape:
    """The windows of one length that are in memory together.

    batch: in one pass of the source. traced: traced at a time; 0 if none of this length is. positions: of a traced
    window, those whose storage's cost is attributed.
    """

    length: int
    batch: int
    traced: int
    positions: int


@dataclass(frozen=True)
class Work:
    """The sizes that decide how much memory a verdict takes.

    shapes: of its windows, one for each length. held: bytes of the file's copy. lossy: the file's weights are others
    than the source's. directory: transformers runs what is judged, whole, instead of the C reader. int8_engine: a
    user's engine with int8 activations is judged too.
    """

    hyper: Hyperparameters
    shapes: tuple[Shape, ...]
    held: int
    q8: bool
    huggingface: bool
    lossy: bool
    directory: bool = False
    int8_engine: bool = False


@dataclass(frozen=True)
class Sizes:
    """Elements. largest: of a tensor. layer, largest_in_layer: of the tensors of the largest layer. joined: of the
    gates of all experts of a layer, which transformers holds as one tensor. every: of all tensors. stream: numbers of
    one token that a layer holds. scores: attention scores of all tokens. session: bytes."""

    largest: int
    layer: int
    largest_in_layer: int
    joined: int
    every: int
    stream: int
    scores: int
    session: int

    @classmethod
    def of(cls, hyper: Hyperparameters, tokens: int) -> Sizes:
        sizes = {name: prod(shape) for name, shape in hyper.shapes().items()}
        in_layers: dict[str, list[int]] = {}
        for name, size in sizes.items():
            if name.startswith("layers."):
                in_layers.setdefault(name.split(".")[1], []).append(size)
        q_dim, kv_dim = hyper.n_heads * hyper.head_dim, hyper.n_kv_heads * hyper.head_dim
        # what each chosen expert adds, and logits and shares of a router
        of_experts = hyper.n_active_experts * hyper.dim + 2 * hyper.n_experts
        stream = 4 * hyper.dim + 2 * q_dim + 4 * kv_dim + 3 * hyper.widest_gate + of_experts
        return cls(
            largest=max(sizes.values()),
            layer=max(map(sum, in_layers.values())),
            largest_in_layer=max(map(max, in_layers.values())),
            joined=2 * hyper.n_experts * hyper.expert_hidden_dim * hyper.dim,
            every=sum(sizes.values()),
            stream=stream,
            scores=hyper.n_heads * tokens * tokens,
            # the keys and values of all layers, and the scratch of at most 256 tokens
            session=2 * FLOAT * hyper.n_layers * tokens * kv_dim + FLOAT * min(tokens, 256) * stream,
        )

    @property
    def load(self) -> int:
        """Bytes of a tensor as it is stored, as float32, and as the file has it."""
        return 10 * self.largest
