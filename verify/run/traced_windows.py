"""The checks that look inside a file's engine: every operation, and the logits that come of them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

import reader_c
from verify.attribution.logit_error import Closure, Gathered, close
from verify.attribution.storage_cost import Attribution
from verify.attribution.storage_cost import attribute as attribution_of
from verify.checks.execution import Execution, WorstLogit
from verify.checks.operations import FoundOperations, Operations, describe, where_of
from verify.checks.policy import Policy
from verify.checks.result import CheckResult, exact
from verify.diagnosis import Diagnosis, Stage, diagnose_operation
from verify.engine.trial import Trial
from verify.evidence import Window
from verify.operations.recompute import Recompute
from verify.operations.record import record
from verify.run.reference_logits import Floats, References, disagreement
from verify.sources import Hyperparameters


def activations_of(model: reader_c.Model) -> tuple[reader_c.Activations, ...]:
    """Kinds of activations that the file's engine can be run with."""
    return ("fp32", "q8") if model.config.group_size else ("fp32",)


@dataclass(frozen=True)
class Proven:
    """What one part found: windows of one length, looked into. wrong: whether an operation was beyond its bound, of
    which the first has the diagnosis."""

    operations: FoundOperations
    replays: FoundOperations
    execution: WorstLogit
    agreement: WorstLogit
    attribution: Attribution | None
    wrong: bool
    diagnosis: Diagnosis | None


def prove(
    model: reader_c.Model,
    hyper: Hyperparameters,
    references: References,
    arithmetic: reader_c.Arithmetic,
    windows: Sequence[Window],
    numbers: list[int],
    of_source: Floats,
    *,
    attribute: bool,
    trial: Trial | None = None,
) -> Proven:
    """Look into windows of one length by their numbers; of_source (windows, positions, vocab_size), of the
    first traced_positions(depth, length). attribute: share out what storage costs in the first of them."""
    looked = _Look(model, references, hyper, arithmetic, trial)
    looked.add(windows, numbers, of_source, attribute=attribute)
    return looked.proven


class _Look:
    """Into the windows of one part."""

    def __init__(
        self,
        model: reader_c.Model,
        references: References,
        hyper: Hyperparameters,
        arithmetic: reader_c.Arithmetic,
        trial: Trial | None,
    ) -> None:
        self._model, self._references, self._hyper, self._arithmetic = model, references, hyper, arithmetic
        self._trial = trial
        self._operations, self._replays = Operations(), Operations()
        self._execution, self._agreement = Execution(), Execution()
        self._attribution: Attribution | None = None
        self._diagnosis: Diagnosis | None = None
        self._wrong = False

    @property
    def proven(self) -> Proven:
        return Proven(
            operations=self._operations.found,
            replays=self._replays.found,
            execution=self._execution.found,
            agreement=self._agreement.found,
            attribution=self._attribution,
            wrong=self._wrong,
            diagnosis=self._diagnosis,
        )

    def add(self, windows: Sequence[Window], numbers: list[int], of_source: Floats, *, attribute: bool) -> None:
        tokens = torch.from_numpy(np.stack([windows[number].tokens for number in numbers]))
        first = slice(0, of_source.shape[1])
        of_file, sigma, agreement = self._references.of_file(tokens[:, first], numbers, of_source)
        self._agreement.merge(agreement)
        if attribute and not self._references.same_numbers:
            self._attribution = attribution_of(
                self._hyper,
                self._references.pair,
                tokens[0, first],
                of_source[0],
                of_file[0],
                numbers[0],
            )
        for activations in activations_of(self._model):
            logits = self._record(activations, tokens, numbers)
            for row, number in enumerate(numbers):
                if activations == "fp32":
                    self._execution.add(number, of_file[row], sigma[row], logits[row, first])
                if self._trial is not None and activations == self._trial.activations:
                    self._trial.add(number, windows[number], of_source[row], of_file[row], sigma[row], logits[row])

    def _record(
        self, activations: reader_c.Activations, tokens: torch.Tensor, numbers: list[int]
    ) -> NDArray[np.float32]:
        """Every operation of these windows, as many at a time as memory allows; returns the engine's logits."""
        at_once = self._references.walks or len(numbers)
        parts = [slice(first, first + at_once) for first in range(0, len(numbers), at_once)]
        return np.concatenate([self._walk(activations, tokens[part], numbers[part]) for part in parts])

    def _walk(
        self, activations: reader_c.Activations, tokens: torch.Tensor, numbers: list[int]
    ) -> NDArray[np.float32]:
        recompute = recompute_of(self._hyper, self._references, activations, self._arithmetic)
        logits: NDArray[np.float32] = np.empty(0, np.float32)
        for stage in stages(self._model, recompute, tokens):
            for judged in stage.judge(recompute):
                gathered = self._replays if judged.replay else self._operations
                ratio = gathered.add(activations, stage.layer, numbers, judged)
                if not ratio <= 1 and not self._wrong:
                    self._wrong = True
                    row = int((judged.out - judged.exact).abs().nan_to_num(nan=np.inf).flatten(1).amax(1).argmax())
                    self._diagnosis = diagnose_operation(recompute, stage.of_window(row), judged.operation)
            logits = stage.at["logits"].numpy() if "logits" in stage.at else logits
        return logits


def recompute_of(
    hyper: Hyperparameters,
    references: References,
    activations: reader_c.Activations,
    arithmetic: reader_c.Arithmetic,
) -> Recompute:
    return Recompute(hyper, references.file_weights, references.quantized, activations, arithmetic)


def stages(model: reader_c.Model, recompute: Recompute, tokens: torch.Tensor) -> Iterator[Stage]:
    """A recorded pass, layer by layer. tokens: (windows, length)."""
    x = torch.empty(len(tokens), 0)
    for layer, at in record(model, list(tokens.numpy()), recompute.activations, recompute.arithmetic):
        yield Stage(layer, at, x, tokens)
        x = at["ffn_residual"] if layer is not None else at.get("embedding", x)


class Proof:
    """What all parts found together, merged in their order."""

    def __init__(
        self,
        model: reader_c.Model,
        hyper: Hyperparameters,
        references: References,
        arithmetic: reader_c.Arithmetic,
        policy: Policy,
        trial: Trial | None = None,
    ) -> None:
        self._model, self._hyper, self._references, self._arithmetic = model, hyper, references, arithmetic
        self._policy, self._trial = policy, trial
        self.operations, self._replays = Operations(), Operations()
        self._execution, self._agreement = Execution(), Execution()
        # of the first operation that is beyond its bound
        self.diagnosis: Diagnosis | None = None
        self._wrong = False
        # of the first window, where the file's weights are not the source's
        self.attribution: Attribution | None = None

    def merge(self, found: Proven) -> None:
        self.operations.merge(found.operations)
        self._replays.merge(found.replays)
        self._execution.merge(found.execution)
        self._agreement.merge(found.agreement)
        self.attribution = self.attribution or found.attribution
        if found.wrong and not self._wrong:
            self._wrong, self.diagnosis = True, found.diagnosis

    def verdicts(self) -> list[CheckResult]:
        """Of `operations`, `execution` and, where an engine is on trial, `engine`."""
        execution = disagreement(self._agreement) or self._float_execution
        if self._replays.layers:
            execution = self._with_replay(execution)
        found = [self.operations.verdict(self._policy.operations.error_over_bound), execution]
        return found if self._trial is None else [*found, self._trial.verdict()]

    @property
    def _float_execution(self) -> CheckResult:
        return self._execution.verdict(f"the C reader ({self._arithmetic})", self._policy.execution.noise_sigmas)

    def _with_replay(self, execution: CheckResult) -> CheckResult:
        """int8 activations have no tolerance: one that rounds the other way moves logits as far as a mistake does.
        What the engine made of them is computed again to the bit."""
        failures = self._replays.failures
        if not failures:
            more = f"; {len(self._replays.layers)} operations on int8 activations computed again, every bit alike"
            return dataclasses.replace(execution, detail=execution.detail + more)
        detail = f"int8 activations, computed again: {describe(failures[0], len(failures))}"
        if execution.status == "fail":
            return exact("execution", len(failures), f"{execution.detail}; {detail}", execution.where)
        return exact("execution", len(failures), detail, where_of(failures[0]))

    @property
    def wrong_in_float(self) -> bool:
        """Whether float activations went wrong; what int8 ones do is in no logit that has a reference."""
        operations = any(report.activations == "fp32" for report in self.operations.failures)
        return operations or self._float_execution.status == "fail"

    def close(self, windows: Sequence[Window]) -> Closure | None:
        """What the logit that is furthest off owes to which operation; None where no logits can be compared."""
        where = self._execution.where
        if not where or not math.isfinite(where["expected"]) or not math.isfinite(where["found"]):
            return None
        tokens = torch.from_numpy(windows[where["window"]].tokens)
        gathered = Gathered()
        recompute = recompute_of(self._hyper, self._references, "fp32", self._arithmetic)
        for stage in stages(self._model, recompute, tokens.unsqueeze(0)):
            for judged in stage.judge(recompute):
                gathered.add(stage.layer, judged)
            if stage.layer is not None:
                gathered.add_sums(stage.layer, stage.at, stage.x)
        return close(
            self._hyper,
            self._references.file_weights,
            tokens,
            gathered.residuals(),
            window=where["window"],
            position=where["position"],
            index=where["index"],
            difference=where["found"] - where["expected"],
        )
