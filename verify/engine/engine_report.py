"""Describe the trial of an engine for a report."""

from __future__ import annotations

from dataclasses import dataclass

import reader_c
from verify.checks.metrics import Metrics
from verify.engine.placement import Place


@dataclass(frozen=True)
class EngineReport:
    """Describes an engine and the result of its trial.

    first: the first window and position beyond the limits, or None. same_bits: how many of all logits have exactly
    the C reader's bits. hint: what the engine does, if a known mistake gives its logits; hint_name: the name of that
    mistake. metrics: only in reports of earlier versions, which judged int8 activations by their cost.
    sequences_per_process: how many sequences each process of the engine ran. places: where it is wrong, if no known
    mistake gives its logits and files of which parts hold zeros tell.
    """

    library: str | None
    command: str | None
    sha256: str
    activations: reader_c.Activations
    windows: int
    logits: int
    same_bits: int
    first: dict[str, int] | None
    hint_name: str
    hint: str
    metrics: Metrics | None = None
    sequences_per_process: int = 1
    places: tuple[Place, ...] = ()
