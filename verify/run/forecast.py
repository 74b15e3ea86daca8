"""Predict the work of each stage, in the unit of verify.system.pulse, before it begins.

A prediction need not be exact: it says in which proportions the stages take time, and the speed is measured. Each
formula counts what the pulses of the same work count.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

import torch

import reader_c
from verify.checks.storage import draws_of, judged_windows
from verify.evidence import Window
from verify.evidence.depth import traced_positions, traced_windows
from verify.oracle import multiplications
from verify.run.cost import batches_of
from verify.run.reference_logits import agrees, same_numbers
from verify.sources import Hyperparameters, Source
from verify.system.pulse import BOUNDED, CHECKED, COMPARED, DERIVED, NOISY, READ, WIDE

Batches = Sequence[Sequence[int]]

# Matrices that are multiplied to measure the machine's speed: long enough to notice what else runs there.
_ROWS, _TIMES = 512, 8
# Work that is done in the time of one multiplication there, from runs on SmolLM2.
_BESIDE = 1.5
# Work of rendering a report.
RENDERED = 2e10
# Passes of the reader over a traced window besides the recorded one: whole, in pieces (thrice as long), on threads.
_OTHER_WAYS = 5.0
# An attribution runs forward twice and back twice, and derives both sides' weights twice.
_ATTRIBUTED_PASSES, _ATTRIBUTED_READS = 8.0, 2.0


@dataclass(frozen=True)
class Forecast:
    """Predicts the work on one file.

    by_others: transformers computes the logits. lossy: the file's weights are others than the source's. q8: the file
    can be run with int8 activations. directory: transformers runs what is judged, instead of the C reader.
    """

    hyper: Hyperparameters
    by_others: bool
    lossy: bool
    q8: bool
    directory: bool = False

    def of_windows(self, windows: Sequence[Window], batches: Batches) -> list[float]:
        """Return the work of comparing each batch of windows."""
        return [
            self._compared(len(batch), len(windows[batch[0]].tokens), first=not number, agree=agrees(windows, batch))
            for number, batch in enumerate(batches)
        ]

    def of_operations(self, windows: Sequence[Window], batches: Batches, depth: str) -> list[float]:
        """Return the work of tracing each batch of windows. The first one also has the cost of storage attributed."""
        works = []
        for number, batch in enumerate(batches):
            length = len(windows[batch[0]].tokens)
            works.append(self._traced(len(batch), length, traced_positions(depth, length), first=not number))
        return works

    def of_storage(self, windows: Sequence[Window]) -> float:
        """Return the work of the check `storage`."""
        judged = judged_windows(self.hyper, windows)
        batches = batches_of(judged, list(range(len(judged))), self.hyper)
        return sum(self._storage(len(batch), len(judged[batch[0]].tokens)) for batch in batches)

    def stages(self, windows: Sequence[Window], depth: str) -> dict[str, float]:
        """Return the work of each stage, in their order."""
        every = list(batches_of(windows, list(range(len(windows))), self.hyper))
        stages = {"tensors": self.of_tensors(), "windows": sum(self.of_windows(windows, every))}
        if not self.directory:
            traced = list(batches_of(windows, traced_windows(windows, depth), self.hyper, times=2))
            stages["operations"] = sum(self.of_operations(windows, traced, depth))
        return {**stages, "storage": self.of_storage(windows)}

    @property
    def weights(self) -> int:
        """Return the number of weights."""
        return sum(map(prod, self.hyper.shapes().values()))

    def of_tensors(self) -> float:
        """Return the work of the check `tensors`."""
        return self.weights * (READ + CHECKED + self._of_deriving)

    def _compared(self, count: int, length: int, *, first: bool, agree: bool) -> float:
        """Return the work of comparing so many windows of one length.

        agree: whether they show that the references agree, which takes a pass of the verifier's own without noise.
        """
        tokens, sides = count * length, 1 + self.lossy
        one_pass = multiplications.of_pass(self.hyper, count, length)
        references = sides * one_pass * (1.0 if self.by_others else WIDE)
        ours = one_pass * (NOISY + (agree and self.by_others))
        reader = one_pass if self.directory else 2 * count * sum(self._read_by_reader(length))
        logits = tokens * self.hyper.vocab_size * COMPARED * (1 + self.q8)
        # transformers keeps its weights
        loads = sides if first or not self.by_others else 0
        return references + ours + reader + logits + self._derived(1 + loads)

    def _traced(self, count: int, length: int, positions: int, *, first: bool) -> float:
        """Return the work of tracing windows of one length. positions: of each that both arithmetics record.

        first: whether the storage's cost is attributed to tensors there.
        """
        kinds = len(self._activations)
        work = 0.0
        for recorded in (length, positions):
            work += kinds * (multiplications.of_pass(self.hyper, count, recorded) * BOUNDED + self._derived(1))
            # a pass that was recorded whole is not repeated without recording
            repeated = _OTHER_WAYS - (recorded == length)
            work += repeated * count * sum(self._read_by_reader(length))
        if first and self.lossy:
            work += multiplications.of_pass(self.hyper, 1, positions) * _ATTRIBUTED_PASSES
            work += self._derived(_ATTRIBUTED_READS) + _ATTRIBUTED_READS * self.weights * READ
        return work

    def _storage(self, count: int, length: int) -> float:
        """Return the work of the check `storage` on so many windows of one length."""
        if not self.lossy:
            return 0.0
        draws, streams = draws_of(self.hyper), 1 + self.q8
        one_pass = multiplications.of_pass(self.hyper, count, length)
        logits = streams * draws * count * length * self.hyper.vocab_size * COMPARED
        int8 = count * multiplications.of_reader(self.hyper, length, "q8") if self.q8 else 0.0
        rounded = self.weights * (DERIVED + draws * READ)
        return one_pass * (2 + streams * draws) + logits + int8 + rounded + self._derived(2)

    @property
    def _activations(self) -> tuple[str, ...]:
        return ("fp32", "q8") if self.q8 else ("fp32",)

    def _read_by_reader(self, length: int) -> list[float]:
        return [multiplications.of_reader(self.hyper, length, name) for name in self._activations]

    @property
    def _of_deriving(self) -> float:
        """Return the work of deriving a weight: half precision is narrowed in no time."""
        return DERIVED if self.q8 else 0.0

    def _derived(self, passes: float) -> float:
        return passes * self.weights * (READ + self._of_deriving)


def forecast_of(model: reader_c.Model, source: Source, *, directory: bool = False) -> Forecast:
    """Return the forecast for a file of the source's shape, or for a directory that answers as one."""
    return Forecast(
        source.hyperparameters,
        by_others=source.kind == "huggingface",
        lossy=not same_numbers(source, model),
        q8=not directory and bool(model.config.group_size),
        directory=directory,
    )


def seconds_of(stages: Mapping[str, float], rate: float) -> dict[str, float]:
    """Return the predicted seconds of each stage, from its work and the work of a second; the report follows them."""
    return {stage: work / rate for stage, work in {**stages, "report": RENDERED}.items()}


def measured_rate() -> float:
    """Return the work that this machine does in a second now, from some products of float32 matrices."""
    matrix = torch.ones(_ROWS, _ROWS)
    begun = time.perf_counter()
    for _ in range(_TIMES):
        matrix @ matrix
    return _BESIDE * _TIMES * _ROWS**3 / max(time.perf_counter() - begun, 1e-6)
