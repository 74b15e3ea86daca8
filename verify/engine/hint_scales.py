"""List products with Q8_0 weights that take their scales from a wrong place, or whose sums of int8 overflow."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

from verify.diagnosis import engine_mistakes as m
from verify.engine.hint_operands import PRODUCTS
from verify.engine.hint_reference import Load, MistakenReference
from verify.engine.hint_rewired import LayerSoFar, Rewire, rewired
from verify.sources import Hyperparameters

# (row (rows, 1), group (groups,), rows, groups of a row) -> which scale of the matrix an engine takes
Place = Callable[[torch.Tensor, torch.Tensor, int, int], torch.Tensor]
Sum = Callable[[torch.Tensor], torch.Tensor]
# Products of a sum that is tried step by step: longer ones take too much memory.
_MOST_PRODUCTS = 1 << 27


def of_scales(hyper: Hyperparameters, load: Load, group_size: int) -> Iterator[MistakenReference]:
    """Yield scales from wrong places. group_size: of Q8_0 tensors."""
    kinds = [(matrix.split(".")[1], f".{matrix}.weight") for matrix, _ in PRODUCTS.values()]
    for found, place in _places(hyper, group_size).items():
        sentence = m.SCALE_PLACE.of_engine(what="every matrix", found=found)
        # the classifier is not among them, because engines read it by other code as often as not
        endings = tuple(ending for _, ending in kinds)
        yield MistakenReference(m.SCALE_PLACE, sentence, hyper, _placed(load, endings, place, group_size))
        for what, ending in kinds:
            sentence = m.SCALE_PLACE.of_engine(what=what, found=found)
            yield MistakenReference(m.SCALE_PLACE, sentence, hyper, _placed(load, (ending,), place, group_size))


def _places(hyper: Hyperparameters, group_size: int) -> dict[str, Place]:
    places: dict[str, Place] = {
        "the row before": lambda row, group, rows, groups: (row - 1) % rows * groups + group,
        "the next row": lambda row, group, rows, groups: (row + 1) % rows * groups + group,
        "the first group of the row": lambda row, group, _rows, groups: row * groups + 0 * group,
        "the last group of the row": lambda row, group, _rows, groups: row * groups + groups - 1 + 0 * group,
        "row 0": lambda row, group, _rows, _groups: 0 * row + group,
        "the group whose number is the row's": lambda row, group, _rows, _groups: row + 0 * group,
        "the same place in transposed scales": lambda row, group, rows, _groups: group * rows + row,
        "group 0 of the matrix": lambda row, group, _rows, _groups: 0 * (row + group),
        "the group at the same place from the end of the row": lambda row, group, _rows, groups: (
            row * groups + groups - 1 - group
        ),
    }
    widths = {
        "dim": hyper.dim,
        "hidden_dim": hyper.hidden_dim,
        "the width of keys": hyper.n_kv_heads * hyper.head_dim,
    }
    for name, width in widths.items():
        if stride := width // group_size:
            places[f"rows of {name} inputs"] = lambda row, group, _rows, _groups, stride=stride: row * stride + group  # type: ignore[misc]
    return places


def _placed(load: Load, endings: tuple[str, ...], place: Place, group_size: int) -> Load:
    """Divide each group by its own scale and multiply it by another one. The largest int8 of a group is 127."""

    def other(name: str) -> torch.Tensor:
        weights: torch.Tensor = load(name)
        if not name.endswith(endings) or weights.shape[-1] % group_size:
            return weights
        grouped = weights.unflatten(-1, (-1, group_size))
        peak = grouped.abs().amax(dim=-1)
        rows, groups = peak.shape
        taken = place(torch.arange(rows).unsqueeze(1), torch.arange(groups), rows, groups)
        ratio = torch.where(peak > 0, peak.flatten()[taken % peak.numel()] / peak, 0.0)
        placed: torch.Tensor = grouped * ratio.unsqueeze(-1)
        return placed.flatten(-2)

    return other


def of_sums(hyper: Hyperparameters, load: Load, group_size: int) -> Iterator[MistakenReference]:
    """Yield sums of int8 products that are held in too few bits."""
    for found, add in _SUMS.items():
        sentence = m.INT8_SUMS.of_engine(found=found)
        head = _of_classifier(load, add, group_size)
        run = rewired(_summing(add, group_size))
        yield MistakenReference(m.INT8_SUMS, sentence, hyper, load, run=run, classify=head)


def _product(x: torch.Tensor, weights: torch.Tensor, add: Sum, size: int) -> torch.Tensor:
    """Multiply as int8 engines do: whole numbers within each group, then both scales."""
    q, scale = _int8(x.flatten(0, -2), size)
    r, other = _int8(weights, size)
    y = torch.zeros(len(q), len(r), dtype=x.dtype)
    # some rows at a time
    step = max(1, _MOST_PRODUCTS // max(1, q.numel()))
    for row in range(0, len(r), step):
        rows = slice(row, row + step)
        for group in range(q.shape[1]):
            total = add(q[:, None, group] * r[None, rows, group])
            y[:, rows] += total * scale[:, None, group] * other[None, rows, group]
    return y.view(*x.shape[:-1], -1)


def _int8(x: torch.Tensor, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    grouped = x.unflatten(-1, (-1, size))
    scale = grouped.abs().amax(-1) / 127
    q = torch.where(scale.unsqueeze(-1) > 0, grouped / scale.unsqueeze(-1), 0.0)
    return torch.sign(q) * torch.floor(q.abs() + 0.5), scale


def _summing(add: Sum, size: int) -> Rewire:
    def change(operation: str, y: torch.Tensor, seen: LayerSoFar) -> torch.Tensor:
        matrix, right = PRODUCTS.get(operation, ("", ""))
        if not matrix or seen.made[right].shape[-1] % size:
            return y
        name = f"layers.{seen.number}.{matrix}"
        made = _product(seen.made[right], seen.load(f"{name}.weight").to(y.dtype), add, size)
        return made + seen.load(f"{name}.bias").to(y.dtype) if f"{name}.bias" in seen.hyper.shapes() else made

    return change


def _of_classifier(load: Load, add: Sum, size: int) -> Callable[[torch.Tensor, str], torch.Tensor]:
    return lambda x, name: _product(x, load(name).to(x.dtype), add, size)


def _saturating(bits: int) -> Sum:
    limit = 2.0 ** (bits - 1)

    def add(products: torch.Tensor) -> torch.Tensor:
        total = torch.zeros_like(products[..., 0])
        for one in products.unbind(-1):
            total = (total + one).clamp(-limit, limit - 1)
        return total

    return add


def _wrapping(bits: int) -> Sum:
    return lambda products: (products.sum(-1) + 2.0 ** (bits - 1)).remainder(2.0**bits) - 2.0 ** (bits - 1)


def _pairs(products: torch.Tensor) -> torch.Tensor:
    if products.shape[-1] % 2:
        return products.sum(-1)
    pairs: torch.Tensor = products.unflatten(-1, (-1, 2))
    return pairs.sum(-1).clamp(-32768, 32767).sum(-1)


_SUMS: dict[str, Sum] = {
    "int16, which saturates": _saturating(16),
    "int16, which wraps": _wrapping(16),
    "int16 only at the end of each group, where it saturates": lambda products: products.sum(-1).clamp(-32768, 32767),
    "int16 for products of pairs, which saturate": _pairs,
    "int8 for products, which saturate": lambda products: products.clamp(-128, 127).sum(-1),
    "int8 for products, which wrap": lambda products: ((products + 128).remainder(256) - 128).sum(-1),
    "fp16": lambda products: products.sum(-1).half().to(products.dtype),
    "bf16": lambda products: products.sum(-1).bfloat16().to(products.dtype),
}
