"""List products with Q8_0 weights whose scales or int8 values are read wrongly, or whose sums of int8 overflow."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import torch

from verify.diagnosis import engine_mistakes as m
from verify.engine.hint_operands import PRODUCTS
from verify.engine.hint_reference import Load, MistakenReference
from verify.engine.hint_rewired import LayerSoFar, Rewire, rewired
from verify.oracle import llama
from verify.sources import Hyperparameters

# (row (rows, 1), group (groups,), rows, groups of a row) -> which scale of the matrix an engine takes
Place = Callable[[torch.Tensor, torch.Tensor, int, int], torch.Tensor]
Sum = Callable[[torch.Tensor], torch.Tensor]
# (int8 values (rows, groups, size), scales (rows, groups), the matrix's name) -> what the engine multiplies by
Dequantize = Callable[[torch.Tensor, torch.Tensor, str], torch.Tensor]
# Products of a sum that is tried step by step: longer ones take too much memory.
_MOST_PRODUCTS = 1 << 27
_EMBEDDING, _CLASSIFIER = "tok_embeddings.weight", "output.weight"
_KINDS = {matrix.split(".")[1]: f".{matrix}.weight" for matrix, _ in PRODUCTS.values()}
# one function multiplies them all, or some
_SETS = {
    "every matrix": tuple(_KINDS.values()),
    "every matrix and the classifier": (*_KINDS.values(), _CLASSIFIER),
    "every matrix, the classifier and the embedding": (*_KINDS.values(), _CLASSIFIER, _EMBEDDING),
    "the classifier": (_CLASSIFIER,),
    "the embedding": (_EMBEDDING,),
}


def of_scales(hyper: Hyperparameters, load: Load, group_size: int) -> Iterator[MistakenReference]:
    """Yield weights with wrong scales or int8 values in all matrices. group_size: of Q8_0 tensors."""
    yield from _of_sets(hyper, load, group_size, _SETS)


def of_scales_of_kinds(hyper: Hyperparameters, load: Load, group_size: int) -> Iterator[MistakenReference]:
    """Yield the same in one kind of matrices."""
    yield from _of_sets(hyper, load, group_size, {kind: (ending,) for kind, ending in _KINDS.items()})


def _of_sets(
    hyper: Hyperparameters, load: Load, group_size: int, sets: dict[str, tuple[str, ...]]
) -> Iterator[MistakenReference]:
    placed = {found: _placed(place) for found, place in _places(hyper, group_size).items()}
    others = _of_others(hyper, load, group_size)
    # a tied classifier is read by itself
    untied, right = replace(hyper, tied=False), llama.classifier(hyper)
    for mistake, held in (
        (m.SCALE_PLACE, placed),
        (m.SCALE_PLACE, others),
        (m.WEIGHTS_READ, _READ),
    ):
        for found, dequantize in held.items():
            for what, endings in sets.items():
                # other matrices of a layer are those of its own kinds
                if held is others and not set(endings) <= set(_KINDS.values()):
                    continue
                wrong = _read(load, right, endings, dequantize, group_size)
                sentence = mistake.of_engine(what=what, found=found)
                yield MistakenReference(mistake, sentence, untied, wrong, shared=sets is _SETS)


def _places(hyper: Hyperparameters, group_size: int) -> dict[str, Place]:
    """Return wrong places within the scales of a matrix, the likely ones first."""
    places: dict[str, Place] = {
        "row 0": lambda row, group, _rows, _groups: 0 * row + group,
        "the first group of the row": lambda row, group, _rows, groups: row * groups + 0 * group,
        "the same place in transposed scales": lambda row, group, rows, _groups: group * rows + row,
        "group 0 of the matrix": lambda row, group, _rows, _groups: 0 * (row + group),
        "the group whose number is the row's": lambda row, group, _rows, _groups: row + 0 * group,
        "the row before": lambda row, group, rows, groups: (row - 1) % rows * groups + group,
        "the next row": lambda row, group, rows, groups: (row + 1) % rows * groups + group,
        "the last group of the row": lambda row, group, _rows, groups: row * groups + groups - 1 + 0 * group,
        "the group whose number is the row's and the group's together": lambda row, group, _rows, _groups: (
            row + group
        ),
        "the group at the same place from the end of the row": lambda row, group, _rows, groups: (
            row * groups + groups - 1 - group
        ),
        "the same place from the end of the matrix": lambda row, group, rows, groups: (
            rows * groups - 1 - row * groups - group
        ),
        "every second group": lambda row, group, _rows, groups: row * groups + group // 2 * 2,
        "the group at twice the place": lambda row, group, _rows, groups: 2 * (row * groups + group),
        "half of the group's place within the row": lambda row, group, _rows, groups: row * groups + group // 2,
        "every second row": lambda row, group, _rows, groups: row // 2 * 2 * groups + group,
        "the group after in the row (the last its own)": lambda row, group, _rows, groups: (
            row * groups + (group + 1).clamp(max=groups - 1)
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


def _placed(place: Place) -> Dequantize:
    def made(q: torch.Tensor, scale: torch.Tensor, _name: str) -> torch.Tensor:
        rows, groups = scale.shape
        taken = place(torch.arange(rows).unsqueeze(1), torch.arange(groups), rows, groups)
        return q * scale.flatten()[taken % scale.numel()].unsqueeze(-1)

    return made


def _of_others(hyper: Hyperparameters, load: Load, group_size: int) -> dict[str, Dequantize]:
    """Return scales of another matrix, from the same place."""
    shapes = hyper.shapes()
    kinds = [matrix for matrix, _ in PRODUCTS.values() if f"layers.0.{matrix}.weight" in shapes]
    before = {kind: kinds[number - 1] for number, kind in enumerate(kinds)}
    after = {kind: kinds[(number + 1) % len(kinds)] for number, kind in enumerate(kinds)}
    count = hyper.n_layers

    def other(of: Callable[[str], str]) -> Dequantize:
        def made(q: torch.Tensor, scale: torch.Tensor, name: str) -> torch.Tensor:
            # layers with experts have other matrices than those without
            taken = scales_of(load(of(name) if of(name) in shapes else name), group_size).flatten()
            return q * taken[torch.arange(scale.numel()) % taken.numel()].view(scale.shape).unsqueeze(-1)

        return made

    def kind(to: dict[str, str]) -> Callable[[str], str]:
        return lambda name: _renamed(name, lambda number, of: (number, to.get(of, of)))

    def layer(to: Callable[[int], int]) -> Callable[[str], str]:
        return lambda name: _renamed(name, lambda number, of: (to(number), of))

    found = {"the matrix before it in the layer": kind(before), "the matrix after it in the layer": kind(after)}
    if count > 1:
        found |= {
            "layer 0": layer(lambda _number: 0),
            "the layer before": layer(lambda number: max(0, number - 1)),
            "the next layer": layer(lambda number: min(count - 1, number + 1)),
        }
    return {what: other(of) for what, of in found.items()}


def _renamed(name: str, to: Callable[[int, str], tuple[int, str]]) -> str:
    if not name.startswith("layers."):
        return name
    _, number, kind = name.removesuffix(".weight").split(".", 2)
    layer, other = to(int(number), kind)
    return f"layers.{layer}.{other}.weight"


# What is read of a group, if not its int8 values times its scale.
_READ: dict[str, Dequantize] = {
    "without their scales": lambda q, _scale, _name: q,
    "times their scales twice": lambda q, scale, _name: q * scale.unsqueeze(-1).square(),
    "with their scales rounded to fp16": lambda q, scale, _name: q * scale.unsqueeze(-1).half().to(q.dtype),
    "with their scales rounded to bf16": lambda q, scale, _name: q * scale.unsqueeze(-1).bfloat16().to(q.dtype),
    "with int8 values as unsigned ones": lambda q, scale, _name: q.remainder(256) * scale.unsqueeze(-1),
    "with int8 values less 128": lambda q, scale, _name: (q - 128) * scale.unsqueeze(-1),
    "with int8 values plus 1": lambda q, scale, _name: (q + 1) * scale.unsqueeze(-1),
    "with magnitudes of int8 values": lambda q, scale, _name: q.abs() * scale.unsqueeze(-1),
    "without the last value of each group": lambda q, scale, _name: _but_last(q) * scale.unsqueeze(-1),
    "with 1 for the scale of each row's last group": lambda q, scale, _name: q * _last_group_one(scale).unsqueeze(-1),
    "with scales of groups that are twice as long": lambda q, scale, _name: _longer(q, scale, 2),
    "with scales of groups that are half as long": lambda q, scale, _name: _shorter(q, scale),
    "with scales of groups that are 4 times as long": lambda q, scale, _name: _longer(q, scale, 4),
}


def _but_last(q: torch.Tensor) -> torch.Tensor:
    return torch.cat((q[..., :-1], torch.zeros_like(q[..., -1:])), dim=-1)


def _last_group_one(scale: torch.Tensor) -> torch.Tensor:
    return torch.cat((scale[:, :-1], torch.ones_like(scale[:, -1:])), dim=-1)


def _longer(q: torch.Tensor, scale: torch.Tensor, times: int) -> torch.Tensor:
    read: torch.Tensor = q * scale.flatten()[torch.arange(scale.numel()) // times].view(*scale.shape, 1)
    return read


def _shorter(q: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    size = q.shape[-1]
    taken = torch.arange(q.numel()) // max(1, size // 2) % scale.numel()
    read: torch.Tensor = q * scale.flatten()[taken].view(q.shape)
    return read


def scales_of(weights: torch.Tensor, group_size: int) -> torch.Tensor:
    """Return the scales (rows, groups) of a Q8_0 matrix: the largest int8 of a group is 127."""
    scales: torch.Tensor = weights.unflatten(-1, (-1, group_size)).abs().amax(dim=-1) / 127
    return scales


def _read(load: Load, classifier: str, endings: tuple[str, ...], dequantize: Dequantize, group_size: int) -> Load:
    """Read the int8 values and scales of some matrices wrongly. classifier: the name of the right one."""

    def other(name: str) -> torch.Tensor:
        weights: torch.Tensor = load(classifier if name == _CLASSIFIER else name)
        if not name.endswith(endings) or weights.shape[-1] % group_size:
            return weights
        scale = scales_of(weights, group_size)
        grouped = weights.unflatten(-1, (-1, group_size))
        q = torch.where(scale.unsqueeze(-1) > 0, grouped / scale.unsqueeze(-1), 0.0).round()
        read: torch.Tensor = dequantize(q, scale, name).flatten(-2)
        return read

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
