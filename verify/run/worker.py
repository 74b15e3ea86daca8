"""One verdict as batches of windows, and the workers that judge them.

The evidence of a batch depends on nothing but the job and the numbers of its windows, and batches merge in their
order. So one process, an interrupted run that continues, and many machines report the same digits.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

import reader_c
from verify.checks.metrics import WindowEvidence, compare_window
from verify.checks.policy import Policy
from verify.engine.trial import Trial
from verify.errors import CannotJudgeError
from verify.evidence import Window
from verify.evidence.depth import traced_positions, traced_windows
from verify.run.memory import Plan, mapped
from verify.run.reference_logits import References
from verify.run.traced_windows import Traced, Tracer, activations_of
from verify.sources import Source, open_source
from verify.system.prefetch import ahead

# run.c's own order of operations: what the file computes in the engines it is made for.
ARITHMETIC: reader_c.Arithmetic = "mirror"

# The numbers of windows of one length; the source's logits that compare() kept, (windows, positions, vocab_size); and
# whether to say what the storage of each tensor costs.
Task = tuple[list[int], NDArray[np.float64], bool]
_Logits = dict[reader_c.Activations, NDArray[np.float32]]


@dataclass(frozen=True)
class ComparedWindow:
    """What the file's storage costs in one window, by float and by int8 activations.

    plain, q8: None if a logit is not finite, or if the file has no such activations. of_source: the source's logits
    (positions, vocab_size) of a window that will be traced.
    """

    number: int
    finite: bool
    plain: WindowEvidence | None
    q8: WindowEvidence | None
    of_source: NDArray[np.float64] | None


@dataclass(frozen=True)
class Job:
    """What every batch needs, and what a worker on another machine opens it all from.

    reading: the arguments of open_source(). source_files: as in Source. sha256: of the file. whole: every position of
    the traced windows counts.
    """

    source: str
    reading: dict[str, Any]
    source_files: dict[str, str]
    file: str
    sha256: str
    policy: Policy
    windows: tuple[Window, ...]
    depth: str
    whole: bool
    memory: Plan
    threads: int

    def open(self) -> Worker:
        """Open the job in another process. Raises CannotJudgeError if its paths lead to other bytes there."""
        torch.set_num_threads(self.threads)
        model = reader_c.open(self.file, mapped=mapped(self.file, self.memory.limit))
        source = open_source(self.source, **self.reading)
        other = next((name for name, digest in self.source_files.items() if source.files.get(name) != digest), None)
        if other is not None:
            raise CannotJudgeError(f"{self.source}: {other}: expected the same bytes for every worker, found others")
        if hashlib.sha256(model.content).hexdigest() != self.sha256:
            raise CannotJudgeError(f"{self.file}: expected the same bytes for every worker, found others")
        return Worker(self, model, source, References(source, model, self.memory))


class Worker:
    """Judges batches of one job in this process. trial: the user's engine, if one is judged."""

    def __init__(
        self, job: Job, model: reader_c.Model, source: Source, references: References, trial: Trial | None = None
    ) -> None:
        self._job, self._model, self._references = job, model, references
        self._tracer = Tracer(model, source.hyperparameters, references, ARITHMETIC, trial)
        self._traced = set(traced_windows(job.windows, job.depth))

    def compare(self, batches: Sequence[list[int]]) -> Iterator[tuple[ComparedWindow, ...]]:
        """Compare windows with the source, batch by batch; the C reader runs ahead on other threads."""
        windows = self._job.windows
        numbers = [number for batch in batches for number in batch]
        engine = ahead(partial(_run, self._model), [windows[n] for n in numbers], self._job.memory.engines)
        for batch in batches:
            tokens = torch.from_numpy(np.stack([windows[n].tokens for n in batch]))
            of_source = self._references.of_source(tokens)
            yield tuple(
                self._compare(number, row, next(engine)) for number, row in zip(batch, of_source, strict=True)
            )

    def _compare(self, number: int, of_source: NDArray[np.float64], engine: _Logits) -> ComparedWindow:
        window = self._job.windows[number]
        finite = bool(np.isfinite(of_source).all()) and all(np.isfinite(one).all() for one in engine.values())
        found = {
            activations: compare_window(window.origin, window.tokens, of_source, logits) if finite else None
            for activations, logits in engine.items()
        }
        kept = None
        if number in self._traced:
            kept = of_source[: traced_positions(self._job.depth, len(window.tokens), whole=self._job.whole)].copy()
        return ComparedWindow(number, finite, found["fp32"], found.get("q8"), kept)

    def done_with_source(self) -> None:
        """Free the memory that only compare() needs."""
        self._references.done_with_source()

    def trace(self, tasks: Iterable[Task]) -> Iterator[Traced]:
        """Trace windows, task by task."""
        for numbers, of_source, share in tasks:
            yield self._tracer.trace(self._job.windows, numbers, of_source, share_storage_cost=share)


class Workers(Protocol):
    """One Worker of this process, or those of a cluster."""

    def compare(self, batches: Sequence[list[int]], /) -> Iterator[tuple[ComparedWindow, ...]]: ...

    def trace(self, tasks: Iterable[Task], /) -> Iterator[Traced]: ...

    def done_with_source(self) -> None: ...


def _run(model: reader_c.Model, window: Window) -> _Logits:
    """Return the engine's logits by float activations and, if the file has Q8_0, by int8 activations."""
    return {
        kind: model.forward(window.tokens, arithmetic=ARITHMETIC, activations=kind) for kind in activations_of(model)
    }
