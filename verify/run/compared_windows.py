"""Compared windows: the logits of every position, by every arithmetic of the reader, against the references."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

import reader_c
from verify.checks.certificates import Certificates, certificates_of, one_largest
from verify.checks.execution import WorstLogit, worst_logit
from verify.checks.logit_blocks import Logits
from verify.checks.metrics import WindowEvidence, compare_window
from verify.engine.trial import Trial
from verify.evidence import Window
from verify.oracle import multiplications
from verify.oracle.routing import Certainty
from verify.run.reference_logits import References, WindowReference, agrees
from verify.system.prefetch import ahead
from verify.system.pulse import pulse

# "mirror" is run.c's own order of operations; "fast" is what the reader computes by default.
ARITHMETICS: tuple[reader_c.Arithmetic, ...] = ("mirror", "fast")

_Pass = tuple[int, reader_c.Arithmetic, reader_c.Activations]


def activations_of(model: reader_c.Model) -> tuple[reader_c.Activations, ...]:
    """Return the kinds of activations with which an engine can run the file."""
    return ("fp32", "q8") if model.config.group_size else ("fp32",)


@dataclass(frozen=True)
class FirstPositions:
    """Holds logits (positions, vocab_size) of a window, on the source's and on the file's weights."""

    of_source: Logits
    of_file: Logits


@dataclass(frozen=True)
class ComparedWindow:
    """What one window shows.

    execution: (arithmetic, worst logit by float activations) for each. agreement: as in WindowReference. plain: what
    the storage costs. q8: what storage and int8 activations cost; None if the file has no such activations.
    certificates: what is certain of greedy text. All three are None if a logit is not finite. first_positions: kept
    for what storage costs by tensor, if it was asked for. certainty: of the choices of experts, which says how many
    positions `execution` and `agreement` judged.
    """

    number: int
    execution: tuple[tuple[reader_c.Arithmetic, WorstLogit], ...]
    agreement: WorstLogit
    plain: WindowEvidence | None
    q8: WindowEvidence | None
    certificates: Certificates | None
    first_positions: FirstPositions | None
    certainty: Certainty | None = None

    @property
    def finite(self) -> bool:
        """Return whether all logits of the references and of int8 activations are finite."""
        return self.plain is not None


class Comparer:
    """Compares windows of one file. limit: of `execution`. trial: the user's engine, if one is judged."""

    def __init__(
        self,
        model: reader_c.Model,
        references: References,
        windows: Sequence[Window],
        limit: float,
        trial: Trial | None,
    ) -> None:
        self._model, self._references, self._windows = model, references, windows
        self._limit, self._trial = limit, trial

    def compare(
        self, batches: Sequence[list[int]], engines: int, kept: dict[int, int]
    ) -> Iterator[tuple[ComparedWindow, ...]]:
        """Compare windows batch by batch; the C reader runs ahead on other threads.

        engines: passes that the reader runs side by side. kept: how many first positions of which windows to keep.
        """
        passes: list[_Pass] = [
            (number, arithmetic, activations)
            for batch in batches
            for number in batch
            for activations in activations_of(self._model)
            for arithmetic in ARITHMETICS
        ]
        engine = ahead(self._run, passes, engines)
        for batch in batches:
            yield self._compare_batch(batch, engine, kept)

    def _compare_batch(
        self, batch: list[int], engine: Iterator[NDArray[np.float32]], kept: dict[int, int]
    ) -> tuple[ComparedWindow, ...]:
        """Compare one batch; its references are freed before those of the next batch are computed."""
        tokens = torch.from_numpy(np.stack([self._windows[n].tokens for n in batch]))
        references = self._references.of(tokens, batch, agree=agrees(self._windows, batch))
        return tuple(
            self._compare(number, reference, engine, kept.get(number))
            for number, reference in zip(batch, references, strict=True)
        )

    def _run(self, asked: _Pass) -> NDArray[np.float32]:
        number, arithmetic, activations = asked
        return self._model.forward(self._windows[number].tokens, arithmetic=arithmetic, activations=activations)

    def _compare(
        self, number: int, reference: WindowReference, engine: Iterator[NDArray[np.float32]], kept: int | None
    ) -> ComparedWindow:
        window = self._windows[number]
        of_source, of_file, sigma = reference.of_source, reference.of_file, reference.sigma
        execution = []
        q8, int8_certain, finite = None, None, bool(np.isfinite(of_source).all() and np.isfinite(of_file).all())
        for activations in activations_of(self._model):
            for arithmetic in ARITHMETICS:
                logits = next(engine)
                pulse(multiplications.of_reader(self._model.config, len(window.tokens), activations))
                if activations == "fp32":
                    execution.append((arithmetic, worst_logit(number, of_file, sigma, logits, self._limit)))
                elif not np.isfinite(logits).all():
                    finite = False
                elif arithmetic == "mirror" and finite:
                    q8 = compare_window(window.origin, window.tokens, of_source, logits)
                    int8_certain = one_largest(logits)
                if self._trial is not None and arithmetic == "mirror" and activations == self._trial.activations:
                    self._trial.add(number, window, of_file, sigma, logits)
                del logits  # before the next ones are awaited
        margins = reference.margins if finite else None
        return ComparedWindow(
            number=number,
            execution=tuple(execution),
            agreement=reference.agreement,
            plain=compare_window(window.origin, window.tokens, of_source, of_file) if finite else None,
            q8=q8 if finite else None,
            certificates=None if margins is None else certificates_of(number, margins(), int8_certain),
            first_positions=None if kept is None else FirstPositions(of_source[:kept].copy(), of_file[:kept].copy()),
            certainty=reference.certainty,
        )
