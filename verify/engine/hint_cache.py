"""List mistakes with a KV cache that several layers share."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

from verify.diagnosis import engine_mistakes as m
from verify.engine.hint_reference import Load, MistakenReference, RunLayer
from verify.engine.hint_rewired import LayerSoFar, Rewire, rewired
from verify.sources import Hyperparameters

# Of such a model every weight is read once for each position, which memory must hold: at most 1 GiB as float32.
_MOST_WEIGHTS = 1 << 28
_CACHED = ("k_rotated", "v")


def of_shared_caches(hyper: Hyperparameters, load: Load) -> Iterator[MistakenReference]:
    """Yield the mistakes that show in this model."""
    kinds = {hyper.layer(number) for number in range(hyper.n_layers)}
    plain = hyper.layer(0).rope != "none" and not hyper.layer(0).windowed
    if hyper.n_layers < 2 or len(kinds) > 1 or not plain or hyper.score_cap or hyper.query_scale_beta:
        return
    for names, what in ((("k_rotated", "v"), "keys and values"), (("k_rotated",), "keys"), (("v",), "values")):
        sentence = m.SHARED_CACHE.of_engine(what=f"attends in every layer to the {what} of layer 0")
        yield MistakenReference(m.SHARED_CACHE, sentence, hyper, load, run=rewired(_of_first_layer(*names)))
    if sum(rows * columns[0] for rows, *columns in hyper.shapes().values() if columns) <= _MOST_WEIGHTS:
        for names, what in ((("k_rotated", "v"), "keys and values"), (("k_rotated",), "keys"), (("v",), "values")):
            sentence = m.SHARED_CACHE.of_engine(
                what=f"has one cache of {what} for all layers, so that earlier positions are those of the last layer"
            )
            yield MistakenReference(m.SHARED_CACHE, sentence, hyper, load, one_by_one=_one_by_one(names))


def _one_by_one(shared: tuple[str, ...]) -> Callable[[], RunLayer]:
    return lambda: rewired(_One(shared))


def _of_first_layer(*names: str) -> Rewire:
    first: dict[str, torch.Tensor] = {}

    def change(operation: str, y: torch.Tensor, seen: LayerSoFar) -> torch.Tensor:
        if operation not in names:
            return y
        if seen.number == 0:
            first[operation] = y
        # in one layer alone there is no first one
        return first.get(operation, y)

    return change


class _One:
    """Runs one position after the other with a cache, into which every layer writes at the same place.

    shared: what of it the layers share, of keys and values.
    """

    def __init__(self, shared: tuple[str, ...]) -> None:
        self._shared = shared
        self._cached: dict[tuple[str, int], list[torch.Tensor]] = {}

    def __call__(self, operation: str, y: torch.Tensor, seen: LayerSoFar) -> torch.Tensor:
        """Replace what attention mixes by a mix of the cache."""
        if operation in _CACHED:
            places = self._places(operation, seen.number)
            # a later layer overwrites what the layer before wrote
            if operation in self._shared and seen.number > 0:
                places.pop()
            places.append(y[0, 0])
        return self._mixed(seen) if operation == "attended" else y

    def _places(self, name: str, layer: int) -> list[torch.Tensor]:
        return self._cached.setdefault((name, 0 if name in self._shared else layer), [])

    def _mixed(self, seen: LayerSoFar) -> torch.Tensor:
        size = seen.hyper.head_dim
        keys, values = (torch.stack(self._places(name, seen.number)).unflatten(-1, (-1, size)) for name in _CACHED)
        queries = seen.made["q_rotated"][0, 0].view(seen.hyper.n_kv_heads, -1, size)
        scores = torch.einsum("kqs,pks->kqp", queries, keys) * (seen.hyper.score_scale or size**-0.5)
        mixed = torch.einsum("kqp,pks->kqs", torch.softmax(scores, dim=-1), values)
        return mixed.reshape(1, 1, -1)
