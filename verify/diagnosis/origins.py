"""Mistakes that put one tensor's values in another's place: kinds swapped, layers in another order, the wrong
classifier."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from verify.diagnosis.case import Case, bits
from verify.diagnosis.result import Diagnosis, diagnosis, layer_and_kind
from verify.oracle.expected import parts

_ROWS = 256  # derived at a time


@dataclass(frozen=True)
class _Origin:
    """tensor holds the values of `of`, or its scales alone."""

    tensor: str
    of: str
    scales_only: bool

    @property
    def pattern(self) -> tuple[str, ...]:
        """What origins have in common that are one mistake."""
        (layer, kind), (of_layer, of_kind) = layer_and_kind(self.tensor), layer_and_kind(self.of)
        if self.scales_only:
            return ("scales",)
        if kind == of_kind:
            return ("layers",)
        # a bias goes the way of its weight
        modules = sorted(name.rpartition(".")[0] for name in (kind, of_kind))
        return ("kinds", *modules) if layer == of_layer else ("both",)


def diagnose_origins(case: Case, differing: Sequence[str]) -> Diagnosis | None:
    """The one pattern that most of the misplaced tensors follow; None where none of them is another's."""
    patterns: dict[tuple[str, ...], list[_Origin]] = defaultdict(list)
    for origin in _origins(case, differing):
        patterns[origin.pattern].append(origin)
    if not patterns:
        return None
    pattern = max(patterns, key=lambda key: len(patterns[key]))
    found = patterns[pattern]
    signature, what = _SENTENCES[pattern[0]](found, case.hyperparameters.n_layers)
    names = [origin.tensor for origin in found]
    return diagnosis(signature, what, names, names, len(differing))


def _origins(case: Case, differing: Sequence[str]) -> Iterator[_Origin]:
    sizes = {math.prod(case.shapes[name]) for name in differing}
    heads = {name: _head(case, name) for name, shape in case.shapes.items() if math.prod(shape) in sizes}
    for name in differing:
        size = math.prod(case.shapes[name])
        others = [other for other in heads if other != name and math.prod(case.shapes[other]) == size]
        for other in sorted(others, key=lambda other: _distance(name, other)):
            if not _telling(_alike(case, name, heads[other], 0)):
                continue
            alike = _telling(_wholly_alike(case, name, other))
            if alike == {"scale"} and "int8" not in _wholly_alike(case, name, name):
                continue
            if alike:
                yield _Origin(name, other, alike == {"scale"})
                break


def _telling(alike: set[str]) -> set[str]:
    """int8 without its scales says little: a tensor of small whole numbers has another's."""
    return set() if alike == {"int8"} else alike


def _distance(name: str, other: str) -> tuple[bool, bool, int]:
    """Likelier ones first: the same layer, then the same kind, then near layers."""
    (layer, kind), (other_layer, other_kind) = layer_and_kind(name), layer_and_kind(other)
    return layer != other_layer, kind != other_kind, abs((layer or 0) - (other_layer or 0))


def _head(case: Case, name: str) -> torch.Tensor:
    """What to tell a source's tensor by: its first row, or all of a vector. (1, width)."""
    weights = case.weights(name)
    return (weights[:1] if weights.shape[1] > 1 else weights.T).clone()


def _alike(case: Case, name: str, weights: torch.Tensor, at: int) -> set[str]:
    """Parts of the file's tensor that are those of the weights (rows, width) from its element `at` on."""
    how = case.model.storage(name)
    if how.storage == "q8_0" and weights.shape[1] % how.group_size:
        return set()
    alike = set()
    for part, derived in parts(weights, how.storage, how.group_size).items():
        start = at // how.group_size if part == "scale" else at
        here = case.found(name)[part].reshape(-1)[start : start + derived.numel()]
        if (bits(derived).reshape(-1) == here).all():
            alike.add(part)
    return alike


def _wholly_alike(case: Case, name: str, other: str) -> set[str]:
    """Parts of the file's tensor that are those of the source's other one, whole."""
    alike = set(case.found(name))
    weights = case.weights(other)
    for row in range(0, len(weights), _ROWS):
        alike &= _alike(case, name, weights[row : row + _ROWS], row * weights.shape[1])
        if not alike:
            break
    return alike


def _kinds(found: Sequence[_Origin], _: int) -> tuple[str, str]:
    directions = {(layer_and_kind(origin.tensor)[1], layer_and_kind(origin.of)[1]) for origin in found}
    if any((of, kind) in directions for kind, of in directions):
        return "tensors-swapped", "each other's values"
    match min(directions):
        case "output.weight", "tok_embeddings.weight":
            return "classifier-is-embedding", "the embedding's values: the classifier was taken for tied to it"
        case "tok_embeddings.weight", "output.weight":
            return "embedding-is-classifier", "the classifier's values"
        case _, kind:
            return "values-of-another-tensor", f"the values of {kind} of the same layer"


def _layers(found: Sequence[_Origin], n_layers: int) -> tuple[str, str]:
    moved = {(layer_and_kind(origin.tensor)[0] or 0, layer_and_kind(origin.of)[0] or 0) for origin in found}
    order = dict(moved)
    if len(order) == len(moved):
        for signature, what, expected in _orders(order, n_layers):
            if all(expected.get(layer) == of for layer, of in order.items()):
                return signature, what
    first = min(moved)
    return "layers-in-another-order", f"the values of other layers, as layer {first[0]} those of layer {first[1]}"


def _orders(order: Mapping[int, int], n_layers: int) -> Iterator[tuple[str, str, dict[int, int]]]:
    """(signature, what, layer -> the layer whose values it would hold) of orders that are known to happen."""
    numbers = range(n_layers)
    if len(order) == 2:
        a, b = order
        yield "layers-swapped", f"each other's values: layers {min(a, b)} and {max(a, b)} are swapped", {a: b, b: a}
    as_text = dict(enumerate(sorted(numbers, key=str)))
    for by_name in (as_text, {of: layer for layer, of in as_text.items()}):
        yield "layers-in-order-of-text", "the values of layers sorted as text: 1, 10, 11, 2", by_name
    for by in (1, -1):
        shifted = {layer: (layer + by) % n_layers for layer in numbers}
        yield "layers-shifted", f"the values of the layer one {'after' if by > 0 else 'before'}", shifted
    yield "layers-reversed", "the values of layers in reverse order", {n: n_layers - 1 - n for n in numbers}


def _scales(found: Sequence[_Origin], _: int) -> tuple[str, str]:
    what = f"the right int8, but scales of other tensors, as {found[0].tensor} those of {found[0].of}"
    return "scales-of-another-tensor", what


def _both(found: Sequence[_Origin], _: int) -> tuple[str, str]:
    what = f"the values of other tensors, as {found[0].tensor} those of {found[0].of}"
    return "values-of-another-tensor", what


_SENTENCES = {"kinds": _kinds, "layers": _layers, "scales": _scales, "both": _both}
