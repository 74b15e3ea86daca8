"""List mistakes that take one tensor for another of its shape: another norm's weights, another layer's matrices."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import torch

from verify.diagnosis import engine_mistakes as m
from verify.diagnosis.mistakes import TRANSPOSED
from verify.engine.hint_reference import Load, MistakenReference
from verify.sources import Hyperparameters

_ATTENTION_NORM, _FFN_NORM = "attention_norm.weight", "ffn_norm.weight"
_WQ, _WK, _WV, _WO = (f"attention.w{letter}.weight" for letter in "qkvo")
Rename = Callable[[str], str]


def of_renamed(hyper: Hyperparameters, load: Load) -> Iterator[MistakenReference]:
    """Yield the mistakes that show in this model."""
    shapes = hyper.shapes()

    def made(found: str, expected: str, rename: Rename) -> MistakenReference:
        mistake = m.OTHER_LAYER if "own" in expected else m.OTHER_TENSOR
        sentence = mistake.of_engine(found=found, expected=expected)
        # a tied classifier keeps its own name
        return MistakenReference(mistake, sentence, hyper, lambda name: load(rename(name)))

    for name in dict.fromkeys(_norms(hyper)):
        if name in shapes:
            yield made(name, "norm.weight", _one("norm.weight", name))
    for exchanges, found in (
        ({_ATTENTION_NORM: _FFN_NORM, _FFN_NORM: _ATTENTION_NORM}, "ffn_norm and attention_norm"),
        ({_FFN_NORM: _ATTENTION_NORM}, "attention_norm"),
        ({_ATTENTION_NORM: _FFN_NORM}, "ffn_norm"),
        ({_WK: _WV, _WV: _WK}, "wv and wk"),
        ({_WQ: _WO, _WO: _WQ}, "wo and wq"),
    ):
        if all(shapes.get(f"layers.0.{a}") == shapes.get(f"layers.0.{b}") is not None for a, b in exchanges.items()):
            expected = " and ".join(name.removeprefix("attention.").removesuffix(".weight") for name in exchanges)
            yield made(f"the weights of {found}", f"those of {expected}", _of_kinds(exchanges))
    yield from _of_first_layer(hyper, load)
    for kind in (_WQ, _WK, _WV, _WO, *(f"feed_forward.w{number}.weight" for number in (1, 2, 3))):
        if f"layers.0.{kind}" in shapes:
            sentence = TRANSPOSED.of_engine(tensor=kind)
            yield MistakenReference(TRANSPOSED, sentence, hyper, _transposed(load, kind))


def _norms(hyper: Hyperparameters) -> Iterator[str]:
    """Yield the norms whose weights a program may still hold, or hold by default, when it applies the last one."""
    for layer in (hyper.n_layers - 1, 0):
        for kind in (_FFN_NORM, _ATTENTION_NORM):
            yield f"layers.{layer}.{kind}"


def _of_first_layer(hyper: Hyperparameters, load: Load) -> Iterator[MistakenReference]:
    """Yield each kind of tensor taken from layer 0 in every layer, as by a pointer that does not move on."""
    if hyper.n_layers < 2:
        return
    kinds = [name.removeprefix("layers.0.") for name in hyper.shapes() if name.startswith("layers.0.")]
    groups = [([kind], f"{kind} of layer 0") for kind in kinds if ".experts." not in kind]
    groups.append(([kind for kind in kinds if kind.endswith("norm.weight")], "every norm of layer 0"))
    if len({hyper.layer(number) for number in range(hyper.n_layers)}) == 1:
        groups.append((kinds, "every tensor of layer 0"))
    for group, found in groups:
        sentence = m.OTHER_LAYER.of_engine(found=found, expected="each layer's own")
        yield MistakenReference(m.OTHER_LAYER, sentence, hyper, _from_first(hyper, load, set(group)))


def _from_first(hyper: Hyperparameters, load: Load, kinds: set[str]) -> Load:
    shapes = hyper.shapes()

    def other(name: str) -> torch.Tensor:
        found = re.fullmatch(r"layers\.\d+\.(.+)", name)
        first = f"layers.0.{found[1]}" if found else ""
        taken = found is not None and found[1] in kinds and shapes.get(first) == shapes.get(name)
        return load(first if taken else name)

    return other


def _one(name: str, other: str) -> Rename:
    return lambda asked: other if asked == name else asked


def _of_kinds(exchanges: dict[str, str]) -> Rename:
    def rename(name: str) -> str:
        kind = name.split(".", 2)[-1]
        return name.removesuffix(kind) + exchanges[kind] if name.startswith("layers.") and kind in exchanges else name

    return rename


def _transposed(load: Load, kind: str) -> Load:
    """Read a kind of matrix as if its memory held the transpose."""

    def turned(name: str) -> torch.Tensor:
        tensor = load(name)
        return tensor.reshape(tensor.shape[::-1]).T if name.endswith(f".{kind}") else tensor

    return turned
