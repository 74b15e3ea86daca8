"""List mistakes with int8 activations: how they are rounded and scaled, and products that read floats instead."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import torch

from verify.diagnosis import engine_mistakes as m
from verify.diagnosis.mistakes import Mistake
from verify.engine.hint_reference import Load, MistakenReference
from verify.oracle import llama
from verify.oracle.int8_noise import GroupSize, half_away
from verify.sources import Hyperparameters

Change = Callable[[torch.Tensor], torch.Tensor]
# The kinds of matrices before which an engine may forget to round, with what a sentence calls them.
_KINDS = {
    "the classifier": ("output.weight", "tok_embeddings.weight"),
    "wq, wk and wv": ("wq.weight", "wk.weight", "wv.weight"),
    "wo": ("wo.weight",),
    "w1 and w3": ("w1.weight", "w3.weight"),
    "w2": ("w2.weight",),
}


def _same(tensor: torch.Tensor) -> torch.Tensor:
    return tensor


def _largest(grouped: torch.Tensor) -> torch.Tensor:
    return grouped.abs().amax(-1, keepdim=True)


@dataclass(frozen=True)
class Int8Rounding:
    """Rounds what a product with a Q8_0 matrix reads to int8, rightly unless told otherwise.

    size_of: the group size of a matrix, 0 if it is not Q8_0. steps: rounds quotients. scaled: changes the scales
    (..., groups, 1) that divide and multiply; multiplied: those that multiply. kept: changes the products' inputs
    (..., groups, size). peak_over: what the largest magnitude becomes. peak: the largest
    magnitude of each group.
    """

    size_of: GroupSize
    steps: Change = half_away
    scaled: Change = _same
    multiplied: Change = _same
    kept: Change = _same
    peak_over: float = 127.0
    peak: Change = _largest

    def __call__(self, x: torch.Tensor, matrix: str) -> torch.Tensor:
        """Return x (..., in_features) as int8 activations represent it."""
        size = self.size_of(matrix)
        if not size:
            return x
        grouped = x.unflatten(-1, (-1, size))
        scale = self.scaled(self.peak(grouped) / self.peak_over)
        q = self.steps(torch.where(scale > 0, grouped / scale, 0.0)).clamp(-128, 127)
        return self.kept(q * self.multiplied(scale)).flatten(-2)


def of_file(hyper: Hyperparameters, size_of: GroupSize) -> GroupSize:
    """Return group sizes by the names that references ask for: some read a tied classifier under its own name."""
    right = llama.classifier(hyper)
    return lambda matrix: size_of(right if matrix == "output.weight" else matrix)


def mistaken_roundings(hyper: Hyperparameters, load: Load, right: Int8Rounding) -> Iterator[MistakenReference]:
    """Yield the mistakes. right: rounds as the reader does."""

    def made(mistake: Mistake, inputs: llama.Inputs, **fields: object) -> MistakenReference:
        return MistakenReference(mistake, mistake.of_engine(**fields), hyper, load, inputs=inputs)

    yield made(m.INT8_MISSING, llama.unrounded)
    for what, steps in _ROUNDINGS.items():
        yield made(m.INT8_ROUNDING, replace(right, steps=steps), found=what)
    for what, other in _scalings(right).items():
        yield made(m.INT8_SCALES, other, what=what)
    yield from _of_sizes(hyper, load, right)
    yield made(m.INT8_LAST_PRODUCT, replace(right, kept=_without_last))
    for what, endings in _KINDS.items():
        yield made(m.INT8_MISSING_BEFORE, _but_before(right, endings), what=what)


def _of_sizes(hyper: Hyperparameters, load: Load, right: Int8Rounding) -> Iterator[MistakenReference]:
    """Yield activations with scales for groups of another size, where every row is whole groups of it."""
    sizes = {right.size_of(name) for name, shape in hyper.shapes().items() if len(shape) == 2} - {0}
    widths = {shape[1] for shape in hyper.shapes().values() if len(shape) == 2}
    for times, words in ((2, "twice as long as"), (0.5, "half as long as"), (4, "4 times as long as")):
        if all(size * times >= 1 and width % (size * times) == 0 for size in sizes for width in widths):
            sentence = m.INT8_SCALES.of_engine(
                what=f"has scales for groups of activations that are {words} the file's"
            )
            inputs = replace(right, size_of=partial(_times, right.size_of, times))
            yield MistakenReference(m.INT8_SCALES, sentence, hyper, load, inputs=inputs)


def _times(size_of: GroupSize, times: float, matrix: str) -> int:
    return int(size_of(matrix) * times)


def _scalings(right: Int8Rounding) -> dict[str, Int8Rounding]:
    """Return other scales of activations, by what the engine then does."""
    return {
        "divides the largest activation of each group by 128 instead of 127": replace(right, peak_over=128.0),
        "rounds activations to 4 bits instead of 8": replace(right, peak_over=7.0),
        "has one scale for all activations of a product instead of one for each group": replace(
            right, scaled=_widest
        ),
        "rounds the scales of activations to fp16": replace(right, scaled=lambda scale: scale.half().to(scale.dtype)),
        "rounds the scales of activations to bf16": replace(
            right, scaled=lambda scale: scale.bfloat16().to(scale.dtype)
        ),
        "multiplies by the scale of the group before": replace(right, multiplied=_moved(1)),
        "multiplies by the scale of the group after": replace(right, multiplied=_moved(-1)),
        "does not multiply by the scales of activations": replace(right, multiplied=torch.ones_like),
        "takes scales from the largest activation of each group instead of the largest magnitude": replace(
            right, peak=lambda grouped: grouped.amax(-1, keepdim=True).clamp(min=0)
        ),
        "takes scales from the mean magnitude of each group": replace(
            right, peak=lambda grouped: grouped.abs().mean(-1, keepdim=True)
        ),
        "takes scales from the first activation of each group": replace(right, peak=lambda g: g[..., :1].abs()),
        "takes scales from all but the last activation of each group": replace(
            right, peak=lambda grouped: grouped[..., :-1].abs().amax(-1, keepdim=True)
        ),
        "takes the scale of the first group for all groups": replace(
            right, scaled=lambda scale: scale[..., :1, :].expand_as(scale)
        ),
        "takes scales of the position before": replace(right, scaled=_late),
        "multiplies by scales of the position before": replace(right, multiplied=_late),
        "rounds the scales of activations up to powers of 2": replace(
            right, scaled=lambda scale: torch.exp2(torch.log2(scale).ceil())
        ),
        "divides the largest activation of each group by 126 instead of 127": replace(right, peak_over=126.0),
        "divides the largest activation of each group by 255 instead of 127": replace(right, peak_over=255.0),
        "divides the largest activation of each group by 63 instead of 127": replace(right, peak_over=63.0),
    }


def _widest(scale: torch.Tensor) -> torch.Tensor:
    return scale.amax(dim=-2, keepdim=True).expand_as(scale)


def _late(scale: torch.Tensor) -> torch.Tensor:
    return torch.cat((scale[:, :1], scale[:, :-1]), dim=1)


def _moved(by: int) -> Change:
    """Move scales by a group; the one at the end stays where it is."""

    def move(scale: torch.Tensor) -> torch.Tensor:
        if by > 0:
            return torch.cat((scale[..., :1, :], scale[..., :-1, :]), dim=-2)
        return torch.cat((scale[..., 1:, :], scale[..., -1:, :]), dim=-2)

    return move


def _without_last(grouped: torch.Tensor) -> torch.Tensor:
    return torch.cat((grouped[..., :-1], torch.zeros_like(grouped[..., -1:])), dim=-1)


def _but_before(right: Int8Rounding, endings: tuple[str, ...]) -> llama.Inputs:
    return lambda x, matrix: x if matrix.endswith(endings) else right(x, matrix)


_ROUNDINGS: dict[str, Change] = {
    "towards zero": torch.trunc,
    "down": torch.floor,
    "up": torch.ceil,
    "to even numbers": lambda quotient: 2 * half_away(quotient / 2),
    "to magnitudes": lambda quotient: half_away(quotient).abs(),
    "and clamps them to +-126": lambda quotient: half_away(quotient).clamp(-126, 126),
    "away from zero": lambda quotient: torch.sign(quotient) * torch.ceil(quotient.abs()),
    "after adding 1": lambda quotient: half_away(quotient + 1),
}
