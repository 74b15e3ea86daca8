"""Name the rows of a model's tensors that, as zeros, keep a part of the model from adding anything."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from verify.engine.altered_copy import Zeros
from verify.sources import Hyperparameters

Layers = Collection[int]


class FileParts:
    """The parts of one model."""

    def __init__(self, hyper: Hyperparameters) -> None:
        self._hyper = hyper
        self._rows = {name: shape[0] for name, shape in hyper.shapes().items()}

    def attention(self, layers: Layers) -> Zeros:
        """What attention adds to the stream in these layers."""
        return self._of(layers, ("attention.wo.weight", "attention.wo.bias"))

    def feed_forward(self, layers: Layers) -> Zeros:
        """What the feed forward, or every expert, adds to the stream in these layers."""
        dense = self._of(layers, ("feed_forward.w2.weight", "feed_forward.w2.bias"))
        return {**dense, **self.experts_but(-1, layers)}

    def experts_but(self, expert: int, layers: Layers) -> Zeros:
        """What all experts but one add to the stream in these layers."""
        others = [other for other in range(self._hyper.n_experts) if other != expert]
        return self._of(layers, [f"feed_forward.experts.{other}.w2.weight" for other in others])

    def inner(self, layers: Layers) -> Zeros:
        """What the last matrices of attention and feed forward read: values, and w3 with that of every expert."""
        experts = [f"feed_forward.experts.{expert}.w3.weight" for expert in range(self._hyper.n_experts)]
        biased = ("attention.wv", "feed_forward.w3")
        return self._of(layers, [*(name + end for name in biased for end in (".weight", ".bias")), *experts])

    def queries(self, layers: Layers) -> Zeros:
        """The queries: every score is 0, and attention takes the mean of the values."""
        return self._queries(layers, lambda _row: True)

    def biases_of_scores(self, layers: Layers) -> Zeros:
        """The biases of queries and keys; empty if the model has none."""
        return self._of(layers, ("attention.wq.bias", "attention.wk.bias"))

    def pairs_but(self, pair: int, layers: Layers) -> Zeros:
        """All elements of each query but the two of one pair that RoPE turns together."""
        return self._queries(layers, lambda row: row % self._hyper.head_dim // 2 != pair)

    def query_heads_but(self, head: int, layers: Layers) -> Zeros:
        """All heads of the queries but one."""
        return self._queries(layers, lambda row: row // self._hyper.head_dim != head)

    def value_heads_but(self, head: int, layers: Layers) -> Zeros:
        """All kv heads of the values but one."""
        names = ("attention.wv.weight", "attention.wv.bias")
        return self._of(layers, names, lambda row: row // self._hyper.head_dim != head)

    def hidden_but(self, kept: range, layers: Layers) -> Zeros:
        """All elements that a feed forward has between its matrices but these, by zeros in w3."""
        names = ("feed_forward.w3.weight", "feed_forward.w3.bias")
        return self._of(layers, names, lambda row: row not in kept)

    def _queries(self, layers: Layers, zero: Callable[[int], bool]) -> Zeros:
        return self._of(layers, ("attention.wq.weight", "attention.wq.bias"), zero)

    def _of(
        self, layers: Layers, names: Iterable[str], zero: Callable[[int], bool] = lambda _row: True
    ) -> dict[str, list[int]]:
        """Return the rows for which zero() is true, of those tensors that the model has."""
        held = [f"layers.{layer}.{name}" for layer in layers for name in names]
        return {name: [row for row in range(self._rows[name]) if zero(row)] for name in held if name in self._rows}
