"""The caches derive what fits once, and what does not fit each time; what they hold has the bits of what they got."""

from __future__ import annotations

from collections import Counter
from functools import partial

import pytest
import torch

from verify.oracle.weight_cache import QuantizedCache, WeightCache


class Loads:
    """Loads tensors of some sizes, and counts how often."""

    def __init__(self, **sizes: int) -> None:
        self.counts: Counter[str] = Counter()
        self._sizes = sizes

    def tensor(self, name: str) -> torch.Tensor:
        self.counts[name] += 1
        return torch.full((self._sizes[name],), float(self._sizes[name]))

    def pair(self, name: str) -> tuple[torch.Tensor, torch.Tensor]:
        self.counts[name] += 1
        return torch.full((self._sizes[name],), 7, dtype=torch.int8), torch.ones(self._sizes[name] // 4)


@pytest.mark.parametrize(
    ("limit", "dtype", "counts"),
    [
        # 10 and 5 numbers of 4 bytes fit into 60 bytes, and not into 59
        (60, "fp32", {"small": 1, "large": 3, "last": 1}),
        (59, "fp32", {"small": 1, "large": 3, "last": 3}),
        (60, "q8_0", {"small": 1, "large": 3, "last": 1}),
        # of 2 bytes they fit into 30, and all into 230
        (30, "bf16", {"small": 1, "large": 3, "last": 1}),
        (29, "fp16", {"small": 1, "large": 3, "last": 3}),
        (230, "fp16", {"small": 1, "large": 1, "last": 1}),
    ],
)
def test_memory_is_bounded_and_what_fits_is_loaded_once(limit: int, dtype: str, counts: dict[str, int]) -> None:
    loads = Loads(small=10, large=100, last=5)
    cache = WeightCache(loads.tensor, limit, lambda _name: dtype)
    for _ in range(3):
        for name, size in {"small": 10, "large": 100, "last": 5}.items():
            tensor = cache(name)
            assert tensor.dtype == torch.float32
            assert tensor.tolist() == [float(size)] * size
    assert loads.counts == counts


@pytest.mark.parametrize("dtype", ["fp16", "bf16"])
def test_what_is_no_half_in_spite_of_its_type_keeps_its_bits(dtype: str) -> None:
    numbers = torch.tensor([1.0, 1 + 2.0**-20, -0.0])
    cache = WeightCache(lambda _name: numbers, 1000, lambda _name: dtype)
    for _ in range(3):
        assert torch.equal(cache("weights").view(torch.int32), numbers.view(torch.int32))


def test_a_negative_zero_stays_negative() -> None:
    cache = WeightCache(lambda _name: torch.tensor([-0.0, 2.0]), 1000, lambda _name: "bf16")
    assert [cache("weights").signbit().tolist() for _ in range(2)] == [[True, False]] * 2


def test_quantized_matrices_are_derived_once_if_both_parts_fit() -> None:
    # 8 int8 and 2 scales are 16 bytes
    loads = Loads(first=8, second=8, third=8)
    cache = QuantizedCache(limit=33)
    for _ in range(3):
        for name in ("first", "second", "third"):
            q, scale = cache(name, partial(loads.pair, name))
            assert (q.tolist(), scale.tolist()) == ([7] * 8, [1.0, 1.0])
    assert loads.counts == {"first": 1, "second": 1, "third": 3}
    # each of them takes its own part of the room, to the last byte
    loads = Loads(first=8, second=8)
    cache = QuantizedCache(limit=32)
    for name in ("first", "second", "second", "first"):
        cache(name, partial(loads.pair, name))
    assert loads.counts == {"first": 1, "second": 1}
