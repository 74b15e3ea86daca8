"""An adapter that was merged otherwise than it should be is named by what was done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.mistake_files import hyperparameters, written
from helpers.models import Arrays, arrays, config

import reader_c
from verify.diagnosis import Diagnosis, diagnose_tensors
from verify.sources import Merge
from verify.sources.in_memory import MemorySource

MODEL = config(dim=48, n_heads=4, n_kv_heads=2)
BASE = arrays(MODEL)
Q, Q1, K, V, WO = (
    f"layers.{place}.weight"
    for place in ("0.attention.wq", "1.attention.wq", "0.attention.wk", "0.attention.wv", "0.attention.wo")
)
RANK, ALPHA = 4, 6.0
SCALE = ALPHA / RANK


def half_split(b: torch.Tensor) -> torch.Tensor:
    return b.view(-1, 6, 2, b.shape[1]).transpose(1, 2).reshape(b.shape)


def merge_of(name: str) -> Merge:
    generator = torch.Generator().manual_seed(len(name) + ord(name[7]))
    base = torch.from_numpy(BASE[name])
    a, b = (torch.randn(size, generator=generator).double() for size in ((RANK, base.shape[1]), (len(base), RANK)))
    raw = half_split(b) if ".wq." in name or ".wk." in name else b
    return Merge(base, a, b, raw, ALPHA, SCALE)


MERGES = {name: merge_of(name) for name in (Q, Q1, K, V)}


class Adapted(MemorySource):
    has_adapter = True

    def merge(self, name: str) -> Merge | None:
        return MERGES.get(name)


def merged(factor: float = SCALE, **of: Merge) -> Arrays:
    """The base with every adapter merged with a factor; of: those to merge instead, by "wq" for layer 0's."""
    mine = dict(BASE)
    for name, own in MERGES.items():
        merge = next((other for kind, other in of.items() if f"0.attention.{kind}." in name), own)
        mine[name] = (own.base.double() + factor * (merge.b @ merge.a)).float().numpy()
    return mine


RIGHT = merged()


def of(directory: Path, mine: Arrays, kind: str = "v3-fp32") -> Diagnosis | None:
    path = written(directory / "x.bin", MODEL, mine, kind)
    source = Adapted(hyperparameters(MODEL), RIGHT.__getitem__)
    with reader_c.open(path) as model:
        return diagnose_tensors(model, source, list(RIGHT))


@pytest.mark.parametrize("kind", ["v3-fp32", "v3-bf16", "v2"])
@pytest.mark.parametrize(
    ("factor", "name", "text"),
    [
        (1.0, "adapter-factor", "merged with factor 1 instead of 1.5, which is alpha / r"),
        (ALPHA, "adapter-factor", "merged with factor 6, which is alpha, instead of 1.5"),
        (ALPHA / 2, "adapter-again", "merged 2 times"),
        (0.7, "adapter-factor", "merged with factor 0.7 instead of 1.5"),
        (-SCALE, "adapter-subtracted", "subtracted instead of added"),
        (0.0, "adapter-missing", "the base's values: the adapter was not merged into them"),
    ],
)
def test_a_wrong_factor_is_named(tmp_path: Path, kind: str, factor: float, name: str, text: str) -> None:
    found = of(tmp_path, merged(factor), kind)
    assert found is not None
    assert (found.signature, found.explained, found.tensors) == (name, 1, tuple(n for n in RIGHT if n in MERGES))
    assert text in found.sentence


def test_a_module_that_was_left_out_is_named_alone(tmp_path: Path) -> None:
    found = of(tmp_path, {**RIGHT, Q1: BASE[Q1]})
    assert found is not None
    assert (found.signature, found.tensors, found.explained) == ("adapter-missing", (Q1,), 1)


@pytest.mark.parametrize(
    ("turn", "text"),
    [
        (lambda own: replace(own, a=own.b.T, b=own.a.T), "A and B exchanged"),
        (lambda own: replace(own, b=own.raw_b.reshape(RANK, -1).T), "B transposed"),
        (lambda own: replace(own, a=own.a.reshape(-1, RANK).T), "A transposed"),
        (lambda own: replace(own, b=own.raw_b), "half-split order"),
    ],
)
def test_other_products_are_named(tmp_path: Path, turn: Callable[[Merge], Merge], text: str) -> None:
    found = of(tmp_path, merged(wq=turn(MERGES[Q])), "v2")
    assert found is not None
    assert (found.tensors, found.explained) == ((Q,), 1)
    assert text in found.sentence


def test_the_adapter_of_another_layer_or_module_is_named(tmp_path: Path) -> None:
    found = of(tmp_path, merged(wq=MERGES[Q1]))
    assert found is not None
    assert (found.signature, f"{Q}, for example, has that of {Q1}" in found.sentence) == ("adapter-elsewhere", True)
    made = SCALE * (MERGES[Q].b @ MERGES[Q].a)
    found = of(tmp_path, {**RIGHT, WO: (torch.from_numpy(BASE[WO]).double() + made).float().numpy()})
    assert found is not None
    assert (found.signature, f"{WO}, for example, has that of {Q}" in found.sentence) == ("adapter-elsewhere", True)


@pytest.mark.parametrize(("name", "dtype"), [("bf16", torch.bfloat16), ("fp16", torch.float16)])
def test_a_merge_in_a_narrower_type_is_named(tmp_path: Path, name: str, dtype: torch.dtype) -> None:
    mine = dict(BASE)
    for tensor, own in MERGES.items():
        made = (own.base.to(dtype) + SCALE * (own.b.to(dtype) @ own.a.to(dtype))).to(dtype)
        mine[tensor] = made.float().numpy()
    found = of(tmp_path, mine)
    assert found is not None
    assert (found.signature, found.explained, set(found.tensors)) == ("adapter-narrowed", 1, set(MERGES))
    assert found.sentence.endswith(f"hold the base with the adapter merged in {name}")
    # a neighbour: rounded to this type, but with noise of some roundings more
    noise = torch.randn(mine[Q].shape, generator=torch.Generator().manual_seed(0))
    far = torch.from_numpy(mine[Q]) * (1 + 2.0**-4 * noise)
    found = of(tmp_path, {**RIGHT, Q: far.to(dtype).float().numpy()})
    assert found is None or found.signature != "adapter-narrowed"


def test_a_merge_in_float32_of_long_sums_is_near_enough(tmp_path: Path) -> None:
    """Where the terms of B A are larger than their sum, roundings have the size of the terms."""
    mine = dict(RIGHT)
    own = MERGES[Q]
    mine[Q] = (own.base + np.float32(1.0) * (own.b.float() @ own.a.float())).numpy()
    found = of(tmp_path, mine)
    assert found is not None
    assert (found.signature, found.tensors) == ("adapter-factor", (Q,))


def test_neighbours_of_a_merge_keep_other_names(tmp_path: Path) -> None:
    noisy = merged(1.0)
    noisy[Q] = noisy[Q] + np.float32(1e-3) * np.random.default_rng(0).normal(size=noisy[Q].shape).astype(np.float32)
    found = of(tmp_path, noisy)
    assert found is not None
    assert Q not in found.tensors
    a = MERGES[Q].a + 0.1
    found = of(tmp_path, merged(wq=replace(MERGES[Q], a=a)))
    assert found is not None
    assert not found.signature.startswith("adapter")
