"""List RoPE whose positions, frequencies, angles, sines or cosines are computed in half precision."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

from verify.diagnosis import engine_mistakes as m
from verify.engine.hint_precision import HALVES
from verify.engine.hint_reference import Load, MistakenReference
from verify.engine.hint_rope import Rotate, rotating
from verify.sources import Hyperparameters

Narrow = Callable[[torch.Tensor], torch.Tensor]
# What is rounded together, from a table of sines alone to a whole program in half precision.
_TABLES = (
    ("angles",),
    ("sines and cosines",),
    ("angles", "sines and cosines"),
    ("frequencies", "angles"),
    ("positions", "frequencies", "angles"),
    ("positions", "frequencies", "angles", "sines and cosines"),
    ("frequencies",),
    ("positions",),
    ("frequencies", "sines and cosines"),
    ("frequencies", "angles", "sines and cosines"),
)


def of_angles(hyper: Hyperparameters, load: Load) -> Iterator[MistakenReference]:
    """Yield the mistakes. An engine has float32 before it rounds, so that its own roundings count."""
    if all(hyper.layer(number).rope == "none" for number in range(hyper.n_layers)):
        return
    for found, narrow in HALVES.items():
        for table in _TABLES:
            sentence = m.ROPE_NARROWED.of_engine(what=_listed(table), found=found)
            rotate = rotating(_rounded(table, narrow), "q", "k")
            yield MistakenReference(m.ROPE_NARROWED, sentence, hyper, load, rotate, coarse=True, shared=True)


def _listed(table: tuple[str, ...]) -> str:
    return ", ".join(table[:-1]) + " and " + table[-1] if len(table) > 1 else table[0]


def _rounded(table: tuple[str, ...], narrow: Narrow) -> Rotate:
    def held(of: torch.Tensor, what: str) -> torch.Tensor:
        return narrow(of.float()) if what in table else of.float()

    def rotate(heads: torch.Tensor, rotations: torch.Tensor) -> torch.Tensor:
        # position 1 turns by the frequencies themselves
        frequencies = held(rotations[1].to(torch.complex128).angle(), "frequencies")
        positions = held(torch.arange(heads.shape[1]).unsqueeze(1), "positions")
        angles = held(positions * frequencies, "angles")
        turn = (held(each * rotations[1].abs(), "sines and cosines") for each in (angles.cos(), angles.sin()))
        cosine, sine = (each.to(heads.dtype).unsqueeze(1) for each in turn)
        x, y = heads.unflatten(-1, (-1, 2)).unbind(-1)
        return torch.stack((x * cosine - y * sine, x * sine + y * cosine), dim=-1).flatten(-2)

    return rotate
