"""List mistakes with RoPE's frequencies: another exponent, angles that are multiplied, pairs that are not rotated."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

from verify.diagnosis import engine_mistakes as m
from verify.diagnosis.frequencies import mistaken_frequencies, with_exponents
from verify.engine.hint_reference import Load, MakeWatch, MistakenReference
from verify.engine.hint_rope import rotating
from verify.oracle import rope
from verify.sources import Hyperparameters

# Angles times these: RoPE applied twice, and positions divided as linear scaling does.
_FACTORS = (2.0, 0.5, 0.25, 0.125)
# number of heads -> radians a position, (heads, rotary_dim / 2)
Frequencies = Callable[[int], torch.Tensor]


def of_frequencies(hyper: Hyperparameters, load: Load) -> Iterator[MistakenReference]:
    """Yield the mistakes, if every layer has the same RoPE, without a scaling that depends on frequencies."""
    kinds = {hyper.layer(number).rope for number in range(hyper.n_layers)}
    if kinds != {"first"} or hyper.rope_scaling.type not in ("none", "linear") or hyper.rotated < 4:
        return
    right, half = rope.frequencies(hyper), hyper.rotated // 2

    for found, frequencies in mistaken_frequencies(hyper).items():
        yield _made(hyper, load, found, _every_head(frequencies))
    for width, what in ((hyper.dim, "dim"), (0, "the width of queries or keys")):

        def on(heads: int, width: int = width) -> torch.Tensor:
            place = torch.arange(heads * half, dtype=torch.float64).view(heads, half)
            return with_exponents(hyper, 2 * place / (width or heads * hyper.head_dim))

        found = (
            f"from the element's place among all heads over {what}, instead of its place in the head over head_dim"
        )
        yield _made(hyper, load, found, on)
    for factor in _FACTORS:
        twice = ", as if RoPE were applied twice" if factor == 2 else ""
        yield _made(hyper, load, f"{factor:g} times as large{twice}", _every_head(factor * right))
    for found, angle in _ANGLES.items():
        sentence = m.ROPE_FREQUENCIES.of_engine(found=found)
        rotate = _turning(_every_head(right), angle)
        yield MistakenReference(m.ROPE_FREQUENCIES, sentence, hyper, load, rotate)
    first, pairs = torch.arange(half) < half // 2, torch.arange(half, dtype=torch.float64)
    for found, frequencies in (
        ("with the frequencies of the whole head", right * first),
        ("with frequencies of its own", with_exponents(hyper, 2 * pairs / half) * first),
    ):
        sentence = m.ROPE_PARTIAL.of_engine(found=found)
        yield MistakenReference(m.ROPE_PARTIAL, sentence, hyper, load, _turning(_every_head(frequencies)))


# Changes of the angles themselves, by what an engine then does with frequencies.
_ANGLES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "and takes angles for degrees": torch.deg2rad,
    "and rounds angles to whole numbers": torch.round,
}


def _made(hyper: Hyperparameters, load: Load, found: str, of: Frequencies) -> MistakenReference:
    sentence = m.ROPE_FREQUENCIES.of_engine(found=found)
    return MistakenReference(m.ROPE_FREQUENCIES, sentence, hyper, load, _turning(of))


def _every_head(frequencies: torch.Tensor) -> Frequencies:
    return lambda heads: frequencies.expand(heads, -1)


def _turning(of: Frequencies, change: Callable[[torch.Tensor], torch.Tensor] = torch.Tensor.double) -> MakeWatch:
    def rotate(heads: torch.Tensor, rotations: torch.Tensor) -> torch.Tensor:
        positions = torch.arange(heads.shape[1], dtype=torch.float64).view(-1, 1, 1)
        angles = change(positions * of(heads.shape[2]))
        turned = torch.polar(torch.ones_like(angles), angles).to(rotations.dtype)
        pairs = torch.view_as_complex(heads.unflatten(-1, (-1, 2)).contiguous())
        return torch.view_as_real(pairs * turned).flatten(-2)

    return rotating(rotate, "q", "k")
