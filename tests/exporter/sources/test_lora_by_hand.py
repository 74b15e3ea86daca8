"""What an adapter adds to a matrix, by blocks of rows. Quick, because nothing is read from a disk."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from exporter.sources import lora
from exporter.sources.lora import Adapter

RANDOM = np.random.default_rng(5)
A, B = RANDOM.normal(size=(3, 8)), RANDOM.normal(size=(10, 3))
WEIGHTS = RANDOM.normal(size=(10, 8)).astype(np.float32)


def adapter() -> Adapter:
    files: Any = SimpleNamespace(read={"q.A": A, "q.B": B}.__getitem__)
    return Adapter(parts={"q": ("q.A", "q.B")}, scales={"q": 0.75}, files=files)


def expected() -> np.ndarray:
    total = np.zeros((10, 8))
    for rank in range(3):
        total += B[:, rank, None] * A[rank]
    return (total * 0.75 + WEIGHTS).astype(np.float32)


@pytest.mark.parametrize("block", [1, 8, 24, 31, 80, 1 << 15])
def test_blocks_of_any_size_give_the_same_bits_in_the_same_memory(
    monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr(lora, "_BLOCK", block)
    weights = WEIGHTS.copy()
    made = adapter().merged("q.weight", weights)
    assert made is weights
    assert made.tobytes() == expected().tobytes()


def test_weights_that_may_not_be_written_are_copied_first() -> None:
    weights = WEIGHTS.copy()
    weights.flags.writeable = False
    made = adapter().merged("q.weight", weights)
    assert made.tobytes() == expected().tobytes()
    assert weights.tobytes() == WEIGHTS.tobytes()


def test_other_matrices_and_no_adapter_change_nothing() -> None:
    assert adapter().merged("k.weight", WEIGHTS) is WEIGHTS
    assert Adapter().merged("q.weight", WEIGHTS) is WEIGHTS
    assert (adapter().dtype("q.weight", "bf16"), adapter().dtype("k.weight", "bf16")) == ("fp32", "bf16")
