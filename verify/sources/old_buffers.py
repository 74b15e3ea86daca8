"""Checks buffers that old checkpoints hold beside their weights, and that models compute for themselves today.

A buffer that holds what it must is dropped. One that holds something else was made for another model, and is refused.
"""

from __future__ import annotations

import torch

from verify.sources.refusal import refusal
from verify.sources.source import Hyperparameters

# Of a frequency or an angle: float32's pow and the rounding of its exponent, for any theta below 1e8.
_RELATIVE = 2.0**-20
# Elements of a mask that are compared at a time.
_BLOCK = 1 << 20


def plain_frequencies(model: Hyperparameters) -> torch.Tensor:
    """Return RoPE's radians a position without any scaling, float64 (head_dim / 2,)."""
    pairs = torch.arange(0, model.head_dim, 2, dtype=torch.float64) / model.head_dim
    return 1.0 / torch.pow(torch.tensor(model.rope_theta, dtype=torch.float64), pairs)


def check_frequencies(where: object, name: str, found: torch.Tensor, model: Hyperparameters) -> None:
    """Raise CannotJudgeError unless a stored inv_freq or rope.freqs holds theta^(-2i / head_dim), unscaled as old
    code kept it, to float32's rounding and that of the type that it is stored in."""
    _check_size(where, name, found)
    expected = plain_frequencies(model)
    if found.numel() != len(expected) or not _near(found.reshape(-1), expected, expected * _RELATIVE):
        of_what = f"the frequencies of rope_theta {model.rope_theta:g} and head size {model.head_dim}"
        raise refusal(where, name, of_what, "others")


def check_rotations(where: object, name: str, found: torch.Tensor, model: Hyperparameters) -> None:
    """Raise CannotJudgeError unless freqs_cos, freqs_sin or freqs_cis, one row a position, holds the cosines,
    sines or both of position * frequency."""
    parts = {"cos": (torch.cos,), "sin": (torch.sin,), "cis": (torch.cos, torch.sin)}[name.rpartition("_")[2]]
    _check_size(where, name, found)
    of_what = f"rotations by rope_theta {model.rope_theta:g} of {model.head_dim // 2} pairs"
    if found.is_complex():
        found = torch.view_as_real(found)
    pairs = model.head_dim // 2
    if found.dim() != 1 + len(parts) or found.shape[1:] != (pairs, *([2] if len(parts) == 2 else [])):
        raise refusal(where, name, of_what, f"the shape {tuple(found.shape)}")
    step = max(1, _BLOCK // pairs)
    for first in range(0, len(found), step):
        rows = found[first : first + step]
        angles = torch.outer(torch.arange(first, first + len(rows), dtype=torch.float64), plain_frequencies(model))
        for number, function in enumerate(parts):
            part = rows if len(parts) == 1 else rows[..., number]
            if not _near(part, function(angles), (angles + 1) * _RELATIVE):
                raise refusal(where, name, of_what, "others")


def check_mask(where: object, name: str, found: torch.Tensor) -> None:
    """Raise CannotJudgeError unless the last two axes are a causal mask: minus infinity above the diagonal, 0 on it
    and below."""
    _check_size(where, name, found)
    length = found.shape[-1] if found.dim() >= 2 else 0
    if not length or found.numel() != length * length or found.shape[-2] != length:
        raise refusal(where, name, "a causal mask, as long as it is wide", f"the shape {tuple(found.shape)}")
    rows, columns = found.reshape(length, length), torch.arange(length)
    step = max(1, _BLOCK // length)
    for first in range(0, length, step):
        block = rows[first : first + step]
        future = columns > torch.arange(first, first + len(block)).unsqueeze(1)
        expected = torch.zeros(block.shape).masked_fill_(future, -torch.inf)
        if not torch.equal(block.to(torch.float32), expected):
            raise refusal(where, name, "a causal mask: 0, and minus infinity above the diagonal", "other numbers")


def _near(found: torch.Tensor, expected: torch.Tensor, tolerance: torch.Tensor) -> bool:
    """Whether numbers differ by no more than tolerance and a rounding to the type that they are stored in."""
    about = torch.finfo(found.dtype)
    tolerance = tolerance + expected.abs() * about.eps + about.tiny * about.eps
    return bool(((found.double() - expected).abs() <= tolerance).all())


def _check_size(where: object, name: str, found: torch.Tensor) -> None:
    """Refuse a view that repeats a few numbers over and over: what it is compared with would fill the memory."""
    if not (found.is_floating_point() or found.is_complex()) or found.layout != torch.strided:
        raise refusal(where, name, "a dense float tensor", "otherwise")
    if found.device.type != "cpu" or found.numel() * found.element_size() > found.untyped_storage().nbytes():
        raise refusal(where, name, "as many numbers as it has elements", "a view that repeats some")
