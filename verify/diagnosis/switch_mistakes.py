"""List the mistakes of engines with what a model does beyond Llama, as other hyper-parameters."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch

from verify.diagnosis import engine_mistakes as m
from verify.diagnosis.mistakes import Mistake
from verify.sources import Hyperparameters, LayerKind, RopeScaling

# (mistake, what the engine does, the hyper-parameters with which that is right)
Switched = tuple[Mistake, str, dict[str, Any]]


def mistaken_switches(hyper: Hyperparameters) -> Iterator[Switched]:
    """Yield the mistakes that show in a model with these hyper-parameters."""
    if hyper.qk_norm != "none":
        yield m.QK_NORM_MISSING, m.QK_NORM_MISSING.of_engine(), {"qk_norm": "none"}
    if hyper.norm_plus_one:
        yield m.NORM_ONE_MISSING, m.NORM_ONE_MISSING.of_engine(), {"norm_plus_one": False}
    if hyper.rotated < hyper.head_dim:
        sentence = m.ROPE_WHOLE_HEAD.of_engine(expected=hyper.rotated, head_dim=hyper.head_dim)
        yield m.ROPE_WHOLE_HEAD, sentence, {"rotary_dim": 0}
    if hyper.query_scale_beta:
        forgotten = {"query_scale_beta": 0.0, "query_scale_positions": 0}
        yield m.QUERY_SCALE_MISSING, m.QUERY_SCALE_MISSING.of_engine(), forgotten
    yield from _of_factors(hyper.rope_scaling)
    yield from _of_layers(hyper)
    yield from _of_windows(hyper)
    yield from _of_scales(hyper)
    if hyper.n_experts:
        yield from _of_experts(hyper)


def _of_experts(hyper: Hyperparameters) -> Iterator[Switched]:
    if hyper.n_active_experts < hyper.n_experts:
        found, more = "divides", ", as a softmax over them alone gives"
        if hyper.experts_normalized:
            found, more = "does not divide", ""
        sentence = m.EXPERTS_NORMALIZED.of_engine(found=found, more=more)
        yield m.EXPERTS_NORMALIZED, sentence, {"experts_normalized": not hyper.experts_normalized}
    for count in (hyper.n_active_experts - 1, hyper.n_active_experts + 1):
        if 0 < count <= hyper.n_experts:
            sentence = m.EXPERTS_CHOSEN.of_engine(found=count, expected=hyper.n_active_experts)
            yield m.EXPERTS_CHOSEN, sentence, {"n_active_experts": count}


def _of_factors(scaling: RopeScaling) -> Iterator[Switched]:
    """Yield other factors for sines and cosines, and for the frequencies of RoPE."""
    factor = scaling.attention_factor
    if factor not in (0, 1):
        sentence = m.ATTENTION_FACTOR_MISSING.of_engine(expected=f"{factor:g}")
        yield m.ATTENTION_FACTOR_MISSING, sentence, {"rope_scaling": replace(scaling, attention_factor=1.0)}
    multiplied = tuple(1 / each for each in scaling.short_factors)
    for found, factors in (
        ("the long factors", scaling.long_factors),
        ("the reciprocals of the short factors", multiplied),
    ):
        if factors and factors != scaling.short_factors:
            changes = {"rope_scaling": replace(scaling, short_factors=factors)}
            yield m.ROPE_FACTORS, m.ROPE_FACTORS.of_engine(found=found), changes


def _of_layers(hyper: Hyperparameters) -> Iterator[Switched]:
    """Yield another RoPE for some layers."""
    ropes = {layer.rope for layer in hyper.layers}

    def all_of(old: str, new: str) -> tuple[LayerKind, ...]:
        return tuple(replace(layer, rope=new) if layer.rope == old else layer for layer in hyper.layers)

    if "none" in ropes:
        yield m.ROPE_ADDED, m.ROPE_ADDED.of_engine(), {"layers": all_of("none", "first")}
    if "second" in ropes:
        first = {"layers": all_of("second", "first"), "local_theta": 0.0}
        yield m.ROPE_OF_LAYERS, m.ROPE_OF_LAYERS.of_engine(found="rope_theta", which="all layers"), first
    if {"first", "second"} <= ropes:
        second = {"layers": all_of("first", "second")}
        yield m.ROPE_OF_LAYERS, m.ROPE_OF_LAYERS.of_engine(found="local_theta", which="all layers"), second


def _of_windows(hyper: Hyperparameters) -> Iterator[Switched]:
    if not hyper.window:
        return
    for window in (hyper.window - 1, hyper.window + 1):
        if window:
            sentence = m.WINDOW_OFF.of_engine(found=window, expected=hyper.window)
            yield m.WINDOW_OFF, sentence, {"window": window}
    for windowed, mistake in ((False, m.WINDOW_IGNORED), (True, m.WINDOW_EVERYWHERE)):
        layers = tuple(replace(layer, windowed=windowed) for layer in hyper.layers)
        if layers != hyper.layers:
            yield (
                mistake,
                mistake.of_engine(count=hyper.window),
                {"layers": layers, "window": hyper.window * windowed},
            )


def _of_scales(hyper: Hyperparameters) -> Iterator[Switched]:
    if hyper.embedding_scale != 1:
        coarse = float(torch.tensor(hyper.embedding_scale).bfloat16())
        for found, scale in (("1", 1.0), (f"{coarse:g}, rounded to bfloat16,", coarse)):
            if scale != hyper.embedding_scale:
                sentence = m.EMBEDDING_SCALE.of_engine(found=found, expected=f"{hyper.embedding_scale:g}")
                yield m.EMBEDDING_SCALE, sentence, {"embedding_scale": scale}
    if hyper.score_scale:
        sentence = m.SCORE_SCALE_IGNORED.of_engine(expected=f"{hyper.score_scale:g}")
        yield m.SCORE_SCALE_IGNORED, sentence, {"score_scale": 0.0}
    if hyper.residual_scale != 1:
        sentence = m.RESIDUAL_SCALE_MISSING.of_engine(expected=f"{hyper.residual_scale:g}")
        yield m.RESIDUAL_SCALE_MISSING, sentence, {"residual_scale": 1.0}
    if hyper.logit_divisor != 1:
        for found, divisor in (("multiplies the logits by", 1 / hyper.logit_divisor), ("does not apply", 1.0)):
            sentence = m.LOGIT_DIVISOR.of_engine(found=found, divisor=f"{hyper.logit_divisor:g}")
            yield m.LOGIT_DIVISOR, sentence, {"logit_divisor": divisor}
    for what, field in (("scores", "score_cap"), ("logits", "logit_cap")):
        if cap := getattr(hyper, field):
            yield m.CAP_MISSING, m.CAP_MISSING.of_engine(what=what, cap=f"{cap:g}"), {field: 0.0}
