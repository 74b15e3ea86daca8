"""Find tensors that hold another tensor's values, and those changed: scaled, rounded, transposed.

Each tensor of the source that the file's numbers resemble is put in the place of the right one; then every known
mistake is tried on it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch

from verify.diagnosis import read_off_mistakes as r
from verify.diagnosis.bit_comparison import BitComparison
from verify.diagnosis.found_numbers import numbers_from
from verify.diagnosis.result import Diagnosis, diagnosis_of_tensors, layer_and_kind
from verify.diagnosis.tensor_mistakes import TensorMistake

# (comparison, tensors to try it on) -> the first mistake that explains one of them
FirstMistake = Callable[[BitComparison, Sequence[str]], TensorMistake | None]

# Rows that are compared with the same rows of each other tensor.
_ROWS = 64
# Numbers that correlate as much are another tensor's; its own must not.
_ALIKE, _UNLIKE = 0.6, 0.3
# Fewer numbers correlate by chance.
_FEWEST = 512
_TURNED = "the transpose of "


class _Substituted(BitComparison):
    """Compares one tensor of the file with another of the source."""

    def __init__(self, compared: BitComparison, name: str, weights: torch.Tensor) -> None:
        super().__init__(compared.model, compared.source)
        self._name, self._weights = name, weights

    def weights(self, name: str) -> torch.Tensor:
        return self._weights if name == self._name else super().weights(name)


def diagnose_substituted(
    compared: BitComparison, differing: Sequence[str], first_mistake: FirstMistake
) -> Diagnosis | None:
    """Return which other tensors' changed values most of the differing tensors hold; None if none holds any."""
    explained: dict[tuple[str, str, frozenset[str]], list[tuple[str, str]]] = {}
    for name in differing:
        found = _of_tensor(compared, name, first_mistake)
        if found is not None:
            turned, of, what = found
            kinds = frozenset(layer_and_kind(one)[1] for one in (name, of))
            explained.setdefault((turned, what, kinds), []).append((name, of))
    if not explained:
        return None
    best = max(explained, key=lambda key: len(explained[key]))
    names, others = zip(*explained[best], strict=True)
    kinds_of = {layer_and_kind(of)[1] for of in others}
    of = others[0] if len(names) == 1 else kinds_of.pop() if len(kinds_of) == 1 else "one another"
    what = r.CHANGED_VALUES_OF.of_file(of=f"{best[0]}{of}", what=best[1])
    return diagnosis_of_tensors(r.CHANGED_VALUES_OF.name, what, names, names, len(differing))


def _of_tensor(compared: BitComparison, name: str, first_mistake: FirstMistake) -> tuple[str, str, str] | None:
    """Return ("the transpose of " or nothing, the other tensor, what is changed)."""
    if compared.weights(name).numel() < _FEWEST or compared.weights(name).shape[1] == 1:
        return None
    found, own = numbers_from(compared, name, 0, _ROWS)
    if not torch.isfinite(found).all() or abs(_correlation(found, own)) > _UNLIKE:
        return None
    for turned, of in _others(compared, name):
        weights = compared.weights(of).T if turned else compared.weights(of)
        if abs(_correlation(found, weights[:_ROWS].double())) < _ALIKE:
            continue
        instead = _Substituted(compared, name, weights.contiguous())
        if instead.first_difference(name) is None:
            # as they are, they have a name of their own unless they are turned
            return (turned, of, "") if turned else None
        mistake = first_mistake(instead, [name])
        if mistake is not None:
            what = mistake.sentence(instead, [name]).replace("the source's", "that tensor's")
            return turned, of, f": {what}"
    return None


def _others(compared: BitComparison, name: str) -> Iterator[tuple[str, str]]:
    """Yield ("the transpose of " or nothing, tensor) of the same size, of the same layer first."""
    layer, kind = layer_and_kind(name)
    shape = compared.shapes[name]

    def distance(other: str) -> tuple[bool, bool]:
        of_layer, of_kind = layer_and_kind(other)
        return of_layer != layer, of_kind != kind

    for other in sorted(compared.shapes, key=distance):
        if other != name and compared.shapes[other] == shape:
            yield "", other
        if len(shape) == 2 and compared.shapes[other] == shape[::-1] and other != name:
            yield _TURNED, other


def _correlation(a: torch.Tensor, b: torch.Tensor) -> float:
    a, b = a - a.mean(), b - b.mean()
    sizes = float(a.norm() * b.norm())
    return float((a * b).sum()) / sizes if sizes > 0 else 0.0
