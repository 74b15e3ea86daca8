"""List steps of attention in another order than the right one, omitted, or done again.

Queries and keys pass through the same few steps: their bias is added, they are normalised and rotated. Every order of
these is tried, and those with a step that is missing or doubled.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import torch

from verify.diagnosis import engine_mistakes as m
from verify.engine.hint_reference import Load, MistakenReference
from verify.engine.hint_rewired import LayerSoFar, Rewire, rewired
from verify.oracle.attention import capped, rms_norm, rotate
from verify.oracle.rounding_noise import Noise
from verify.sources import Hyperparameters

Steps = tuple[str, ...]
_WHOSE = {"qk": "queries and keys", "q": "queries", "k": "keys"}
# the steps in their right order, and the operations that end with them
_OPERATIONS = {"bias": "", "norm": "_normed", "RoPE": "_rotated"}


def of_steps(hyper: Hyperparameters, load: Load) -> Iterator[MistakenReference]:
    """Yield the mistakes that show in this model."""
    right = _right(hyper)
    for steps in _others(right):
        for names, whose in _WHOSE.items():
            # the two together have names of their own
            if names == "qk" and steps == tuple(step for step in right if step != "norm"):
                continue
            sentence = m.STEPS_ORDER.of_engine(what=whose, found=_listed(steps), expected=_listed(right))
            run = rewired(_by(steps, right, names))
            yield MistakenReference(m.STEPS_ORDER, sentence, hyper, load, run=run)
    yield from _of_sums(hyper, load)


def _of_sums(hyper: Hyperparameters, load: Load) -> Iterator[MistakenReference]:
    """Yield the few other neighbours that an engine may exchange."""
    if hyper.score_cap:
        sentence = m.CAP_BEFORE_SCALE.of_engine()
        yield MistakenReference(m.CAP_BEFORE_SCALE, sentence, hyper, load, run=rewired(_cap_before_scale))
    if hyper.norm_place != "before":
        sentence = m.NORM_PLACE.of_engine(what="to the sums with the residual stream instead of to what is added")
        yield MistakenReference(m.NORM_PLACE, sentence, hyper, load, run=rewired(_sum_normed))


def _right(hyper: Hyperparameters) -> Steps:
    rotated = any(hyper.layer(number).rope != "none" for number in range(hyper.n_layers))
    present = {"bias": hyper.qkv_bias, "norm": hyper.qk_norm != "none", "RoPE": rotated}
    return tuple(step for step, here in present.items() if here)


def _others(right: Steps) -> list[Steps]:
    """Return other steps: all orders, then those without one, then those with one twice."""
    orders = list(itertools.permutations(right))
    # a rotation that is missing or doubled has a name of its own
    without = [tuple(step for step in right if step != one) for one in right if one != "RoPE"]
    twice = [
        (*right[:place], one, *right[place:]) for one in right if one != "RoPE" for place in range(len(right) + 1)
    ]
    return [steps for steps in dict.fromkeys((*orders, *without, *twice)) if steps != right]


def _listed(steps: Steps) -> str:
    return ", ".join(("product", *steps))


def _by(steps: Steps, right: Steps, names: str) -> Rewire:
    def change(operation: str, y: torch.Tensor, seen: LayerSoFar) -> torch.Tensor:
        rope = seen.hyper.layer(seen.number).rope
        last = next(step for step in reversed(right) if step != "RoPE" or rope in seen.rotations)
        name = operation[0]
        if name not in names or operation != name + _OPERATIONS[last]:
            return y
        made = y if operation == name else seen.made[name]
        if "bias" in right:
            made = made - _bias(seen, name)
        for step in steps:
            made = _done(step, made, name, seen)
        return made

    return change


def _done(step: str, y: torch.Tensor, name: str, seen: LayerSoFar) -> torch.Tensor:
    if step == "bias":
        return y + _bias(seen, name)
    if step == "norm":
        return _normed(y, name, seen)
    rope = seen.hyper.layer(seen.number).rope
    return rotate(y, seen.hyper, seen.rotations[rope], Noise()) if rope in seen.rotations else y


def _bias(seen: LayerSoFar, name: str) -> torch.Tensor:
    return seen.load(f"layers.{seen.number}.attention.w{name}.bias").to(seen.x.dtype)


def _normed(y: torch.Tensor, name: str, seen: LayerSoFar) -> torch.Tensor:
    weight = seen.load(f"layers.{seen.number}.attention.{name}_norm.weight").to(y.dtype)
    if seen.hyper.qk_norm == "whole":
        return rms_norm(y, weight, seen.hyper, Noise())
    return rms_norm(y.unflatten(-1, (-1, seen.hyper.head_dim)), weight, seen.hyper, Noise()).flatten(-2)


def _cap_before_scale(operation: str, y: torch.Tensor, seen: LayerSoFar) -> torch.Tensor:
    if operation != "scores":
        return y
    scale = seen.hyper.score_scale or seen.hyper.head_dim**-0.5
    return capped(seen.made["scores_raw"] / scale, seen.hyper.score_cap, Noise()) * scale


def _sum_normed(operation: str, y: torch.Tensor, seen: LayerSoFar) -> torch.Tensor:
    block = operation.removesuffix("_residual")
    if not operation.endswith("_residual"):
        return y
    before, made = (seen.x, "wo") if block == "attention" else (seen.middle, "down")
    weight = seen.load(f"layers.{seen.number}.{block}_post_norm.weight").to(y.dtype)
    total = before + seen.made[made] * seen.hyper.residual_scale
    return rms_norm(total, weight, seen.hyper, Noise())
