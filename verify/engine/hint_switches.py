"""List mistakes with what a model does beyond Llama: each switch forgotten, or wrong by its usual mistake."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch

from verify.diagnosis import engine_mistakes as m
from verify.diagnosis.mistakes import Mistake
from verify.diagnosis.switch_mistakes import mistaken_switches
from verify.engine.hint_reference import Load, MistakenReference
from verify.oracle import llama
from verify.sources import Hyperparameters


def of_switches(hyper: Hyperparameters, load: Load) -> Iterator[MistakenReference]:
    """Yield the mistakes that show in this model."""
    for mistake, sentence, changes in mistaken_switches(hyper):
        yield MistakenReference(mistake, sentence, replace(hyper, **changes), load)
    yield from _of_norms(hyper, load)


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
