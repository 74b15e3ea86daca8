"""Define the result of a diagnosis, and name tensors in its sentence."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from verify.diagnosis.mistakes import Mistake

_LAYER = re.compile(r"layers\.(\d+)\.(.+)")
_MATRICES = frozenset(
    (*(f"attention.w{letter}.weight" for letter in "qkvo"), *(f"feed_forward.w{digit}.weight" for digit in "123"))
)
_NORMS = frozenset(("attention_norm.weight", "ffn_norm.weight"))
# Kinds of one layer that are written with their whole names.
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


def most_shown(shown: Mapping[tuple[Mistake, str], Sequence[str]], count: int) -> Diagnosis | None:
    """Return the mistake, with what is said of it, that most tensors show; None if none shows any.

    count: of all tensors that differ.
    """
    if not shown:
        return None
    mistake, what = max(shown, key=lambda key: len(shown[key]))
    names = shown[mistake, what]
    return diagnosis_of_tensors(mistake.name, what, names, names, count)


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
    """Name all tensors, by kind and layers: "attention.wq.weight and attention.wk.weight of layers 0-29"."""
    kinds: dict[str, list[int]] = {}
    alone: list[str] = []
    for name in names:
        layer, kind = layer_and_kind(name)
        if layer is None:
            alone.append(name)
        else:
            kinds.setdefault(kind, []).append(layer)
    of_layers: dict[tuple[int, ...], list[str]] = {}
    for kind, layers in kinds.items():
        of_layers.setdefault(tuple(sorted(layers)), []).append(kind)
    return listed([*(_of_layers(*item) for item in of_layers.items()), *alone])


def _of_layers(layers: Sequence[int], kinds: Sequence[str]) -> str:
    if len(layers) == 1 and len(kinds) <= _KINDS_NAMED:
        return listed([f"layers.{layers[0]}.{kind}" for kind in kinds])
    word = "layer" if len(layers) == 1 else "layers"
    return f"{_kinds(kinds)} of {word} {ranges(layers)}"


def _kinds(kinds: Sequence[str]) -> str:
    """Name kinds one by one, or "all matrices", "all norms" and "all tensors" where that is all of them."""
    present = set(kinds)
    for label, group in (("all tensors", _MATRICES | _NORMS), ("all matrices", _MATRICES), ("all norms", _NORMS)):
        if group <= present:
            return listed([label, *(kind for kind in kinds if kind not in group)])
    return listed(kinds)


def ranges(numbers: Sequence[int]) -> str:
    """Write ascending numbers as "0-3, 7 and 9-12"."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return listed([str(first) if first == last else f"{first}-{last}" for first, last in runs])


def listed(texts: Sequence[str]) -> str:
    """Join texts as "a, b and c"."""
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} and {texts[-1]}"
