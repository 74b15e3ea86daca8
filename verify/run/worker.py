"""A verdict in parts: windows that go together, each by itself.

What a part finds depends on nothing but the job and the part's own numbers, and parts merge in their order: so one
process, one that was interrupted, and many on many machines find the same, digit for digit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

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
from verify.run.traced_windows import Proven, activations_of, prove
from verify.sources import Source, open_source
from verify.system.prefetch import ahead

# run.c's own order of operations: what the file computes in the engines it is made for.
ARITHMETIC: reader_c.Arithmetic = "mirror"

# Numbers of windows of one length; what compare() kept of them, (windows, positions, vocab_size); and whether to
# share out what storage costs.
Task = tuple[list[int], NDArray[np.float64], bool]
_Logits = dict[reader_c.Activations, NDArray[np.float32]]


@dataclass(frozen=True)
class ComparedWindow:
    """What the file costs in one window, by float and int8 activations; None where a logit is not finite, or there
    are no such activations. kept: the source's logits (positions, vocab_size) of a window that is looked into."""

    number: int
    finite: bool
    plain: WindowEvidence | None
    q8: WindowEvidence | None
    kept: NDArray[np.float64] | None


@dataclass(frozen=True)
class Job:
    """What every part needs, and what a worker on another machine opens it all from. source_files: as in Source;
    sha256: of the file. whole: every position of the windows that are looked into counts."""

    source: str
    source_kind: str | None
    source_files: dict[str, str]
    max_seq_len: int | None
    file: str
    sha256: str
    policy: Policy
    windows: tuple[Window, ...]
    depth: str
    whole: bool
    memory: Plan
    threads: int

    def open(self) -> Parts:
        """In a process of its own. Raises CannotJudgeError where these paths lead to other bytes there."""
        torch.set_num_threads(self.threads)
        model = reader_c.open(self.file, mapped=mapped(self.file, self.memory.limit))
        source = open_source(self.source, self.source_kind, max_seq_len=self.max_seq_len)
        other = next((name for name, digest in self.source_files.items() if source.files.get(name) != digest), None)
        if other is not None:
            raise CannotJudgeError(f"{self.source}: {other}: expected the same bytes for every worker, found others")
        if hashlib.sha256(model.content).hexdigest() != self.sha256:
            raise CannotJudgeError(f"{self.file}: expected the same bytes for every worker, found others")
        return Parts(self, model, source, References(source, model, self.memory))


class Parts:
    """Does parts of a job. trial: the user's engine, if one is judged."""

    def __init__(
        self, job: Job, model: reader_c.Model, source: Source, references: References, trial: Trial | None = None
    ) -> None:
        self._job, self._model, self._references, self._trial = job, model, references, trial
        self._hyper = source.hyperparameters
        self._chosen = set(traced_windows(job.windows, job.depth))

    def compare(self, batches: Sequence[list[int]]) -> Iterator[tuple[ComparedWindow, ...]]:
        """Windows against the source, batch by batch; the C reader runs ahead on other threads."""
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
        if number in self._chosen:
            kept = of_source[: traced_positions(self._job.depth, len(window.tokens), whole=self._job.whole)].copy()
        return ComparedWindow(number, finite, found["fp32"], found.get("q8"), kept)

    def done_with_source(self) -> None:
        """Frees what only compare() needs."""
        self._references.done_with_source()

    def prove(self, tasks: Iterable[Task]) -> Iterator[Proven]:
        """Windows looked into, task by task."""
        for numbers, of_source, attribute in tasks:
            yield prove(
                self._model,
                self._hyper,
                self._references,
                ARITHMETIC,
                self._job.windows,
                numbers,
                of_source,
                attribute=attribute,
                trial=self._trial,
            )


def _run(model: reader_c.Model, window: Window) -> _Logits:
    """The engine's logits, by float activations and, where the file has Q8_0, by int8 ones."""
    return {
        kind: model.forward(window.tokens, arithmetic=ARITHMETIC, activations=kind) for kind in activations_of(model)
    }
