"""Logits of mistaken references, computed once for all engines that are searched on one model and window.

A search tries some two thousand references, nearly always the same ones. What an engine did decides only which of
them is near, so a module that searches for many engines needs their logits once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Iterator
from typing import Any

import pytest
import torch

from verify.engine import hint_general, hint_search
from verify.engine.hint_int8 import Int8Rounding
from verify.engine.hint_reference import MistakenReference, layer_of, logits_of
from verify.oracle import llama

# What lists references from the model, the window and where it goes wrong, and from nothing of the engine.
_LISTS = ("mistaken_references", "general_references", "mistaken_roundings", "of_sums")

Made = Iterator[MistakenReference]


class Remembered:
    """Takes the places of the search's lists and of logits_of. A reference is known by its number in its list."""

    def __init__(self) -> None:
        self._computed: dict[Hashable, torch.Tensor] = {}
        self._now: tuple[MistakenReference, Hashable] | None = None

    def install(self, patch: pytest.MonkeyPatch) -> None:
        for name in _LISTS:
            patch.setattr(hint_search, name, self._numbered(name, getattr(hint_search, name)))
        patch.setattr(hint_search, "logits_of", self.logits_of)
        patch.setattr(hint_general, "layer_of", self.layer_of)

    def _numbered(self, name: str, listed: Callable[..., Made]) -> Callable[..., Made]:
        def numbered(*arguments: Any) -> Made:
            given = tuple(map(_plain, arguments))
            for number, reference in enumerate(listed(*arguments)):
                self._now = reference, (name, given, number)
                yield reference

        return numbered

    def logits_of(
        self,
        reference: MistakenReference,
        tokens: torch.Tensor,
        dtype: torch.dtype = torch.float64,
        inputs: llama.Inputs = llama.unrounded,
    ) -> torch.Tensor:
        # of another list: those in one layer, and those whose number is read off the engine's logits
        if self._now is None or self._now[0] is not reference:
            return logits_of(reference, tokens, dtype, inputs)
        sizes = _plain(inputs) if not isinstance(inputs, Int8Rounding) else _sizes(reference, inputs)
        key = (self._now[1], _plain(tokens), dtype, sizes)
        return self._kept(key, lambda: logits_of(reference, tokens, dtype, inputs))

    def layer_of(
        self, reference: MistakenReference, number: int, x: torch.Tensor, inputs: llama.Inputs
    ) -> torch.Tensor:
        """Of a reference in one layer, or of the right one in the layers after it. x tells the layers before."""
        if isinstance(inputs, Int8Rounding) or self._now is None:
            return layer_of(reference, number, x, inputs)
        of = self._now[1] if reference.sentence else (reference.hyper, reference.load)
        key = (of, bool(reference.sentence), number, x.shape, hashlib.sha256(x.numpy().tobytes()).digest())
        return self._kept(key, lambda: layer_of(reference, number, x, inputs))

    def _kept(self, key: Hashable, compute: Callable[[], torch.Tensor]) -> torch.Tensor:
        if key not in self._computed:
            self._computed[key] = compute()
        return self._computed[key]


def _plain(argument: Any) -> Hashable:
    """An argument as a key. The weights of a model are known by what loads them, which the key keeps alive."""
    if isinstance(argument, torch.Tensor):
        return tuple(argument.tolist())
    if isinstance(argument, Int8Rounding):
        return "int8"
    return argument


def _sizes(reference: MistakenReference, inputs: Int8Rounding) -> Hashable:
    """Of every matrix, the size of its groups."""
    return tuple(inputs.size_of(name) for name in reference.hyper.shapes())
