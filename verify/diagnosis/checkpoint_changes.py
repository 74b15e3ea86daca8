"""Recognise what was done to a checkpoint before its export: adapters, merges, pruning, few bits, rotations.

No bit follows from such a change, because its other ingredients are unknown. What it leaves is certain all the same:
the difference has a low rank, the numbers have few levels, the rows keep their lengths and angles.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import torch

from verify.diagnosis import mistakes as m
from verify.diagnosis import read_off_mistakes as r
from verify.diagnosis.bit_comparison import BitComparison
from verify.diagnosis.loose_factors import scaled_lines
from verify.diagnosis.matrix_corner import SQUARE, STORAGE_UNIT, Block, Corner, Seen, corner_of
from verify.diagnosis.result import Diagnosis, diagnosis_of_tensors

# The largest rank of a difference that an adapter has.
_LOW_RANK = 64
# Nearly every element of a difference of low rank is at most this many roundings from it, and half of the elements
# show the difference by so many. A writer's own sums may round, too.
_OF_ROUNDING, _VISIBLE, _NEARLY_EVERY = 4.0, 8.0, 0.99
# Rows and columns that an adapter changes, and values that other numbers replace: almost all.
_ALMOST_ALL = 0.9
# Runs of a row in which a quantizer has one scale; the whole row comes last.
_RUNS = (32, 64, 128, 256)
# So few different int8 among so many or more come from fewer bits.
_FEW_INT8, _TELLING = 64, 2048
# Runs that are counted.
_COUNTED = 256
# How exactly the products of rows are kept by a rotation in float32, and the most that their own rows may resemble.
_KEPT, _ALIKE = 1e-4, 0.5
# How nearly equal the shares of a mean are, which rounding changes.
_SAME_SHARE = 0.02


def diagnose_changed(compared: BitComparison, names: Sequence[str]) -> Diagnosis | None:
    """Return the change that most matrices show; None if none shows one. It explains no bit."""
    shown: dict[Seen, list[str]] = {}
    for name in names:
        seen = _change_of(compared, name)
        if seen is not None:
            shown.setdefault(seen, []).append(name)
    if not shown:
        return None
    mistake, what = max(shown, key=lambda key: len(shown[key]))
    return diagnosis_of_tensors(mistake.name, what, shown[mistake, what], [], len(names))


def _change_of(compared: BitComparison, name: str) -> Seen | None:
    if min(compared.weights(name).shape) < 8:
        return None
    corner = corner_of(compared, name)
    if not torch.isfinite(corner.found).all() or not (corner.found != 0).any():
        return None
    return next((seen for look in _LOOKS if (seen := look(corner)) is not None), None)


# ---- a difference of low rank ----


def _low_rank(corner: Corner) -> Seen | None:
    """Recognise a difference whose every element follows from few singular vectors, up to its own rounding.

    Rounding is compared element by element, because that of one large row would be a rank, too.
    """
    off, bound = (part[:, :SQUARE] for part in (corner.found - corner.expected, corner.bound))
    if not _changed_everywhere(off) or float((off.abs() > _VISIBLE * bound).double().mean()) < 0.5:
        return None
    left, sizes, right = torch.linalg.svd(off, full_matrices=False)
    for rank in range(1, min(_LOW_RANK, min(off.shape) // 4) + 1):
        off = off - sizes[rank - 1] * torch.outer(left[:, rank - 1], right[rank - 1])
        if float((off.abs() <= _OF_ROUNDING * bound).double().mean()) > _NEARLY_EVERY:
            if rank == 1 and _is_removed(left[:, 0], right[0], corner):
                return _centred(left[:, 0], right[0]) or (m.DIRECTION_REMOVED, m.DIRECTION_REMOVED.of_file())
            return m.LOW_RANK_ADDED, m.LOW_RANK_ADDED.of_file(rank=rank)
    return None


def _changed_everywhere(off: torch.Tensor) -> bool:
    """Return whether almost every row and column differs, as an adapter makes them; a few wrong rows are another
    kind of damage."""
    return all(float((off != 0).any(dim=dim).double().mean()) > _ALMOST_ALL for dim in (0, 1))


def _is_removed(left: torch.Tensor, right: torch.Tensor, corner: Corner) -> bool:
    """Return whether the matrix writes nothing in one direction any more, although the source's does.

    left, right: the difference's singular vectors in the corner. The direction is one of all rows; for an embedding,
    which writes its rows, it may be one of all columns.
    """
    width = len(right)
    shares = [(found - expected)[:, :width] @ right for found, expected, _ in corner.blocks()]
    if _writes_nothing(torch.cat(shares), corner.blocks()):
        return True
    if not corner.is_embedding:
        return False
    rows = corner.found.T, corner.expected.T, corner.bound.T
    return _writes_nothing(left @ (corner.found - corner.expected), [rows])


def _centred(left: torch.Tensor, right: torch.Tensor) -> Seen | None:
    """Name the removed direction if it is that of a mean, which has the same share of each row or column."""
    for what, shares in (("column", left), ("row", right)):
        if float((shares / shares.mean() - 1).abs().max()) < _SAME_SHARE:
            return r.CENTRED, r.CENTRED.of_file(what=what)
    return None


def _writes_nothing(direction: torch.Tensor, blocks: Iterable[Block]) -> bool:
    """Return whether the file's rows, but not the source's, add up to nothing but rounding along the direction."""
    direction = direction / direction.norm()
    after, before, noise = (torch.zeros((), dtype=torch.float64) for _ in range(3))
    at = 0
    for found, expected, bound in blocks:
        part = direction[at : at + len(found)]
        at += len(found)
        after, before = after + part @ found, before + part @ expected
        noise = noise + (part.square() @ bound.square()).sum()
    off = _OF_ROUNDING * float(noise.sqrt())
    return float(after.norm()) <= off + 1e-3 * float(before.norm()) and float(before.norm()) > 10 * off


# ---- few levels ----


def _few_levels(corner: Corner) -> Seen | None:
    """Recognise numbers that took few different values in each run, as those of 4 bits do.

    Zeros do not count, because pruning makes many.
    """
    if _correlation(corner) < 0.8:
        return None
    if corner.int8 is not None and corner.int8.numel() >= _TELLING:
        used = len(corner.int8.unique())
        if 3 < used <= _FEW_INT8:
            bits = math.ceil(math.log2(used))
            return m.FEW_LEVELS, m.FEW_LEVELS.of_file(run=corner.group_size, bits=bits)
    width = corner.found.shape[1]
    for run in (*(run for run in _RUNS if width % run == 0 and run < width), width):
        levels, others = _levels(corner.found, run), _count(corner.found, run)
        if run >= _RUNS[0] and (2 * levels <= torch.minimum(others, _levels(corner.expected, run))).all():
            most = int(levels.max())
            bits = 4 if most <= 16 else 8
            return (m.FEW_LEVELS, m.FEW_LEVELS.of_file(run=run, bits=bits)) if 3 < most <= 256 else None
    return None


def _levels(numbers: torch.Tensor, run: int) -> torch.Tensor:
    """Return how many different numbers but zero each of the first runs has."""
    runs = numbers.reshape(-1, run)[:_COUNTED].sort(dim=1).values
    steps = (runs[:, 1:] != runs[:, :-1]).sum(dim=1) + 1
    return steps - (runs == 0).any(dim=1).long()


def _count(numbers: torch.Tensor, run: int) -> torch.Tensor:
    return (numbers.reshape(-1, run)[:_COUNTED] != 0).sum(dim=1)


def _correlation(corner: Corner) -> float:
    a, b = corner.found - corner.found.mean(), corner.expected - corner.expected.mean()
    return float((a * b).sum() / (a.norm() * b.norm())) if a.norm() > 0 and b.norm() > 0 else 0.0


# ---- values set to zero ----


def _zeroed(corner: Corner) -> Seen | None:
    """Recognise the source's values with zeros among them, which are neither a region nor all small ones."""
    if corner.storage == "q8_0":
        return None
    zero = (corner.found == 0) & (corner.expected != 0)
    kept = ~zero & (corner.expected != 0)
    factor = float((corner.found[kept] / corner.expected[kept]).median()) if kept.any() else 1.0
    unit = _OF_ROUNDING * STORAGE_UNIT[corner.storage]
    near = (corner.found - factor * corner.expected).abs() <= unit * corner.found.abs()
    if not (zero | near).all() or not _changed_everywhere(zero.double()):
        return None
    share = f"about {10 * round(10 * float(zero.double().mean()))} %"
    for of in (4, 8):
        if zero.shape[1] % of == 0:
            left = (corner.found != 0).unflatten(1, (-1, of)).sum(dim=2)
            if (left <= of // 2).all() and float((left == of // 2).double().mean()) > _ALMOST_ALL:
                share = f"{of // 2} of every {of} values"
                break
    times = "" if abs(factor - 1) <= unit else f" multiplied by {factor:.4g}"
    return m.VALUES_ZEROED, m.VALUES_ZEROED.of_file(share=share, times=times)


# ---- a rotation ----


def _rotated(corner: Corner) -> Seen | None:
    """Recognise rows that keep their lengths and angles, though they are other rows: an orthogonal matrix turned
    them. A new order of columns does so too, but was tried before."""
    if corner.storage != "fp32" or len(corner.found) < 8 or corner.found.shape[1] < 8:
        return None
    if _correlation(corner) > _ALIKE:
        return None
    before, after = (part @ part.T for part in (corner.expected, corner.found))
    scale = float(before.diagonal().mean())
    if float((after - before).abs().max()) <= _KEPT * scale and scale > 0:
        return m.ROTATED, m.ROTATED.of_file()
    return None


_LOOKS: tuple[Callable[[Corner], Seen | None], ...] = (_zeroed, _low_rank, _few_levels, scaled_lines, _rotated)
