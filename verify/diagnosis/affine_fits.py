"""Propose factors and offsets: the straight line through a tensor's numbers, by tensor, row or column.

A line is fitted first; then a factor or offset near it, which has a name or few digits, must give every bit.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from verify.diagnosis import mistakes as m
from verify.diagnosis.bit_comparison import BitComparison
from verify.diagnosis.derivation import Derivation, Parts, Rows
from verify.diagnosis.found_numbers import numbers_beside
from verify.diagnosis.result import listed
from verify.diagnosis.tensor_mistakes import TensorMistake
from verify.oracle.expected import quantized
from verify.sources import Hyperparameters

# Elements of a tensor that a line is fitted to.
_SAMPLE = 1 << 20
# The rounding of Q8_0 leaves about a hundredth; a line that leaves more is no line.
_SCATTER = 0.03
# How exactly a factor is known from numbers of a storage, relative to it.
_KNOWN = {"fp32": 1e-5, "fp16": 1e-3, "bf16": 5e-3, "q8_0": 1e-5}
_DIGITS = range(1, 7)
# How nearly rows in float32 have the length that they were scaled to.
_LENGTH_OF_1 = 1e-6
# Whole numbers by which a program may divide.
_LARGEST_DIVISOR = 1024
# A factor that two roundings in the last place could not be.
_TELLING = 2.0**-18


@dataclass(frozen=True)
class Line:
    """Describes found = factor * expected + offset. scatter: what the line leaves, relative to what was found."""

    factor: float
    offset: float
    scatter: float


def fitted_line(compared: BitComparison, name: str) -> Line | None:
    """Fit a line to a tensor's numbers by least squares; None where one side is constant or not finite."""
    weights = compared.weights(name)
    every = max(1, math.ceil(weights.numel() / _SAMPLE))
    sums = torch.zeros(6, dtype=torch.float64)
    for _rows, found, expected in numbers_beside(compared, name, every):
        ones = torch.ones((), dtype=torch.float64)
        pairs = ((expected, ones), (found, ones), (expected, expected), (expected, found), (found, found))
        sums += torch.stack([(a * b).sum() for a, b in pairs] + [torch.tensor(float(found.numel()))])
    x, y, xx, xy, yy, count = sums.tolist()
    of_x, of_xy, of_y = xx - x * x / count, xy - x * y / count, yy - y * y / count
    if not (math.isfinite(of_xy) and of_x > 0 and of_y > 0):
        return None
    factor = of_xy / of_x
    return Line(factor, (y - factor * x) / count, math.sqrt(max(0.0, 1 - of_xy * of_xy / (of_x * of_y))))


def lines(compared: BitComparison, name: str) -> Iterator[TensorMistake]:
    """Propose one factor, one offset, or both, for the whole tensor."""
    line = fitted_line(compared, name)
    if line is None or line.scatter > _SCATTER:
        return
    storage = compared.model.storage(name).storage
    known = _KNOWN[storage]
    spread = float(compared.weights(name).double().std(correction=0))
    factor = line.factor
    if storage == "q8_0":
        factor = _ratio_of_scales(compared, name, line.factor)
    elif storage != "fp32" and abs(line.offset) <= 0.02 * spread:
        factor = _mean_ratio(compared, name)
    offsets = [0.0, *(value for value in _short(line.offset) if abs(value - line.offset) <= 0.02 * spread)]
    for offset in dict.fromkeys(offsets):
        for text, value in _factors(factor, max(known, 1e-6), compared.hyper):
            if (value, offset) != (1.0, 0.0):
                yield _line(text, value, offset)
    if storage == "fp32" and abs(factor - 1) > _TELLING:
        # two roundings: the writer's own arithmetic is not known
        yield TensorMistake(m.SCALED, (_times(factor),), fields=(("factor", f"{factor:.6g}"),), ulps=2)


def _ratio_of_scales(compared: BitComparison, name: str, factor: float) -> float:
    """Return the factor from the scales of the first rows, which have more digits than int8."""
    how = compared.model.storage(name)
    at = compared.first_difference(name) or 0
    right = quantized(compared.weights(name)[at : at + 16], how.group_size)[1].double()
    found = torch.from_numpy(compared.found(name)["scale"][at : at + 16].copy().view("f4")).double()
    ratio = float((found / torch.where(right == 0, 1, right))[right != 0].median()) if (right != 0).any() else 1.0
    return math.copysign(ratio, factor)


def _mean_ratio(compared: BitComparison, name: str) -> float:
    """Return the mean of found / expected, in which no large number's rounding outweighs the others."""
    total, count = 0.0, 0
    for _rows, found, expected in numbers_beside(compared, name):
        some = expected != 0
        total += float((found[some] / expected[some]).sum())
        count += int(some.sum())
    return total / count


def _line(text: str, factor: float, offset: float) -> TensorMistake:
    derivations = (_times(factor, offset), _divided(factor, offset), _times_in_double(factor, offset))
    by = (("side", "plus" if offset > 0 else "minus"), ("by", f"{abs(offset):g}"))
    if offset == 0:
        return TensorMistake(m.SCALED, derivations, fields=(("factor", text),))
    if factor == 1:
        return TensorMistake(m.OFFSET, derivations[:1], fields=by)
    return TensorMistake(m.SCALED_AND_OFFSET, derivations, fields=(("factor", text), *by))


def _times(factor: float, offset: float = 0.0) -> Derivation:
    return lambda rows: rows.stored(_plus(rows.own * torch.tensor(factor), offset))


def _divided(factor: float, offset: float) -> Derivation:
    return lambda rows: rows.stored(_plus(rows.own / torch.tensor(1 / factor), offset))


def _plus(weights: torch.Tensor, offset: float) -> torch.Tensor:
    """Add an offset; no offset leaves negative zeros as they are."""
    return weights + torch.tensor(offset) if offset else weights


def _times_in_double(factor: float, offset: float) -> Derivation:
    return lambda rows: rows.stored(_plus(rows.own.double() * factor, offset).float())


def _factors(factor: float, within: float, hyper: Hyperparameters) -> Iterator[tuple[str, float]]:
    """Yield (text, value) of factors near this one: with a name, then with few digits."""
    names: dict[float, list[str]] = {}
    for name, value in _named(hyper):
        if abs(factor - value) <= within * abs(value):
            names.setdefault(value, []).append(name)
    for value, known in names.items():
        yield f"{value:.6g}, which is {' or '.join(known)}", value
    for value in (1.0, -1.0, *_short(factor)):
        if abs(factor - value) <= within * abs(value) and value not in names:
            yield f"{value:g}", value
    whole = round(1 / factor) if factor else 0
    if 2 < abs(whole) <= _LARGEST_DIVISOR and abs(factor * whole - 1) <= within:
        yield f"1 / {whole}", 1 / whole


def _named(hyper: Hyperparameters) -> Iterator[tuple[str, float]]:
    sizes = {"dim": hyper.dim, "head_dim": hyper.head_dim, "2 * n_layers": 2 * hyper.n_layers}
    for name, size in sizes.items():
        if size > 1:
            yield f"sqrt({name})", math.sqrt(size)
            yield f"1 / sqrt({name})", 1 / math.sqrt(size)
    yield "1 / log(2)", 1 / math.log(2)
    yield "log(2)", math.log(2)


def _short(value: float) -> list[float]:
    return list(dict.fromkeys(float(f"{value:.{digits}g}") for digits in _DIGITS))


# ---- a factor for each row or column ----


def folded_norm(compared: BitComparison, name: str) -> Iterator[TensorMistake]:
    """Propose the weights of the norm before a matrix, multiplied into its columns."""
    if _norm_before(name) is not None:
        yield TensorMistake(m.SCALED_BY_NORM, (_by_norm(compared),), seen=_norms_before)


_NORM_BEFORE = {
    (".attention.wq.weight", ".attention.wk.weight", ".attention.wv.weight"): "attention_norm",
    (".feed_forward.w1.weight", ".feed_forward.w3.weight"): "ffn_norm",
    ("output.weight",): "norm",
}


def _norm_before(name: str) -> str | None:
    return next((norm for kinds, norm in _NORM_BEFORE.items() if name.endswith(kinds)), None)


def _norms_before(_compared: BitComparison, names: Sequence[str]) -> dict[str, str]:
    norms = [norm for norm in _NORM_BEFORE.values() if norm in map(_norm_before, names)]
    return {"norms": listed(norms), "folded": "the norm were" if len(norms) == 1 else "the norms were"}


def _by_norm(compared: BitComparison) -> Derivation:
    def derive(rows: Rows) -> Parts | None:
        norm = _norm_before(rows.name)
        if norm is None:
            return None
        prefix = "" if norm == "norm" else ".".join(rows.name.split(".")[:2]) + "."
        return rows.stored(rows.own * compared.source.tensor(f"{prefix}{norm}.weight"))

    return derive


def factors_of_rows(compared: BitComparison, name: str) -> Iterator[TensorMistake]:
    """Propose a factor for each row, then one for each column; each tensor has its own factors."""
    weights = compared.weights(name)
    # in other storages, a factor and two roundings in the last place would explain too much
    if min(weights.shape) < 8 or compared.model.storage(name).storage != "fp32":
        return

    @functools.cache
    def fitted(of: str) -> tuple[torch.Tensor, torch.Tensor]:
        of_rows, of_columns = _fitted_factors(compared, of)
        return of_rows.unsqueeze(1), of_columns.unsqueeze(0)

    for axis, what in enumerate(("rows", "columns")):
        factors = fitted(name)[axis]
        sizes = factors.abs()
        if torch.isfinite(factors).all() and float((factors - 1).abs().median()) > 1e-4:
            times = (_by_factors(lambda of, axis=axis: fitted(of)[axis]),)  # type: ignore[misc]
            if float((weights.double() * factors).norm(dim=1 - axis).sub(1).abs().max()) < _LENGTH_OF_1:
                yield TensorMistake(m.ROWS_NORMALIZED, times, fields=(("what", what),), ulps=2)
            of = f"{float(sizes.min()):.3g} to {float(sizes.max()):.3g} in {name}"
            seen = (("factors", of),)
            yield TensorMistake(m.ROWS_SCALED, times, fields=(("what", what),), ulps=2, measured=seen)


def _fitted_factors(compared: BitComparison, name: str) -> tuple[torch.Tensor, torch.Tensor]:
    weights = compared.weights(name)
    of_rows = torch.ones(len(weights), dtype=torch.float64)
    both = torch.zeros(2, weights.shape[1], dtype=torch.float64)
    for rows, found, expected in numbers_beside(compared, name):
        of_rows[rows] = (found * expected).sum(1) / expected.square().sum(1)
        both += torch.stack(((found * expected).sum(0), expected.square().sum(0)))
    return of_rows, both[0] / both[1]


def _by_factors(factors_of: Callable[[str], torch.Tensor]) -> Derivation:
    """factors_of: name -> (rows, 1) or (1, columns), float64."""

    def derive(rows: Rows) -> Parts | None:
        factors = factors_of(rows.name)
        fits = rows.storage == "fp32" and factors.shape in ((len(rows.weights), 1), (1, rows.weights.shape[1]))
        if not fits:
            return None
        chosen = factors[rows.first : rows.last] if factors.shape[1] == 1 else factors
        return rows.stored((rows.own.double() * chosen).float())

    return derive
