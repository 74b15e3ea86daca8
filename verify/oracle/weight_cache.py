"""Cache the weights of a source, because the reference loads the same weights for every pass.

Memory is bounded for any model: what does not fit is derived again each time. Tensors are shared: do not change them.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from verify.oracle.expected import HALVES
from verify.system.pulse import READ, pulse


class WeightCache:
    """Calls load(name) once for each float32 tensor until the cache holds limit bytes.

    dtype(name) is the type that the source stores, as a file names it. What was widened from a half is held as that
    half, so that twice as many tensors fit.
    """

    def __init__(
        self, load: Callable[[str], torch.Tensor], limit: int, dtype: Callable[[str], str] = lambda _name: "fp32"
    ) -> None:
        self._load, self._room, self._dtype = load, limit, dtype
        self._held: dict[str, torch.Tensor] = {}

    def __call__(self, name: str) -> torch.Tensor:
        held = self._held.get(name)
        if held is not None:
            return held.float()
        tensor = self._load(name)
        pulse(READ * tensor.numel())
        stored = HALVES.get(self._dtype(name), torch.float32)
        size = tensor.numel() * stored.itemsize
        if size <= self._room:
            narrow = tensor.to(stored)
            # a source whose numbers are no halves in spite of its types is read each time
            if torch.equal(narrow.float(), tensor):
                self._room -= size
                self._held[name] = narrow
        return tensor


class QuantizedCache:
    """Keeps quantized matrices, (int8, scale), until it holds limit bytes."""

    def __init__(self, limit: int) -> None:
        self._room = limit
        self._held: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}

    def __call__(
        self, name: str, derive: Callable[[], tuple[torch.Tensor, torch.Tensor]]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the matrix of this name, which derive() quantizes if it is not held."""
        if name in self._held:
            return self._held[name]
        pair = derive()
        size = sum(part.numel() * part.element_size() for part in pair)
        if size <= self._room:
            self._room -= size
            self._held[name] = pair
        return pair
