"""Check `tensors`: every bit that the C reader returns is what the verifier derives from the source."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import reader_c
from verify.checks.digits import beside, counted
from verify.checks.result import CheckResult, exact, within
from verify.errors import NotFiniteError
from verify.operations import bounds
from verify.operations.rope_tables import rope_tables
from verify.oracle.expected import blocks, half_bound, parts, rounding_bound
from verify.sources import Hyperparameters, Source
from verify.sources.row_order import in_file_order
from verify.system.pulse import CHECKED, READ, pulse


@dataclass(frozen=True)
class TensorReport:
    """Compares one tensor with its source.

    bound: of its storage at the largest scale or weight. utilisation: the largest error divided by the bound of its
    own group or weight. Both are None for a lossless storage.
    """

    name: str
    shape: tuple[int, ...]
    storage: str
    group_size: int
    max_abs_error: float
    bound: float | None
    utilisation: float | None
    rms_error: float
    snr_db: float | None


@dataclass(frozen=True)
class _Finding:
    name: str
    part: str
    index: tuple[int, ...]
    expected: Any
    found: Any
    count: int

    def text(self) -> str:
        more = f" ({self.count} differ)" if self.count > 1 else ""
        return f"{self.name} {self.part} {list(self.index)}: expected {self.expected!r}, found {self.found!r}{more}"


@dataclass(frozen=True)
class FoundTensors:
    """Holds the result of the check.

    differing: names of the tensors whose bits differ, and of v0's tables if they are beyond their bound.
    """

    verdict: CheckResult
    reports: tuple[TensorReport, ...]
    differing: tuple[str, ...]


def check_tensors(model: reader_c.Model, source: Source) -> FoundTensors:
    """Check every tensor of the file, one at a time."""
    shapes, source = source.hyperparameters.shapes(), in_file_order(source, model.format)
    tables = {"freqs_cos", "freqs_sin"} if model.format == "v0" else set()
    if set(model.names) != shapes.keys() | tables:
        odd = sorted(set(model.names) ^ (shapes.keys() | tables))
        verdict = exact(
            "tensors",
            len(odd),
            f"names: {odd[0]} is only in the {'file' if odd[0] in model.names else 'source'}",
            {"tensor": odd[0]},
        )
        return FoundTensors(verdict, (), ())
    findings: list[_Finding] = []
    reports: list[TensorReport] = []
    not_finite: dict[str, str] = {}
    for name in shapes:
        try:
            report, found = _judge(model, source, name)
        except NotFiniteError as error:
            not_finite[name] = str(error)
        else:
            reports.append(report)
            findings += found
    table_use = _rope_table_use(model, source.hyperparameters) if tables else 0.0
    wrong_tables = () if table_use <= 1 else tuple(sorted(tables))
    differing = (*dict.fromkeys(f.name for f in findings), *wrong_tables)
    if not_finite:
        name, detail = next(iter(not_finite.items()))
        verdict = exact("tensors", len(not_finite), f"the source cannot be released: {detail}", {"tensor": name})
        # no diagnosis: it would try mistakes on numbers that cannot be compared
        return FoundTensors(verdict, tuple(reports), ())
    return FoundTensors(_verdict(findings, reports, table_use), tuple(reports), differing)


def _verdict(findings: list[_Finding], reports: list[TensorReport], table_use: float) -> CheckResult:
    if findings:
        first = findings[0]
        others = len(findings) - 1
        also = f"; {others} other part{'s' if others > 1 else ''} of tensors also differ{'' if others > 1 else 's'}"
        detail = first.text() + (also if others else "")
        where = {
            "tensor": first.name,
            "part": first.part,
            "index": list(first.index),
            "expected": str(first.expected),
            "found": str(first.found),
        }
        return exact("tensors", sum(f.count for f in findings), detail, where)
    worst = max(reports, key=_use)
    used = _use(worst)
    # the bits are as derived but too far from the source: then the derivation or the source is wrong
    if not used <= 1:
        odd = "" if math.isfinite(worst.max_abs_error) else ", because a number is not finite"
        detail = f"{worst.name}: beyond the error bound of {worst.storage}{odd}"
        return within("tensors", "rigorous", used, 1.0, detail, {"tensor": worst.name})
    if not table_use <= 1:
        return within(
            "tensors",
            "rigorous",
            table_use,
            1.0,
            "RoPE tables: beyond the error bound of float32",
            {"tensor": "freqs"},
        )
    detail = f"{counted(len(reports), 'tensor')}, every bit as derived from the source"
    if used:
        detail += f"; rounding to storage reaches {_beside_one(used, 5)} of its bound"
    if table_use:
        detail += f"; RoPE tables reach {_beside_one(table_use, 3)} of theirs"
    return exact("tensors", 0, detail)


def _beside_one(share: float, decimals: int) -> str:
    """Write a share of a bound; only a share of exactly 1 reads as 1."""
    shown = f"{share:.{decimals}f}"
    return beside(share, 1.0) if float(shown) == 1 else shown


def _use(report: TensorReport) -> float:
    """Return the used share of the tensor's bound; infinite if an error or the share itself is not finite."""
    used = report.utilisation or 0.0
    return used if math.isfinite(report.max_abs_error) and math.isfinite(used) else math.inf


def _judge(model: reader_c.Model, source: Source, name: str) -> tuple[TensorReport, list[_Finding]]:
    """Block by block of rows: in float64 the largest tensors would take many times their size."""
    weights, how = source.tensor(name), model.storage(name)
    pulse(READ * weights.numel())
    held = {span.part: model.view(span) for span in model.spans(name)}
    lossless = how.storage in ("fp32", source.dtype(name))
    differing = {part: _Differing(name, part) for part in held}
    errors = _Errors(how, lossless=lossless)
    for rows in blocks(weights):
        expected = parts(weights[rows], how.storage, how.group_size)
        stored = {part: array[rows] for part, array in held.items()}
        for part in held:
            differing[part].add(rows.start, _bits(expected[part]), stored[part])
        errors.add(weights[rows], stored)
        pulse(CHECKED * weights[rows].numel())
    findings = [finding for part in held if (finding := differing[part].finding)]
    return errors.report(tuple(weights.shape)), findings


class _Errors:
    """Gathers how far a tensor's numbers are from its source's, over blocks of rows."""

    def __init__(self, how: reader_c.Storage, *, lossless: bool) -> None:
        self._how, self._lossless = how, lossless
        self._count = 0
        self._squares = self._signal = self._most = self._bound = self._used = 0.0

    def add(self, weights: torch.Tensor, stored: dict[str, NDArray[Any]]) -> None:
        """Add a block. It is computed in float64, where q * scale is exact; a NaN stays a NaN."""
        wide = weights.double()
        if "int8" in stored:
            scale = torch.from_numpy(stored["scale"].copy()).double()
            grouped = torch.from_numpy(stored["int8"].copy()).view(*scale.shape, -1).double()
            of_all = (wide.view_as(grouped) - grouped * scale.unsqueeze(2)).abs()
            error, limit = of_all.amax(dim=2), rounding_bound(scale)
        else:
            of_all = error = (wide - _widened(stored).double()).abs()
            limit = half_bound(weights, self._how.storage) if not self._lossless else torch.zeros(1)
        self._count += weights.numel()
        self._squares += float(of_all.square().sum())
        self._signal += float(wide.square().sum())
        self._most = _larger(self._most, float(of_all.max()))
        if not self._lossless:
            self._bound = _larger(self._bound, float(limit.max()))
            self._used = _larger(self._used, float(torch.where(error == 0, 0.0, error / limit).max()))

    def report(self, shape: tuple[int, ...]) -> TensorReport:
        """Return what was gathered."""
        rms, signal = (math.sqrt(total / self._count) for total in (self._squares, self._signal))
        return TensorReport(
            name=self._how.name,
            shape=shape,
            storage=self._how.storage,
            group_size=self._how.group_size,
            max_abs_error=self._most,
            bound=None if self._lossless else self._bound,
            utilisation=None if self._lossless else self._used,
            rms_error=rms,
            snr_db=20 * math.log10(signal / rms) if rms > 0 and signal > 0 and math.isfinite(rms) else None,
        )


def _larger(a: float, b: float) -> float:
    """Return the larger number; a NaN is larger than anything."""
    return a if math.isnan(a) or a > b else b


def _widened(stored: dict[str, NDArray[Any]]) -> torch.Tensor:
    """Convert what the file holds in any of its float types to float32."""
    ((part, array),) = stored.items()
    if part == "bf16":
        return torch.from_numpy((array.astype(np.uint32) << 16).view(np.float32))
    return torch.from_numpy(array.astype(np.float32))


def _bits(part: torch.Tensor) -> NDArray[Any]:
    """Return a part as numpy, with bfloat16 as its bits."""
    if part.dtype == torch.bfloat16:
        return part.view(torch.int16).numpy().view(np.uint16)
    array: NDArray[Any] = part.numpy()
    return array


class _Differing:
    """Finds the first element of a tensor's part whose bits differ, and counts them."""

    def __init__(self, name: str, part: str) -> None:
        self._name, self._part = name, part
        self.finding: _Finding | None = None

    def add(self, first: int, expected: NDArray[Any], found: NDArray[Any]) -> None:
        """Compare rows from `first` on."""
        if expected.shape != found.shape:
            self.finding = _Finding(self._name, self._part, (), expected.shape, found.shape, 1)
            return
        bits = {1: np.uint8, 2: np.uint16, 4: np.uint32}[expected.dtype.itemsize]
        # a copy, because scales in a file may have any address and views need aligned ones
        differ = np.ascontiguousarray(expected).view(bits) != np.array(found, expected.dtype).view(bits)
        count = int(np.count_nonzero(differ))
        if not count:
            return
        if self.finding is not None:
            self.finding = dataclasses.replace(self.finding, count=self.finding.count + count)
            return
        index = tuple(int(i) for i in np.unravel_index(int(differ.argmax()), differ.shape))
        place = (first + index[0], *index[1:])
        self.finding = _Finding(self._name, self._part, place, expected[index].item(), found[index].item(), count)


def _rope_table_use(model: reader_c.Model, hyper: Hyperparameters) -> float:
    """Return the largest error over bound of v0's own tables; a NaN counts as infinite.

    Their bits are not compared, because the format does not say how to compute the tables. Float32 is the coarsest
    arithmetic that a healthy writer uses.
    """
    worst = 0.0
    for name, table in zip(("freqs_cos", "freqs_sin"), rope_tables(hyper, model.config.max_seq_len), strict=True):
        error = (torch.from_numpy(np.array(model.tensor(name), np.float64)) - table.exact).abs()
        worst = max(worst, float(bounds.utilisation(error, table.bound).max()))
    return worst
