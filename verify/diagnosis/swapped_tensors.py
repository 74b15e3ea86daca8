"""Find one tensor's values in the place of another: kinds swapped, layers in another order, the wrong classifier."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from verify.diagnosis import mistakes as m
from verify.diagnosis.bit_comparison import BitComparison, bits
from verify.diagnosis.mistakes import Mistake
from verify.diagnosis.result import Diagnosis, diagnosis_of_tensors, layer_and_kind
from verify.oracle.expected import parts

_ROWS = 256  # derived at a time
_EXPERT = re.compile(r"feed_forward\.experts\.(\d+)\.(\w+)\.weight")


@dataclass(frozen=True)
class _Origin:
    """Says that the file's `tensor` holds the values of `of`, or only its scales."""

    tensor: str
    of: str
    scales_only: bool

    @property
    def pattern(self) -> tuple[str, ...]:
        """Return what all origins that one mistake causes have in common."""
        (layer, kind), (of_layer, of_kind) = layer_and_kind(self.tensor), layer_and_kind(self.of)
        if self.scales_only:
            return ("scales",)
        if kind == of_kind:
            return ("layers",)
        expert, of_expert = _EXPERT.fullmatch(kind), _EXPERT.fullmatch(of_kind)
        if expert and of_expert and layer == of_layer:
            if expert[2] == of_expert[2]:
                return ("experts",)
            if expert[1] == of_expert[1]:
                return ("kinds", *sorted((expert[2], of_expert[2])))
        # a bias is swapped together with its weight
        modules = sorted(name.rpartition(".")[0] for name in (kind, of_kind))
        return ("kinds", *modules) if layer == of_layer else ("both",)


def diagnose_swapped(compared: BitComparison, differing: Sequence[str]) -> Diagnosis | None:
    """Return the one pattern that most of the swapped tensors follow; None if no tensor holds another's values."""
    patterns: dict[tuple[str, ...], list[_Origin]] = defaultdict(list)
    for origin in _origins(compared, differing):
        patterns[origin.pattern].append(origin)
    if not patterns:
        return None
    pattern = max(patterns, key=lambda key: len(patterns[key]))
    found = patterns[pattern]
    mistake, what = _SENTENCES[pattern[0]](found, compared.hyper.n_layers)
    names = [origin.tensor for origin in found]
    return diagnosis_of_tensors(mistake.name, what, names, names, len(differing))


def _origins(compared: BitComparison, differing: Sequence[str]) -> Iterator[_Origin]:
    sizes = {math.prod(compared.shapes[name]) for name in differing}
    heads = {name: _head(compared, name) for name, shape in compared.shapes.items() if math.prod(shape) in sizes}
    for name in differing:
        size = math.prod(compared.shapes[name])
        others = [other for other in heads if other != name and math.prod(compared.shapes[other]) == size]
        for other in sorted(others, key=lambda other: _distance(name, other)):
            if not _telling(_alike(compared, name, heads[other], 0)):
                continue
            alike = _telling(_wholly_alike(compared, name, other))
            if alike == {"scale"} and "int8" not in _wholly_alike(compared, name, name):
                continue
            if alike:
                yield _Origin(name, other, alike == {"scale"})
                break


def _telling(alike: set[str]) -> set[str]:
    """Drop int8 without its scales, which says little: tensors of small whole numbers often agree in it."""
    return set() if alike == {"int8"} else alike


def _distance(name: str, other: str) -> tuple[bool, bool, int]:
    """Sort likelier origins first: the same layer, then the same kind, then near layers."""
    (layer, kind), (other_layer, other_kind) = layer_and_kind(name), layer_and_kind(other)
    return layer != other_layer, kind != other_kind, abs((layer or 0) - (other_layer or 0))


def _head(compared: BitComparison, name: str) -> torch.Tensor:
    """Return what distinguishes a source's tensor: its first row, or a whole vector. (1, width)."""
    weights = compared.weights(name)
    return (weights[:1] if weights.shape[1] > 1 else weights.T).clone()


def _alike(compared: BitComparison, name: str, weights: torch.Tensor, at: int) -> set[str]:
    """Return the parts of the file's tensor that, from its element `at` on, are those of the weights (rows,
    width)."""
    how = compared.model.storage(name)
    if how.storage == "q8_0" and weights.shape[1] % how.group_size:
        return set()
    alike = set()
    for part, derived in parts(weights, how.storage, how.group_size).items():
        start = at // how.group_size if part == "scale" else at
        here = compared.found(name)[part].reshape(-1)[start : start + derived.numel()]
        if (bits(derived).reshape(-1) == here).all():
            alike.add(part)
    return alike


def _wholly_alike(compared: BitComparison, name: str, other: str) -> set[str]:
    """Return the parts of the file's tensor that are wholly those of another tensor of the source."""
    alike = set(compared.found(name))
    weights = compared.weights(other)
    for row in range(0, len(weights), _ROWS):
        alike &= _alike(compared, name, weights[row : row + _ROWS], row * weights.shape[1])
        if not alike:
            break
    return alike


def _kinds(found: Sequence[_Origin], _: int) -> tuple[Mistake, str]:
    directions = {(layer_and_kind(origin.tensor)[1], layer_and_kind(origin.of)[1]) for origin in found}
    if any((of, kind) in directions for kind, of in directions):
        return m.TENSORS_SWAPPED, m.TENSORS_SWAPPED.of_file()
    match min(directions):
        case "output.weight", "tok_embeddings.weight":
            return m.CLASSIFIER_IS_EMBEDDING, m.CLASSIFIER_IS_EMBEDDING.of_file()
        case "tok_embeddings.weight", "output.weight":
            return m.EMBEDDING_IS_CLASSIFIER, m.EMBEDDING_IS_CLASSIFIER.of_file()
        case _, kind:
            return m.VALUES_OF_THE_LAYER, m.VALUES_OF_THE_LAYER.of_file(kind=kind)


def _layers(found: Sequence[_Origin], n_layers: int) -> tuple[Mistake, str]:
    moved = {(layer_and_kind(origin.tensor)[0] or 0, layer_and_kind(origin.of)[0] or 0) for origin in found}
    order = dict(moved)
    if len(order) == len(moved):
        for mistake, what, expected in _orders(order, n_layers):
            if all(expected.get(layer) == of for layer, of in order.items()):
                return mistake, what
    layer, of = min(moved)
    return m.LAYERS_IN_ANOTHER_ORDER, m.LAYERS_IN_ANOTHER_ORDER.of_file(layer=layer, of=of)


def _orders(order: Mapping[int, int], n_layers: int) -> Iterator[tuple[Mistake, str, dict[int, int]]]:
    """Yield (mistake, sentence, layer -> the layer whose values it would hold) for each known order."""
    numbers = range(n_layers)
    if len(order) == 2:
        a, b = sorted(order)
        yield m.LAYERS_SWAPPED, m.LAYERS_SWAPPED.of_file(first=a, second=b), {a: b, b: a}
    as_text = dict(enumerate(sorted(numbers, key=str)))
    for by_name in (as_text, {of: layer for layer, of in as_text.items()}):
        yield m.LAYERS_IN_ORDER_OF_TEXT, m.LAYERS_IN_ORDER_OF_TEXT.of_file(), by_name
    for by, side in ((1, "after"), (-1, "before")):
        shifted = {layer: (layer + by) % n_layers for layer in numbers}
        yield m.LAYERS_SHIFTED, m.LAYERS_SHIFTED.of_file(side=side), shifted
    yield m.LAYERS_REVERSED, m.LAYERS_REVERSED.of_file(), {n: n_layers - 1 - n for n in numbers}


def _scales(found: Sequence[_Origin], _: int) -> tuple[Mistake, str]:
    return m.SCALES_OF_OTHERS, m.SCALES_OF_OTHERS.of_file(tensor=found[0].tensor, of=found[0].of)


def _both(found: Sequence[_Origin], _: int) -> tuple[Mistake, str]:
    return m.VALUES_OF_OTHERS, m.VALUES_OF_OTHERS.of_file(tensor=found[0].tensor, of=found[0].of)


def _experts(found: Sequence[_Origin], _: int) -> tuple[Mistake, str]:
    numbers = [
        tuple(name.split(".experts.")[1].split(".")[0] for name in (origin.tensor, origin.of)) for origin in found
    ]
    expert, of = min(numbers)
    return m.EXPERTS_IN_ANOTHER_ORDER, m.EXPERTS_IN_ANOTHER_ORDER.of_file(expert=expert, of=of)


_SENTENCES = {"kinds": _kinds, "layers": _layers, "scales": _scales, "both": _both, "experts": _experts}
