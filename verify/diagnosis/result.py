"""A diagnosis, and how tensors are named in its sentence."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_LAYER = re.compile(r"layers\.(\d+)\.(.+)")
# Beyond this many kinds of tensors a sentence counts them instead.
_KINDS_NAMED = 3


@dataclass(frozen=True)
class Diagnosis:
    """signature: short and stable, for programs. sentence: for people. tensors: those that it is about.

    explained: the share of the differing tensors whose every bit the mistake gives; 0 where no known mistake
    gives any, and the sentence tells what was measured instead.
    """

    signature: str
    sentence: str
    tensors: tuple[str, ...]
    explained: float


def layer_and_kind(name: str) -> tuple[int | None, str]:
    """("layers.3.ffn_norm.weight") -> (3, "ffn_norm.weight"); (None, name) outside the layers."""
    match = _LAYER.fullmatch(name)
    return (int(match[1]), match[2]) if match else (None, name)


def diagnosis(signature: str, what: str, about: Sequence[str], explained: Sequence[str], of: int) -> Diagnosis:
    """The sentence "<tensors> hold <what>", and how many of the differing tensors it leaves unexplained.

    about: the tensors to name; explained: those that the mistake gives every bit of; of: how many differ.
    """
    sentence = f"{subject(about)} {'holds' if len(about) == 1 else 'hold'} {what}"
    rest = of - len(explained)
    if explained and rest:
        sentence += f"; this leaves {rest} of {of} differing tensors unexplained"
    return Diagnosis(signature, sentence, tuple(about), len(explained) / of)


def subject(names: Iterable[str]) -> str:
    """Names by kind: "layers.1.ffn_norm.weight", "layers.*.attention.wk.weight (30 tensors)"."""
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
