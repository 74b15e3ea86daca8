"""List mistakes with norms: other weights, a norm that is missing or applied twice, and LayerNorm."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from verify.diagnosis import engine_mistakes as m
from verify.engine.hint_reference import Load, MistakenReference
from verify.oracle.attention import rms_norm
from verify.oracle.rounding_noise import Noise
from verify.sources import Hyperparameters


def of_norms(hyper: Hyperparameters, load: Load) -> Iterator[MistakenReference]:
    """Yield the mistakes."""

    def without_weights(name: str) -> torch.Tensor:
        return torch.ones_like(load(name)) if name.endswith("norm.weight") else load(name)

    def twice(h: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return rms_norm(h, weight, hyper, Noise())

    yield MistakenReference(m.NORM_WEIGHTS, m.NORM_WEIGHTS.of_engine(), hyper, without_weights)
    for what, ending in (("all norms", "norm.weight"), ("the final norm", "")):
        mistake = m.NORM_ONE_TWICE if hyper.norm_plus_one else m.NORM_PLUS_ONE
        yield MistakenReference(mistake, mistake.of_engine(what=what), hyper, _one_added(load, ending))
    yield MistakenReference(m.NORM_MISSING, m.NORM_MISSING.of_engine(), hyper, load, normed=False)
    yield MistakenReference(m.NORM_TWICE, m.NORM_TWICE.of_engine(), hyper, load, last_norm=twice)
    if all(load(name).all() for name in hyper.shapes() if name.endswith("norm.weight")):
        sentence = m.NORM_CENTRED.of_engine()
        yield MistakenReference(m.NORM_CENTRED, sentence, hyper, load, norm=_centred)


def _one_added(load: Load, ending: str) -> Load:
    """Add 1 to the weights of norms with this ending, or to the last norm's."""

    def added(name: str) -> torch.Tensor:
        chosen = name.endswith(ending) if ending else name == "norm.weight"
        return load(name) + 1 if chosen else load(name)

    return added


def _centred(h: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Turn an RMSNorm's result into LayerNorm's.

    With u = x / sqrt(mean(x^2) + eps), LayerNorm's variance is that of u, plus eps over the same mean: 1 - mean(u^2).
    """
    u = h / weight
    off_centre = u - u.mean(dim=-1, keepdim=True)
    of_eps = 1 - u.square().mean(dim=-1, keepdim=True)
    return weight * off_centre * torch.rsqrt(off_centre.square().mean(dim=-1, keepdim=True) + of_eps)
