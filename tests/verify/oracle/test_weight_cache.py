"""The cache loads what fits once, and what does not fit each time."""

from __future__ import annotations

from collections import Counter

import torch

from verify.oracle.weight_cache import WeightCache


def test_memory_is_bounded_and_what_fits_is_loaded_once() -> None:
    loads: Counter[str] = Counter()
    sizes = {"small": 10, "large": 100, "last": 5}

    def load(name: str) -> torch.Tensor:
        loads[name] += 1
        return torch.full((sizes[name],), float(sizes[name]))

    cache = WeightCache(load, limit=60)
    for _ in range(3):
        for name, size in sizes.items():
            assert cache(name).tolist() == [float(size)] * size
    assert loads == {"small": 1, "large": 3, "last": 1}
    assert [cache.holds(name) for name in sizes] == [True, False, True]
