"""Describe tensors that no known mistake explains: what is certain about their numbers, and what they look like."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from verify.diagnosis import mistakes as m
from verify.diagnosis.bit_comparison import BitComparison, bits
from verify.diagnosis.found_numbers import numbers_beside
from verify.diagnosis.mistakes import Mistake
from verify.diagnosis.result import Diagnosis, diagnosis_of_tensors, most_shown
from verify.oracle.expected import rounding_bound

_SAMPLE = 1 << 20  # elements that a correlation is computed from
_FEWEST = 256  # values whose new order is certain
_SCALES_SEEN = 64  # rows whose scales are compared with the source's
# A model is another one if almost all of its matrices are.
_ALMOST_ALL = 0.9


@dataclass(frozen=True)
class Resemblance:
    """Compares a tensor's numbers with the source's.

    correlation: Pearson's; NaN if either side is constant or not finite. factor: the best one from expected to
    found. size: standard deviation of found over that of expected. equal: share of equal numbers. steps: the rms
    difference over the rounding that the storage allows. count: numbers compared.
    """

    name: str
    correlation: float
    factor: float
    size: float
    equal: float
    steps: float
    count: int

    @property
    def unrelated(self) -> bool:
        """Return whether the correlation is that of independent numbers: within five standard deviations."""
        return abs(self.correlation) < max(0.1, 5 / math.sqrt(self.count))


def resemblance(compared: BitComparison, name: str) -> Resemblance:
    """Measure one tensor."""
    every = max(1, math.ceil(compared.weights(name).numel() / _SAMPLE))
    blocks = list(numbers_beside(compared, name, every))
    found, expected = (torch.cat(parts) for parts in zip(*((mine, right) for _, mine, right in blocks), strict=True))
    count = found.numel()
    a, b = found - found.mean(), expected - expected.mean()
    sizes = a.norm() * b.norm()
    related = float((a * b).sum() / sizes) if sizes > 0 else math.nan
    off = found - expected
    return Resemblance(
        name,
        related,
        float((a * b).sum() / b.square().sum()) if b.norm() > 0 else math.nan,
        float(a.norm() / b.norm()) if b.norm() > 0 else math.nan,
        float((found == expected).double().mean()),
        float(off.square().mean().sqrt()) / _rounding(compared, name, expected),
        count,
    )


def _rounding(compared: BitComparison, name: str, expected: torch.Tensor) -> float:
    """Return how far the storage may move a number, in the mean."""
    how = compared.model.storage(name)
    if how.storage == "q8_0":
        scale = expected.unflatten(1, (-1, how.group_size)).abs().amax(dim=2) / 127
        return max(float(rounding_bound(scale).mean()), math.ulp(0.0))
    unit = {"fp16": 2.0**-11, "bf16": 2.0**-8}.get(how.storage, 2.0**-24)
    return max(unit * float(expected.abs().mean()), math.ulp(0.0))


def facts(seen: Sequence[Resemblance]) -> str:
    """Write what is certain of these tensors: "correlation 0.9811 to 0.9873, 12 % of the values equal"."""
    said = [f"correlation {_range([one.correlation for one in seen], '.6f')}"]
    if all(abs(one.correlation) > 0.5 and abs(one.factor - 1) > 1e-3 for one in seen):
        said.append(f"best factor {_range([one.factor for one in seen], '.4g')}")
    if any(one.equal > 0 for one in seen):
        said.append(f"{_range([100 * one.equal for one in seen], '.2g')} % of the values equal")
    return ", ".join(said)


def _range(values: Sequence[float], form: str) -> str:
    least, most = format(min(values), form), format(max(values), form)
    return least if least == most else f"{least} to {most}"


def diagnose_rearranged(compared: BitComparison, names: Sequence[str]) -> Diagnosis | None:
    """Recognise the source's values with other signs, or in another order: certain, though no mistake is known."""
    explained: dict[tuple[Mistake, str], list[str]] = {}
    for name in names:
        kept = _kept(compared, name)
        if kept is not None:
            explained.setdefault(kept, []).append(name)
    return most_shown(explained, len(names))


def _kept(compared: BitComparison, name: str) -> tuple[Mistake, str] | None:
    how = compared.model.storage(name)
    if compared.weights(name).numel() < _FEWEST:
        return None
    expected = compared.rows(name, 0, how.shape[0]).healthy()
    right = {part: torch.from_numpy(bits(held).astype("i8")) for part, held in expected.items()}
    found = {part: torch.from_numpy(held.astype("i8")) for part, held in compared.found(name).items()}
    if how.storage == "q8_0":
        for mistake, same, moved in ((m.INT8_REORDERED, "scale", "int8"), (m.SCALES_REORDERED, "int8", "scale")):
            if torch.equal(right[same], found[same]) and _same_values(right[moved], found[moved]):
                return mistake, mistake.of_file()
        return None
    (expected_bits,), (found_bits,) = right.values(), found.values()
    sign = 1 << (31 if how.storage == "fp32" else 15)
    if ((expected_bits ^ found_bits) & (sign - 1) == 0).all():
        share = float(((expected_bits ^ found_bits) != 0).double().mean())
        return m.SIGNS_DIFFER, m.SIGNS_DIFFER.of_file(share=f"{100 * share:.2g} %")
    if _same_values(expected_bits, found_bits):
        return m.VALUES_REORDERED, m.VALUES_REORDERED.of_file()
    return None


def _same_values(right: torch.Tensor, found: torch.Tensor) -> bool:
    """Return whether two tensors hold the same values, in any order."""
    return bool(
        right.sum() == found.sum() and torch.equal(*(part.flatten().sort().values for part in (right, found)))
    )


def _right_scales(compared: BitComparison, name: str) -> bool:
    """Return whether a quantized tensor has the source's scales, which no other numbers would have."""
    how = compared.model.storage(name)
    if how.storage != "q8_0":
        return False
    right = bits(compared.rows(name, 0, min(how.shape[0], _SCALES_SEEN)).healthy()["scale"])
    return bool((right == compared.found(name)["scale"][: len(right)]).mean() > 0.5)


def last_resort(compared: BitComparison, names: Sequence[str]) -> Diagnosis:
    """Describe what was measured on all tensors that differ; this explains none."""
    seen = [resemblance(compared, name) for name in names]
    mistake = _of_model(compared, seen) or Counter(map(_of_tensor, seen)).most_common(1)[0][0]
    about = (
        seen
        if mistake in (m.ANOTHER_CHECKPOINT, m.ANOTHER_VERSION)
        else [one for one in seen if _of_tensor(one) == mistake]
    )
    what = mistake.of_file(facts=facts(about))
    return diagnosis_of_tensors(mistake.name, what, [one.name for one in about], [], len(names))


def _of_tensor(seen: Resemblance) -> Mistake:
    if math.isnan(seen.correlation):
        return m.NOT_COMPARABLE
    return m.UNRELATED_NUMBERS if seen.unrelated else m.NO_KNOWN_MISTAKE


def _of_model(compared: BitComparison, seen: Sequence[Resemblance]) -> Mistake | None:
    """Recognise another model's numbers by almost all matrices; one tensor alone never tells."""
    matrices = [name for name, shape in compared.shapes.items() if len(shape) == 2]
    other = [one for one in seen if one.name in set(matrices)]
    if len(other) < max(2, _ALMOST_ALL * len(matrices)):
        return None
    if all(one.unrelated and 0.5 < one.size < 2 for one in other):
        right_scales = any(_right_scales(compared, one.name) for one in other)
        return None if right_scales else m.ANOTHER_CHECKPOINT
    # a quantizer, a narrower type or an adapter changes no vector, so that vectors tell another version from those
    vectors = len(compared.shapes) - len(matrices)
    if vectors and len(seen) == len(other):
        return None
    also_vectors = vectors > 0 and len(seen) - len(other) >= _ALMOST_ALL * vectors
    for one in other:
        is_quantized = compared.model.storage(one.name).storage == "q8_0"
        if not _is_near(one) or one.steps <= (1 if also_vectors and is_quantized else 4):
            return None
    return m.ANOTHER_VERSION


def _is_near(seen: Resemblance) -> bool:
    """Return whether a tensor changed everywhere, and became neither larger nor smaller."""
    return seen.correlation > 0.9 and abs(seen.factor - 1) < 0.02 and seen.equal < 0.5
