"""List mistakes with whole layers: their order, one that is missing, and what is added to the residual stream."""

from __future__ import annotations

import re
from collections.abc import Iterator

import torch

from verify.diagnosis import engine_mistakes as m
from verify.diagnosis.mistakes import LAYERS_REVERSED
from verify.engine.hint_reference import Load, MistakenReference, RunLayer
from verify.oracle import llama
from verify.oracle.rounding_noise import Noise
from verify.sources import Hyperparameters

# The last product of each half of a layer, without which the half adds nothing.
_OF_ATTENTION, _OF_FEED_FORWARD = "attention.wo.", "feed_forward.w2."


def of_layers(hyper: Hyperparameters, load: Load) -> Iterator[MistakenReference]:
    """Yield the mistakes."""
    layers = tuple(range(hyper.n_layers))
    if len(layers) > 1:
        backwards = LAYERS_REVERSED.of_engine()
        yield MistakenReference(LAYERS_REVERSED, backwards, hyper, load, order=layers[::-1])
        sentence = m.MATRICES_REVERSED.of_engine()
        yield MistakenReference(m.MATRICES_REVERSED, sentence, hyper, _matrices_reversed(hyper, load))
        for missing, order in ((0, layers[1:]), (layers[-1], layers[:-1])):
            sentence = m.LAYER_MISSING.of_engine(layer=missing)
            yield MistakenReference(m.LAYER_MISSING, sentence, hyper, load, order=order)
    yield MistakenReference(m.HALVES_SWAPPED, m.HALVES_SWAPPED.of_engine(), hyper, load, run=_feed_forward_first)
    late = m.TOKENS_LATE.of_engine()
    yield MistakenReference(m.TOKENS_LATE, late, hyper, load, run=_a_token_late)
    every = (None, *layers) if len(layers) > 1 else (None,)
    for layer in every:
        where = "every layer" if layer is None else f"layer {layer}"
        sentence = m.RESIDUAL.of_engine(what=f"the stream before each half of {where}")
        yield MistakenReference(m.RESIDUAL, sentence, hyper, load, run=_replacing(layer))


def of_orders(hyper: Hyperparameters, load: Load) -> Iterator[MistakenReference]:
    """Yield models in which one layer is missing, runs twice or runs after the next one."""
    layers = tuple(range(hyper.n_layers))
    for layer in layers[1:-1]:
        sentence = m.LAYER_MISSING.of_engine(layer=layer)
        order = layers[:layer] + layers[layer + 1 :]
        yield MistakenReference(m.LAYER_MISSING, sentence, hyper, load, order=order)
    for layer in layers:
        sentence = m.LAYERS_ORDER.of_engine(found=f"layer {layer} twice")
        order = layers[: layer + 1] + layers[layer:]
        yield MistakenReference(m.LAYERS_ORDER, sentence, hyper, load, order=order)
    # of two layers that is the reverse order
    for layer in layers[:-1] if len(layers) > 2 else ():
        sentence = m.LAYERS_ORDER.of_engine(found=f"layer {layer + 1} before layer {layer}")
        order = (*layers[:layer], layer + 1, layer, *layers[layer + 2 :])
        yield MistakenReference(m.LAYERS_ORDER, sentence, hyper, load, order=order)


def _matrices_reversed(hyper: Hyperparameters, load: Load) -> Load:
    shapes = hyper.shapes()

    def other(name: str) -> torch.Tensor:
        found = re.fullmatch(r"layers\.(\d+)\.(.+\.w.\.weight)", name)
        taken = f"layers.{hyper.n_layers - 1 - int(found[1])}.{found[2]}" if found else name
        # layers with experts have other matrices than those without
        return load(taken if taken in shapes else name)

    return other


def _without(load: Load, half: str) -> Load:
    """Load zeros for what a half of a layer ends with."""
    return lambda name: torch.zeros_like(load(name)) if half in name else load(name)


def _feed_forward_first(
    hyper: Hyperparameters,
    load: Load,
    number: int,
    x: torch.Tensor,
    rotations: dict[str, torch.Tensor],
    noise: Noise,
    watch: llama.Watch,
    inputs: llama.Inputs,
) -> torch.Tensor:
    for half in (_OF_ATTENTION, _OF_FEED_FORWARD):
        x = llama.layer(hyper, _without(load, half), number, x, rotations, noise, watch, inputs)
    return x


def _a_token_late(
    hyper: Hyperparameters,
    load: Load,
    number: int,
    x: torch.Tensor,
    rotations: dict[str, torch.Tensor],
    noise: Noise,
    watch: llama.Watch,
    inputs: llama.Inputs,
) -> torch.Tensor:
    """Let the first layer read each embedding one position late, but the first at its place."""
    if number == 0:
        x = torch.cat((x[:, :1], x[:, :-1]), dim=1)
    return llama.layer(hyper, load, number, x, rotations, noise, watch, inputs)


def _replacing(layer: int | None) -> RunLayer:
    """Put what each half computes in the place of the stream, in one layer or in all."""

    def run(
        hyper: Hyperparameters,
        load: Load,
        number: int,
        x: torch.Tensor,
        rotations: dict[str, torch.Tensor],
        noise: Noise,
        watch: llama.Watch,
        inputs: llama.Inputs,
    ) -> torch.Tensor:
        if layer not in (None, number):
            return llama.layer(hyper, load, number, x, rotations, noise, watch, inputs)
        for half in (_OF_FEED_FORWARD, _OF_ATTENTION):
            x = llama.layer(hyper, _without(load, half), number, x, rotations, noise, watch, inputs) - x
        return x

    return run
