"""List mistakes with what a model does beyond Llama: each switch forgotten, or wrong by its usual mistake."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch

from verify.diagnosis import engine_mistakes as m
from verify.diagnosis.mistakes import Mistake
from verify.diagnosis.switch_mistakes import mistaken_switches
from verify.engine.hint_reference import Load, MistakenReference
from verify.engine.hint_rewired import LayerSoFar, Rewire, rewired
from verify.oracle import llama
from verify.sources import Hyperparameters, LayerKind


def of_switches(hyper: Hyperparameters, load: Load) -> Iterator[MistakenReference]:
    """Yield the mistakes that show in this model."""
    for mistake, sentence, changes in mistaken_switches(hyper):
        yield MistakenReference(mistake, sentence, replace(hyper, **changes), load)
    yield from _of_norms(hyper, load)
    yield from _of_layers(hyper, load)
    yield from _of_caps(hyper, load)


def _of_layers(hyper: Hyperparameters, load: Load) -> Iterator[MistakenReference]:
    """Yield windows and RoPE of other layers, and windows of another length or form."""
    for found, layers in _windows_of(hyper).items():
        sentence = m.WINDOW_LAYERS.of_engine(count=hyper.window, found=found)
        yield MistakenReference(m.WINDOW_LAYERS, sentence, replace(hyper, layers=layers), load)
    if hyper.window:
        for window in (2 * hyper.window, hyper.window // 2):
            # one more and one less are among the switches
            if window not in (0, hyper.window - 1, hyper.window + 1):
                sentence = m.WINDOW_OFF.of_engine(found=window, expected=hyper.window)
                yield MistakenReference(m.WINDOW_OFF, sentence, replace(hyper, window=window), load)
        sentence = m.WINDOW_BLOCKS.of_engine(count=hyper.window)
        yield MistakenReference(m.WINDOW_BLOCKS, sentence, hyper, load, run=rewired(_within_blocks))
    if {"first", "second"} <= {layer.rope for layer in hyper.layers}:
        other = {"first": "second", "second": "first"}
        layers = tuple(replace(layer, rope=other.get(layer.rope, layer.rope)) for layer in hyper.layers)
        sentence = m.ROPE_OF_LAYERS.of_engine(found="the other layers' theta", which="each layer")
        yield MistakenReference(m.ROPE_OF_LAYERS, sentence, replace(hyper, layers=layers), load)


def _windows_of(hyper: Hyperparameters) -> dict[str, tuple[LayerKind, ...]]:
    """Return layers by where an engine may apply the window, if some have one and some have none."""
    right = [layer.windowed for layer in hyper.layers]
    if not hyper.window or len(set(right)) < 2:
        return {}
    found = {
        "the layers that should have none, and no others": [not windowed for windowed in right],
        "the layers after those that should have it": [right[-1], *right[:-1]],
        "the layers before those that should have it": [*right[1:], right[0]],
    }
    made: dict[str, tuple[LayerKind, ...]] = {}
    for words, windows in found.items():
        layers = tuple(replace(of, windowed=here) for of, here in zip(hyper.layers, windows, strict=True))
        if windows != right and layers not in made.values():
            made[words] = layers
    return made


def _within_blocks(operation: str, y: torch.Tensor, seen: LayerSoFar) -> torch.Tensor:
    """Attend within the block of as many positions as the window has, which each position is in."""
    if operation != "shares" or not seen.hyper.layer(seen.number).windowed:
        return y
    places = torch.arange(y.shape[-1])
    block = places // seen.hyper.window
    visible = (places <= places.unsqueeze(1)) & (block == block.unsqueeze(1))
    return torch.softmax(seen.made["scores"].masked_fill(~visible, -torch.inf), dim=-1)


def _of_caps(hyper: Hyperparameters, load: Load) -> Iterator[MistakenReference]:
    if not (cap := hyper.score_cap):
        return
    for found, capped in {
        f"tanh(score / {cap:g})": lambda raw: torch.tanh(raw / cap),
        f"{cap:g} * tanh(score)": lambda raw: cap * torch.tanh(raw),
        f"a clip at +-{cap:g}": lambda raw: raw.clamp(-cap, cap),
    }.items():
        sentence = m.CAP_FORMULA.of_engine(found=found, cap=f"{cap:g}")
        run = rewired(_capping(capped))
        yield MistakenReference(m.CAP_FORMULA, sentence, hyper, load, run=run)


def _capping(capped: Callable[[torch.Tensor], torch.Tensor]) -> Rewire:
    return lambda operation, y, seen: capped(seen.made["scores_raw"]) if operation == "scores" else y


def _of_norms(hyper: Hyperparameters, load: Load) -> Iterator[MistakenReference]:
    def reference(mistake: Mistake, what: str, loaded: Load, **changes: Any) -> MistakenReference:
        return MistakenReference(mistake, mistake.of_engine(what=what), replace(hyper, **changes), loaded)

    if hyper.norm_place == "after":
        before = {f"{block}_norm.weight": f"{block}_post_norm.weight" for block in ("attention", "ffn")}

        def moved(name: str) -> torch.Tensor:
            ending = ".".join(name.split(".")[2:])
            return load(name.replace(ending, before[ending]) if ending in before else name)

        yield reference(
            m.NORM_PLACE, "before attention and feed forward instead of after", moved, norm_place="before"
        )
    if hyper.norm_place == "both":
        yield reference(m.NORM_PLACE, "only before attention and feed forward", load, norm_place="before")
    if hyper.qk_norm == "none":
        return
    yield MistakenReference(m.QK_NORM_WIDTH, _width_sentence(hyper), hyper, load, _of_other_width)


def _width_sentence(hyper: Hyperparameters) -> str:
    found, expected = ("all heads together", "each head") if hyper.qk_norm == "head" else ("each head", "all heads")
    return m.QK_NORM_WIDTH.of_engine(found=found, expected=expected)


def _of_other_width(hyper: Hyperparameters, _rotation: torch.Tensor | None) -> llama.Watch:
    """Normalise queries and keys by the root mean square of all heads instead of each, or the other way."""
    seen: dict[str, torch.Tensor] = {}

    def watch(operation: str, y: torch.Tensor) -> torch.Tensor:
        if operation in ("q", "k"):
            seen[operation] = y
        if not operation.endswith("_normed"):
            return y
        eps = torch.tensor(hyper.norm_eps, dtype=torch.float32).item()
        heads = seen[operation[0]].unflatten(-1, (-1, hyper.head_dim)).square()
        each = (heads.mean(-1, keepdim=True) + eps).sqrt()
        every = (heads.mean((-2, -1), keepdim=True) + eps).sqrt()
        ratio = each / every if hyper.qk_norm == "head" else every / each
        moved: torch.Tensor = y.unflatten(-1, (-1, hyper.head_dim)) * ratio
        return moved.flatten(-2)

    return watch
