"""One verdict as batches of windows, and the workers that judge them.

The evidence of a batch depends on nothing but the job and the numbers of its windows, and batches merge in their
order. So one process, an interrupted run that continues, and many machines report the same digits.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

import reader_c
from verify.checks.policy import Policy
from verify.checks.storage import HonestCost
from verify.engine.trial import Trial
from verify.errors import CannotJudgeError
from verify.evidence import Window
from verify.evidence.depth import traced_positions, traced_windows
from verify.run.compared_windows import ComparedWindow, Comparer, FirstPositions
from verify.run.honest_storage import storage_cost
from verify.run.memory import Plan, keep_freed_memory, mapped
from verify.run.reference_logits import References
from verify.run.traced_windows import Traced, Tracer
from verify.sources import Source, open_source

# The numbers of windows of one length, and the logits that the first of them kept, to say what the storage of each
# tensor costs there.
Task = tuple[list[int], FirstPositions | None]


@dataclass(frozen=True)
class Job:
    """What every batch needs, and what a worker on another machine opens it all from.

    reading: the arguments of open_source(). source_files: as in Source. sha256: of the file.
    """

    source: str
    reading: dict[str, Any]
    source_files: dict[str, str]
    file: str
    sha256: str
    policy: Policy
    windows: tuple[Window, ...]
    depth: str
    memory: Plan
    threads: int

    def open(self) -> Worker:
        """Open the job in another process. Raises CannotJudgeError if its paths lead to other bytes there."""
        torch.set_num_threads(self.threads)
        keep_freed_memory()
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
        self._job, self._references = job, references
        self._model, self._hyper = model, source.hyperparameters
        self._comparer = Comparer(model, references, job.windows, job.policy.execution.noise_sigmas, trial)
        self._tracer = Tracer(model, source.hyperparameters, references, job.depth)

    def compare(self, batches: Sequence[list[int]]) -> Iterator[tuple[ComparedWindow, ...]]:
        """Compare windows with the references, batch by batch."""
        windows, depth = self._job.windows, self._job.depth
        # the storage's cost is attributed to tensors in one window
        kept = {}
        if not self._references.same_numbers:
            first = traced_windows(windows, depth)[0]
            kept = {first: traced_positions(depth, len(windows[first].tokens))}
        yield from self._comparer.compare(batches, self._job.memory.engines, kept)

    def done_with_logits(self) -> None:
        """Free the memory that only compare() needs."""
        self._references.done_with_logits()

    def trace(self, tasks: Iterable[Task]) -> Iterator[Traced]:
        """Trace windows, task by task."""
        for numbers, first_positions in tasks:
            yield self._tracer.trace(self._job.windows, numbers, first_positions)

    def price(self, batches: Iterable[list[int]]) -> Iterator[HonestCost]:
        """Compute what storage costs, batch by batch of storage_batches()."""
        # draws that follow from the file cannot be foreseen by its author
        seed = int(self._job.sha256[:8], 16)
        int8 = bool(self._model.config.group_size)
        inputs = self._model, self._hyper, self._references, self._job.windows
        for batch in batches:
            yield storage_cost(*inputs, batch, int8=int8, seed=seed)


class Workers(Protocol):
    """One Worker of this process, or those of a cluster."""

    def compare(self, batches: Sequence[list[int]], /) -> Iterator[tuple[ComparedWindow, ...]]: ...

    def trace(self, tasks: Iterable[Task], /) -> Iterator[Traced]: ...

    def price(self, batches: Iterable[list[int]], /) -> Iterator[HonestCost]: ...

    def done_with_logits(self) -> None: ...
