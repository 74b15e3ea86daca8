"""Recognise how a LoRA adapter that the user gave was merged otherwise than it should be.

The adapter's own matrices are known, so one factor is left to be fitted: file = base + factor * B A. Every number of
the file must then be within a few roundings of its storage, because the writer's order of sums is not known.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from verify.diagnosis import adapter_mistakes as m
from verify.diagnosis.bit_comparison import BitComparison
from verify.diagnosis.found_numbers import numbers_beside
from verify.diagnosis.mistakes import Mistake
from verify.diagnosis.result import Diagnosis, layer_and_kind, most_shown
from verify.sources import Merge

_UNIT = {"fp32": 2.0**-24, "fp16": 2.0**-11, "bf16": 2.0**-8}
# Roundings that a writer's own arithmetic may add, and those of int8 in steps.
_ROUNDINGS, _STEPS = 8.0, 0.51
# How exactly a factor is known, relative to what is expected.
_KNOWN = {"fp32": 1e-4, "fp16": 1e-2, "bf16": 2e-2, "q8_0": 2e-2}

# Types that a program may merge in, and the roundings of its product and its sum.
_NARROW = {"bf16": torch.bfloat16, "fp16": torch.float16}
_NARROW_ROUNDINGS = 4.0

Named = tuple[Mistake, str]


@dataclass(frozen=True, eq=False)
class _Product:
    """Holds b and a, whose product an adapter or a mistake adds. fields: for the mistake's sentence."""

    b: torch.Tensor
    a: torch.Tensor
    mistake: Mistake
    fields: tuple[tuple[str, str], ...] = ()

    def fits(self, shape: torch.Size) -> bool:
        return (len(self.b), self.a.shape[1]) == tuple(shape)


def diagnose_adapter(compared: BitComparison, differing: Sequence[str]) -> Diagnosis | None:
    """Return the wrong merge that most tensors show; None without an adapter, or where none fits."""
    if not compared.source.has_adapter:
        return None
    shown: dict[Named, list[str]] = {}
    elsewhere: list[tuple[str, str]] = []
    for name in differing:
        found = _of_tensor(compared, name, elsewhere)
        if found is not None:
            shown.setdefault(found, []).append(name)
    tensor, of = elsewhere[0] if elsewhere else ("", "")
    said = {
        (mistake, what.format(tensor=tensor, of=of) if mistake is m.ADAPTER_ELSEWHERE else what): names
        for (mistake, what), names in shown.items()
    }
    return most_shown(said, len(differing))


def _of_tensor(compared: BitComparison, name: str, elsewhere: list[tuple[str, str]]) -> Named | None:
    """Name what was merged into a tensor. elsewhere: gets (tensor, the tensor whose adapter it has)."""
    if compared.weights(name).shape[1] == 1:
        return None
    own = compared.source.merge(name)
    base = compared.weights(name) if own is None else own.base
    for product in _products(compared, name, own):
        if not product.fits(base.shape):
            continue
        factor = _factor(compared, name, base, product)
        for value in _candidates(factor, own, _KNOWN[compared.model.storage(name).storage]):
            if _gives(compared, name, base, product, value):
                named = _named(product, value, own)
                if named is not None and product.mistake is m.ADAPTER_ELSEWHERE:
                    elsewhere.append((name, dict(product.fields)["of"]))
                return named
    return _narrowed(compared, name, own) if own is not None else None


def _narrowed(compared: BitComparison, name: str, own: Merge) -> Named | None:
    """Recognise the right merge in a narrower type than the file's."""
    storage = compared.model.storage(name).storage
    for narrow, dtype in _NARROW.items():
        if storage in (narrow, "q8_0"):
            continue
        for rows, found, expected in numbers_beside(compared, name):
            size = _size(own.base[rows], own.b[rows], own.a, own.scale)
            near = (found - expected).abs() <= _NARROW_ROUNDINGS * _UNIT[narrow] * size
            if not (bool(near.all()) and torch.equal(found, found.to(dtype).double())):
                break
        else:
            return m.ADAPTER_NARROWED, m.ADAPTER_NARROWED.of_file(dtype=narrow)
    return None


def _products(compared: BitComparison, name: str, own: Merge | None) -> Iterator[_Product]:
    if own is not None:
        (rank, columns), rows = own.a.shape, len(own.b)
        yield _Product(own.b, own.a, m.ADAPTER_FACTOR)
        yield _Product(own.raw_b, own.a, m.ADAPTER_ROWS)
        yield _Product(own.a.T, own.b.T, m.ADAPTER_TURNED, (("what", "A and B exchanged"),))
        b, a = own.raw_b.reshape(rank, rows).T, own.a.reshape(columns, rank).T
        yield _Product(b, own.a, m.ADAPTER_TURNED, (("what", "B transposed"),))
        yield _Product(own.b, a, m.ADAPTER_TURNED, (("what", "A transposed"),))
        yield _Product(b, a, m.ADAPTER_TURNED, (("what", "A and B transposed"),))
    layer, kind = layer_and_kind(name)
    for other in compared.shapes:
        of_layer, of_kind = layer_and_kind(other)
        if (
            other == name
            or (of_kind != kind and of_layer != layer)
            or compared.shapes[other] != compared.shapes[name]
        ):
            continue
        merge = compared.source.merge(other)
        if merge is not None:
            yield _Product(merge.b, merge.a, m.ADAPTER_ELSEWHERE, (("of", other),))


def _factor(compared: BitComparison, name: str, base: torch.Tensor, product: _Product) -> float:
    """Fit by how much the product was multiplied, in the first block of rows."""
    rows, found, _ = next(numbers_beside(compared, name))
    made = product.b[rows] @ product.a
    size = float(made.square().sum())
    return float(((found - base[rows].double()) * made).sum()) / size if size > 0 else math.nan


def _candidates(factor: float, own: Merge | None, known: float) -> Iterator[float]:
    """Yield the factors near the fitted one: those that writers take, those of few digits, then itself."""
    if not math.isfinite(factor):
        return
    likely = [0.0, 1.0]
    if own is not None:
        rank = len(own.a)
        likely += [own.scale * times for times in (1, 2, 3, -1)]
        likely += [own.alpha, own.alpha / rank, own.alpha / math.sqrt(rank), 1 / rank, rank / own.alpha]
    room = known * max(abs(factor), own.scale if own else 1.0)
    near = [value for value in likely if abs(value - factor) <= room]
    yield from dict.fromkeys((*near, *(value for n in range(1, 7) if (value := float(f"{factor:.{n}g}")))))


def _gives(compared: BitComparison, name: str, base: torch.Tensor, product: _Product, factor: float) -> bool:
    how = compared.model.storage(name)
    for rows, found, _ in numbers_beside(compared, name):
        expected = base[rows].double() + factor * (product.b[rows] @ product.a)
        size = _size(base[rows], product.b[rows], product.a, factor)
        if how.storage == "q8_0":
            step = expected.unflatten(1, (-1, how.group_size)).abs().amax(dim=2) / 127
            room = _STEPS * step.repeat_interleave(how.group_size, dim=1) + 2.0**-20 * size
        else:
            room = _ROUNDINGS * 2.0**-24 * size + 1.01 * _UNIT[how.storage] * expected.abs()
        if not bool(((found - expected).abs() <= room).all()):
            return False
    return True


def _size(base: torch.Tensor, b: torch.Tensor, a: torch.Tensor, factor: float) -> torch.Tensor:
    """Return the size of the terms of base + factor * B A, because their sum may be much smaller than they are."""
    return base.double().abs() + abs(factor) * (b.abs() @ a.abs())


def _named(product: _Product, value: float, own: Merge | None) -> Named | None:
    """Name a product and the factor that it has; None if it is the right one."""
    if product.mistake is m.ADAPTER_FACTOR:
        assert own is not None
        return None if value == own.scale else _of_factor(value, own)
    if value == 0:
        return None
    factor = "" if own is None or value == own.scale else f", with factor {value:g} instead of {own.scale:g}"
    fields = {"tensor": "{tensor}", "of": "{of}", **{key: said for key, said in product.fields if key != "of"}}
    return product.mistake, product.mistake.of_file(**fields, factor=factor)


def _of_factor(value: float, own: Merge) -> Named:
    if value == 0:
        return m.ADAPTER_MISSING, m.ADAPTER_MISSING.of_file()
    if value == -own.scale:
        return m.ADAPTER_SUBTRACTED, m.ADAPTER_SUBTRACTED.of_file()
    if value in (2 * own.scale, 3 * own.scale):
        return m.ADAPTER_AGAIN, m.ADAPTER_AGAIN.of_file(times=round(value / own.scale))
    rank = len(own.a)
    names = {rank / own.alpha: "r / alpha", 1 / rank: "1 / r", own.alpha / math.sqrt(rank): "alpha / sqrt(r)"}
    names |= {own.alpha: "alpha", own.alpha / rank: "alpha / r"}
    said = [f"{factor:g}{f', which is {names[factor]},' if factor in names else ''}" for factor in (value, own.scale)]
    return m.ADAPTER_FACTOR, m.ADAPTER_FACTOR.of_file(found=said[0], expected=said[1].rstrip(","))
