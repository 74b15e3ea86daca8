"""Define the result of a diagnosis, and name tensors in its sentence."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_LAYER = re.compile(r"layers\.(\d+)\.(.+)")
# A sentence that would name more kinds of tensors than this counts them instead.
_KINDS_NAMED = 3


@dataclass(frozen=True)
class Diagnosis:
    """Names the mistake that a report calls most likely.

    signature: the mistake's name, for programs; report.json calls it so. sentence: for people. tensors: which tensors
    it concerns. explained: the share of the differing tensors whose every bit the mistake gives; 0 if no known
    mistake explains a tensor and the sentence describes what was measured instead.
    """

    signature: str
    sentence: str
    tensors: tuple[str, ...]
    explained: float


def layer_and_kind(name: str) -> tuple[int | None, str]:
    """Split "layers.3.ffn_norm.weight" into (3, "ffn_norm.weight"); other names give (None, name)."""
    match = _LAYER.fullmatch(name)
    return (int(match[1]), match[2]) if match else (None, name)


def diagnosis_of_tensors(
    mistake: str, what: str, about: Sequence[str], explained: Sequence[str], of: int
) -> Diagnosis:
    """Make the sentence "<tensors> hold <what>", with the number of differing tensors that it leaves unexplained.

    about: the tensors to name. explained: those whose every bit the mistake gives. of: how many tensors differ.
    """
    sentence = f"{subject(about)} {'holds' if len(about) == 1 else 'hold'} {what}"
    rest = of - len(explained)
    if explained and rest:
        sentence += f"; this leaves {rest} of {of} differing tensors unexplained"
    return Diagnosis(mistake, sentence, tuple(about), len(explained) / of)


def subject(names: Iterable[str]) -> str:
    """Name tensors by kind: "layers.1.ffn_norm.weight", "layers.*.attention.wk.weight (30 tensors)"."""
    kinds: dict[str, list[int | None]] = {}
    for name in names:
        layer, kind = layer_and_kind(name)
        kinds.setdefault(kind, []).append(layer)
    texts = [_of_kind(kind, layers) for kind, layers in kinds.items()]
    if len(texts) > _KINDS_NAMED:
        count = sum(len(layers) for layers in kinds.values())
        return f"{texts[0]} and {len(texts) - 1} other kinds of tensors ({count} in all)"
    return " and ".join(texts)


def _of_kind(kind: str, layers: Sequence[int | None]) -> str:
    numbers = [layer for layer in layers if layer is not None]
    if not numbers:
        return kind
    if len(numbers) == 1:
        return f"layers.{numbers[0]}.{kind}"
    return f"layers.*.{kind} ({len(numbers)} tensors)"
