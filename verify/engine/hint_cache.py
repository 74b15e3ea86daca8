"""List mistakes with the places of a KV cache: layers or positions share some, or they are read too early."""

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
_WHAT = ((_CACHED, "keys and values"), (_CACHED[:1], "keys"), (_CACHED[1:], "values"))
# (layer, position) -> the place in the cache
Place = Callable[[int, int], tuple[int, int]]


def of_unwritten(hyper: Hyperparameters, load: Load) -> Iterator[MistakenReference]:
    """Yield caches that are read before the newest position is written, whose place still holds zeros."""
    for names, what in _WHAT:
        sentence = m.STALE_CACHE.of_engine(what=f"reads {what} from its cache before it writes those of the position")
        yield MistakenReference(m.STALE_CACHE, sentence, hyper, load, run=rewired(_unwritten(names)))


def of_wrapped(hyper: Hyperparameters, load: Load, first: int) -> Iterator[MistakenReference]:
    """Yield a cache with too few places. first: the first position with wrong logits, so many places it has."""
    if first < 1:
        return
    sentence = m.STALE_CACHE.of_engine(
        what=f"keeps position p at place p % {first} of its cache, where it overwrites an earlier one, and reads the "
        "place for both"
    )
    yield MistakenReference(m.STALE_CACHE, sentence, hyper, load, run=rewired(_wrapped(first)))


def of_shared_caches(hyper: Hyperparameters, load: Load, first: int = 0) -> Iterator[MistakenReference]:
    """Yield the mistakes that show in this model. first: the first position with wrong logits."""
    kinds = {hyper.layer(number) for number in range(hyper.n_layers)}
    plain = hyper.layer(0).rope != "none" and not hyper.layer(0).windowed
    if len(kinds) > 1 or not plain or hyper.score_cap or hyper.query_scale_beta:
        return
    if hyper.n_layers > 1:
        for names, what in _WHAT:
            sentence = m.SHARED_CACHE.of_engine(what=f"attends in every layer to the {what} of layer 0")
            yield MistakenReference(m.SHARED_CACHE, sentence, hyper, load, run=rewired(_of_first_layer(*names)))
    if sum(rows * columns[0] for rows, *columns in hyper.shapes().values() if columns) <= _MOST_WEIGHTS:
        for found, place in _places(hyper, first).items():
            for names, what in _WHAT:
                sentence = m.SHARED_CACHE.of_engine(what=found.format(what=what))
                one_by_one = _one_by_one(names, place)
                yield MistakenReference(m.SHARED_CACHE, sentence, hyper, load, one_by_one=one_by_one)


def _places(hyper: Hyperparameters, first: int) -> dict[str, Place]:
    """Return where in the cache a program may put the position of a layer."""
    found: dict[str, Place] = {}
    if hyper.n_layers > 1:
        found["has one cache of {what} for all layers, so that earlier positions are those of the last layer"] = (
            lambda _layer, position: (0, position)
        )
        found["has {what} of each layer begin one position later in its cache than those of the layer before"] = (
            lambda layer, position: (0, layer + position)
        )
    if hyper.n_layers > 2:
        found["has one cache of {what} for each two layers"] = lambda layer, position: (layer // 2, position)
    stride = hyper.max_seq_len // hyper.n_kv_heads
    # before that, nothing overlaps
    if hyper.n_kv_heads > 1 and hyper.n_layers > 1 and first == stride:
        found[f"has {{what}} of each layer begin {stride} positions after those of the layer before"] = (
            lambda layer, position: (0, layer * stride + position)
        )
    return found


def _wrapped(places: int) -> Rewire:
    """Let each place count as often as it is read, and the positions that it has lost not at all."""

    def change(operation: str, y: torch.Tensor, _seen: LayerSoFar) -> torch.Tensor:
        if operation != "scores":
            return y
        positions = torch.arange(y.shape[-1])
        often = (positions // places + 1).to(y.dtype).log()
        lost = positions.unsqueeze(1) - positions >= places
        return (y + often).masked_fill(lost, -torch.inf)

    return change


def _unwritten(names: tuple[str, ...]) -> Rewire:
    def change(operation: str, y: torch.Tensor, _seen: LayerSoFar) -> torch.Tensor:
        # a key of zeros has a score of 0, and a value of zeros counts as one without a share
        zero = (operation == "scores" and "k_rotated" in names) or (operation == "shares" and "v" in names)
        return y.masked_fill(torch.eye(y.shape[-1], dtype=torch.bool), 0.0) if zero else y

    return change


def _one_by_one(wrong: tuple[str, ...], place: Place) -> Callable[[], RunLayer]:
    return lambda: rewired(_One(wrong, place))


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
    """Runs one position after the other with a cache, in which some of the layers' places are the same.

    wrong: what of it has wrong places, of keys and values.
    """

    def __init__(self, wrong: tuple[str, ...], place: Place) -> None:
        self._wrong, self._place = wrong, place
        self._cached: dict[tuple[str, int, int], torch.Tensor] = {}
        self._positions = 0

    def __call__(self, operation: str, y: torch.Tensor, seen: LayerSoFar) -> torch.Tensor:
        """Replace what attention mixes by a mix of the cache."""
        if operation == "k_rotated" and seen.number == 0:
            self._positions += 1
        if operation in _CACHED:
            self._cached[self._at(operation, seen.number, self._count(operation, seen) - 1)] = y[0, 0]
        return self._mixed(seen) if operation == "attended" else y

    def _count(self, operation: str, seen: LayerSoFar) -> int:
        """Return how many positions there are; values of the first layer come before its keys are rotated."""
        return self._positions + (operation == "v" and seen.number == 0)

    def _at(self, name: str, layer: int, position: int) -> tuple[str, int, int]:
        return (name, *(self._place(layer, position) if name in self._wrong else (layer, position)))

    def _mixed(self, seen: LayerSoFar) -> torch.Tensor:
        size, keys_and_values = seen.hyper.head_dim, []
        for name in _CACHED:
            places = [self._at(name, seen.number, position) for position in range(self._positions)]
            unwritten = torch.zeros_like(seen.made[name][0, 0])
            held = torch.stack([self._cached.get(place, unwritten) for place in places])
            keys_and_values.append(held.unflatten(-1, (-1, size)))
        keys, values = keys_and_values
        queries = seen.made["q_rotated"][0, 0].view(seen.hyper.n_kv_heads, -1, size)
        scores = torch.einsum("kqs,pks->kqp", queries, keys) * (seen.hyper.score_scale or size**-0.5)
        mixed = torch.einsum("kqp,pks->kqs", torch.softmax(scores, dim=-1), values)
        return mixed.reshape(1, 1, -1)
