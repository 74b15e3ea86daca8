"""Traced windows: every operation of the engine is recorded and compared, and its logits with the reference."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

import reader_c
from verify.attribution import logit_error, storage_cost
from verify.attribution.logit_error import Closure, Gathered
from verify.attribution.storage_cost import Attribution
from verify.checks.execution import Execution, WorstLogit
from verify.checks.operations import FoundOperations, LayerReport, Operations, describe, where_of
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
    """Return the kinds of activations with which an engine can run the file."""
    return ("fp32", "q8") if model.config.group_size else ("fp32",)


@dataclass(frozen=True)
class Traced:
    """What tracing found in some windows. Evidence of later windows merges into it.

    replays: operations on int8 activations, computed again to the bit. agreement: the verifier's own reference
    against transformers. storage_cost: of the first window, if the file's weights are not the source's.
    wrong: an operation exceeded its bound; diagnosis: of the first one that did.
    """

    operations: FoundOperations = Operations().found
    replays: FoundOperations = Operations().found
    execution: WorstLogit = Execution().found
    agreement: WorstLogit = Execution().found
    storage_cost: Attribution | None = None
    wrong: bool = False
    diagnosis: Diagnosis | None = None

    def merged(self, later: Traced) -> Traced:
        """Return the evidence of both; the order counts, as the first of equal findings is kept."""
        return Traced(
            operations=_merge_operations(self.operations, later.operations).found,
            replays=_merge_operations(self.replays, later.replays).found,
            execution=_merge_logits(self.execution, later.execution).found,
            agreement=_merge_logits(self.agreement, later.agreement).found,
            storage_cost=self.storage_cost or later.storage_cost,
            wrong=self.wrong or later.wrong,
            diagnosis=self.diagnosis if self.wrong else later.diagnosis,
        )

    @property
    def layers(self) -> tuple[LayerReport, ...]:
        """Every operation, in the order of a pass."""
        return _merge_operations(self.operations).layers

    def verdicts(self, policy: Policy, arithmetic: reader_c.Arithmetic) -> list[CheckResult]:
        """Return the checks `operations` and `execution`."""
        execution = disagreement(_merge_logits(self.agreement)) or self._float_execution(policy, arithmetic)
        if self.replays.layers:
            execution = self._with_replays(execution)
        assert policy.operations is not None  # of every .bin format
        operations = _merge_operations(self.operations).verdict(policy.operations.error_over_bound)
        return [operations, execution]

    def wrong_in_float(self, policy: Policy, arithmetic: reader_c.Arithmetic) -> bool:
        """Whether float activations went wrong. No logit of int8 activations has a reference to explain it by."""
        failures = _merge_operations(self.operations).failures
        operations = any(report.activations == "fp32" for report in failures)
        return operations or self._float_execution(policy, arithmetic).status == "fail"

    def _float_execution(self, policy: Policy, arithmetic: reader_c.Arithmetic) -> CheckResult:
        return _merge_logits(self.execution).verdict(f"the C reader ({arithmetic})", policy.execution.noise_sigmas)

    def _with_replays(self, execution: CheckResult) -> CheckResult:
        """Add the int8 activations to the check `execution`.

        They have no tolerance: one that rounds the other way moves logits as far as a mistake does. So every result
        that the engine computed from them is computed again, to the bit.
        """
        replays = _merge_operations(self.replays)
        failures = replays.failures
        if not failures:
            more = f"; {len(replays.layers)} operations on int8 activations computed again, every bit alike"
            return dataclasses.replace(execution, detail=execution.detail + more)
        detail = f"int8 activations, computed again: {describe(failures[0], len(failures))}"
        if execution.status == "fail":
            return exact("execution", len(failures), f"{execution.detail}; {detail}", execution.where)
        return exact("execution", len(failures), detail, where_of(failures[0]))


def _merge_operations(*found: FoundOperations) -> Operations:
    merged = Operations()
    for one in found:
        merged.merge(one)
    return merged


def _merge_logits(*found: WorstLogit) -> Execution:
    merged = Execution()
    for one in found:
        merged.merge(one)
    return merged


class Tracer:
    """Traces windows of one file. trial: the user's engine, if one is judged on the same windows."""

    def __init__(
        self,
        model: reader_c.Model,
        hyper: Hyperparameters,
        references: References,
        arithmetic: reader_c.Arithmetic,
        trial: Trial | None = None,
    ) -> None:
        self._model, self._hyper, self._references, self._arithmetic = model, hyper, references, arithmetic
        self._trial = trial

    def trace(
        self, windows: Sequence[Window], numbers: list[int], of_source: Floats, *, share_storage_cost: bool
    ) -> Traced:
        """Trace windows of one length, by their numbers.

        of_source: the source's logits (windows, positions, vocab_size), of the first traced_positions(depth, length).
        share_storage_cost: say what the storage of each tensor costs in the first of these windows.
        """
        tokens = torch.from_numpy(np.stack([windows[number].tokens for number in numbers]))
        first = slice(0, of_source.shape[1])
        of_file, sigma, agreement = self._references.of_file(tokens[:, first], numbers, of_source)
        cost = None
        if share_storage_cost and not self._references.same_numbers:
            cost = storage_cost.attribute(
                self._hyper, self._references.pair, tokens[0, first], of_source[0], of_file[0], numbers[0]
            )
        recorder, execution = _Recorder(), Execution()
        for activations in activations_of(self._model):
            logits = self._record(recorder, activations, tokens, numbers)
            for row, number in enumerate(numbers):
                if activations == "fp32":
                    execution.add(number, of_file[row], sigma[row], logits[row, first])
                if self._trial is not None and activations == self._trial.activations:
                    self._trial.add(number, windows[number], of_file[row], sigma[row], logits[row])
        return Traced(
            operations=recorder.operations.found,
            replays=recorder.replays.found,
            execution=execution.found,
            agreement=agreement,
            storage_cost=cost,
            wrong=recorder.wrong,
            diagnosis=recorder.diagnosis,
        )

    def _record(
        self, recorder: _Recorder, activations: reader_c.Activations, tokens: torch.Tensor, numbers: list[int]
    ) -> NDArray[np.float32]:
        """Compare every operation of these windows, as many at a time as fit; return the engine's logits."""
        at_once = self._references.walks or len(numbers)
        batches = [slice(first, first + at_once) for first in range(0, len(numbers), at_once)]
        recompute = self._recompute(activations)
        return np.concatenate(
            [recorder.record(self._model, recompute, tokens[batch], numbers[batch]) for batch in batches]
        )

    def _recompute(self, activations: reader_c.Activations) -> Recompute:
        weights, quantized = self._references.file_weights, self._references.quantized
        return Recompute(self._hyper, weights, quantized, activations, self._arithmetic)

    def explain(self, found: WorstLogit, windows: Sequence[Window]) -> Closure | None:
        """Attribute the error of the logit that is furthest off to operations; None if no logit can be compared."""
        where = found.where
        if not where or not math.isfinite(where["expected"]) or not math.isfinite(where["found"]):
            return None
        tokens = torch.from_numpy(windows[where["window"]].tokens)
        gathered = Gathered()
        recompute = self._recompute("fp32")
        for stage in stages(self._model, recompute, tokens.unsqueeze(0)):
            for judged in stage.judge(recompute):
                gathered.add(stage.layer, judged)
            if stage.layer is not None:
                gathered.add_sums(stage.layer, stage.at, stage.x)
        return logit_error.close(
            self._hyper,
            self._references.file_weights,
            tokens,
            gathered.residuals(),
            window=where["window"],
            position=where["position"],
            index=where["index"],
            difference=where["found"] - where["expected"],
        )


class _Recorder:
    """Gathers what the operations of recorded passes are off by, and the diagnosis of the first that is wrong."""

    def __init__(self) -> None:
        self.operations, self.replays = Operations(), Operations()
        self.wrong = False
        self.diagnosis: Diagnosis | None = None

    def record(
        self, model: reader_c.Model, recompute: Recompute, tokens: torch.Tensor, numbers: list[int]
    ) -> NDArray[np.float32]:
        """Run and compare one pass over tokens (windows, length); return its logits."""
        logits: NDArray[np.float32] = np.empty(0, np.float32)
        for stage in stages(model, recompute, tokens):
            for judged in stage.judge(recompute):
                gathered = self.replays if judged.replay else self.operations
                ratio = gathered.add(recompute.activations, stage.layer, numbers, judged)
                if not ratio <= 1 and not self.wrong:
                    self.wrong = True
                    row = int((judged.out - judged.exact).abs().nan_to_num(nan=np.inf).flatten(1).amax(1).argmax())
                    self.diagnosis = diagnose_operation(recompute, stage.of_window(row), judged.operation)
            logits = stage.at["logits"].numpy() if "logits" in stage.at else logits
        return logits


def stages(model: reader_c.Model, recompute: Recompute, tokens: torch.Tensor) -> Iterator[Stage]:
    """Yield a recorded pass layer by layer. tokens: (windows, length)."""
    x = torch.empty(len(tokens), 0)
    for layer, at in record(model, list(tokens.numpy()), recompute.activations, recompute.arithmetic):
        yield Stage(layer, at, x, tokens)
        x = at["ffn_residual"] if layer is not None else at.get("embedding", x)
