"""Cache the weights of a source, because the reference loads the same weights for every pass."""

from __future__ import annotations

from collections.abc import Callable

import torch

from verify.system.pulse import READ, pulse


class WeightCache:
    """Calls load(name) once for each tensor until the cache holds limit bytes, and each time for tensors beyond that.

    Memory is therefore bounded for any model. The tensors are shared: do not change them.
    """

    def __init__(self, load: Callable[[str], torch.Tensor], limit: int) -> None:
        self._load, self._room = load, limit
        self._held: dict[str, torch.Tensor] = {}

    def holds(self, name: str) -> bool:
        """Return whether the cache holds the tensor."""
        return name in self._held

    def __call__(self, name: str) -> torch.Tensor:
        if name in self._held:
            return self._held[name]
        tensor = self._load(name)
        pulse(READ * tensor.numel())
        size = tensor.numel() * tensor.element_size()
        if size <= self._room:
            self._room -= size
            self._held[name] = tensor
        return tensor
