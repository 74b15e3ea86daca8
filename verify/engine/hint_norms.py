"""List mistakes with norms: other weights, a norm that is missing or applied twice, and LayerNorm."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace

import torch

from verify.diagnosis import engine_mistakes as m
from verify.engine.hint_reference import Load, MistakenReference, Norm
from verify.oracle.attention import rms_norm
from verify.oracle.rounding_noise import Noise
from verify.sources import Hyperparameters


def of_norms(hyper: Hyperparameters, load: Load) -> Iterator[MistakenReference]:
    """Yield the mistakes."""

    def twice(h: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return rms_norm(h, weight, hyper, Noise())

    for what, ending in (("the norms", "norm.weight"), ("the final norm", "")):
        sentence = m.NORM_WEIGHTS.of_engine(what=what)
        yield MistakenReference(m.NORM_WEIGHTS, sentence, hyper, _changed(load, ending, torch.ones_like))
    if hyper.dim > 1 and not hyper.norm_plus_one:
        yield _mean_over_fewer(hyper, load)
    for what, ending in (("all norms", "norm.weight"), ("the final norm", "")):
        mistake = m.NORM_ONE_TWICE if hyper.norm_plus_one else m.NORM_PLUS_ONE
        yield MistakenReference(mistake, mistake.of_engine(what=what), hyper, _changed(load, ending, _one_added))
    yield MistakenReference(m.NORM_MISSING, m.NORM_MISSING.of_engine(), hyper, load, normed=False)
    yield MistakenReference(m.NORM_TWICE, m.NORM_TWICE.of_engine(), hyper, load, last_norm=twice)
    if all(load(name).all() for name in hyper.shapes() if name.endswith("norm.weight")):
        sentence = m.NORM_CENTRED.of_engine()
        yield MistakenReference(m.NORM_CENTRED, sentence, hyper, load, norm=_centred)
    yield from _of_formulas(hyper, load)


def _of_formulas(hyper: Hyperparameters, load: Load) -> Iterator[MistakenReference]:
    """Yield norms by other formulas, where they stand before attention and feed forward alone."""
    if hyper.norm_place != "before" or hyper.norm_plus_one or hyper.qk_norm != "none":
        return
    eps = torch.tensor(hyper.norm_eps, dtype=torch.float32).item()

    def made(what: str, size: Callable[[torch.Tensor], torch.Tensor]) -> MistakenReference:
        def norm(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
            return weight * x / size(x.square())

        sentence = m.NORM_FORMULA.of_engine(found=what)
        return MistakenReference(m.NORM_FORMULA, sentence, hyper, load, computed_norm=norm)

    yield made("sqrt(mean of squares) + epsilon", lambda squares: squares.mean(-1, keepdim=True).sqrt() + eps)
    yield made("the root of the sum of squares", lambda squares: (squares.sum(-1, keepdim=True) + eps).sqrt())
    yield made("the mean of squares without its root", lambda squares: squares.mean(-1, keepdim=True) + eps)
    yield made("1", lambda squares: torch.ones_like(squares[..., :1]))
    yield made("the mean of magnitudes", lambda squares: squares.sqrt().mean(-1, keepdim=True))
    yield made("the largest magnitude", lambda squares: squares.amax(-1, keepdim=True).sqrt())
    yield made("the root of the mean of squares + epsilon squared", lambda squares: (_mean(squares) + eps**2).sqrt())
    yield made("the root of the mean over dim - 2", lambda squares: _root(squares * hyper.dim / (hyper.dim - 2)))
    for omitted, missing in _omitted(hyper.dim).items():
        what = f"sqrt(sum of squares without {omitted} over dim + epsilon)"
        yield made(what, lambda squares, missing=missing: (_mean(squares * ~missing) + eps).sqrt())  # type: ignore[misc]
    for found, whole in _wholes(eps).items():
        sentence = m.NORM_WHOLE.of_engine(found=found)
        yield MistakenReference(m.NORM_WHOLE, sentence, hyper, load, computed_norm=whole)


def _omitted(dim: int) -> dict[str, torch.Tensor]:
    """Return elements that a sum over a vector may omit."""
    place = torch.arange(dim)
    found = {"the last element": place == dim - 1, "the first element": place == 0}
    for lanes in (4, 8, 16):
        found[f"every {lanes}th element, from element {lanes - 1} on,"] = place % lanes == lanes - 1
        found[f"the elements after the last multiple of {lanes}"] = place >= dim // lanes * lanes
    return {omitted: missing for omitted, missing in found.items() if missing.any()}


def _mean(squares: torch.Tensor) -> torch.Tensor:
    return squares.mean(-1, keepdim=True)


def _root(squares: torch.Tensor) -> torch.Tensor:
    return _mean(squares).sqrt()


def _wholes(eps: float) -> dict[str, Norm]:
    """Return norms that are wrong as a whole, by what they compute."""

    def rms(x: torch.Tensor) -> torch.Tensor:
        return x * torch.rsqrt(_mean(x.square()) + eps)

    return {
        "multiplies by their weights before the root mean square is taken": lambda x, w: rms(x * w),
        "multiplies by their weights twice": lambda x, w: rms(x) * w * w,
        "adds their weights instead of multiplying by them": lambda x, w: rms(x) + w,
        "divides by their weights": lambda x, w: rms(x) / w,
        "applies them twice": lambda x, w: rms(rms(x) * w) * w,
        "multiplies the squares by their weights": lambda x, w: x * torch.rsqrt(_mean(x.square() * w) + eps) * w,
        "normalises over all positions so far": lambda x, w: x * torch.rsqrt(_so_far(x) + eps) * w,
        "normalises by the size of the position before": lambda x, w: x * torch.rsqrt(_before(x) + eps) * w,
        "leaves the last element as it is": lambda x, w: torch.cat(((rms(x) * w)[..., :-1], x[..., -1:]), dim=-1),
        "makes the last element zero": lambda x, w: torch.cat(((rms(x) * w)[..., :-1], 0 * x[..., -1:]), dim=-1),
        "multiplies by the reversed order of their weights": lambda x, w: rms(x) * w.flip(0),
        "multiplies by their weights one place too far": lambda x, w: rms(x) * w.roll(1),
    }


def _so_far(x: torch.Tensor) -> torch.Tensor:
    squares = _mean(x.square())
    return squares.cumsum(-2) / torch.arange(1, x.shape[-2] + 1).unsqueeze(-1)


def _before(x: torch.Tensor) -> torch.Tensor:
    squares = _mean(x.square())
    return torch.cat((squares[:, :1], squares[:, :-1]), dim=1)


def _changed(load: Load, ending: str, change: Callable[[torch.Tensor], torch.Tensor]) -> Load:
    """Change the weights of norms with this ending, or the last norm's."""

    def changed(name: str) -> torch.Tensor:
        chosen = name.endswith(ending) if ending else name == "norm.weight"
        return change(load(name)) if chosen else load(name)

    return changed


def _one_added(weight: torch.Tensor) -> torch.Tensor:
    return weight + 1


def _mean_over_fewer(hyper: Hyperparameters, load: Load) -> MistakenReference:
    """Divide the sum of squares s by dim - 1.

    s / (dim - 1) + eps is dim / (dim - 1) times as large as s / dim + eps (dim - 1) / dim.
    """
    share = (hyper.dim - 1) / hyper.dim

    def smaller(name: str) -> torch.Tensor:
        of_dim = name.endswith("norm.weight") and len(load(name)) == hyper.dim
        return load(name).double() * math.sqrt(share) if of_dim else load(name)

    fewer = replace(hyper, norm_eps=hyper.norm_eps * share)
    return MistakenReference(m.NORM_MEAN, m.NORM_MEAN.of_engine(), fewer, smaller)


def _centred(h: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Turn an RMSNorm's result into LayerNorm's.

    With u = x / sqrt(mean(x^2) + eps), LayerNorm's variance is that of u, plus eps over the same mean: 1 - mean(u^2).
    """
    u = h / weight
    off_centre = u - u.mean(dim=-1, keepdim=True)
    of_eps = 1 - u.square().mean(dim=-1, keepdim=True)
    return weight * off_centre * torch.rsqrt(off_centre.square().mean(dim=-1, keepdim=True) + of_eps)
