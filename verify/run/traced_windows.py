"""Traced windows: every operation of the reader is recorded and compared, and the pass repeated in other ways."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import reader_c
from verify.attribution import logit_error, storage_cost
from verify.attribution.logit_error import Closure, Gathered
from verify.attribution.storage_cost import Attribution
from verify.checks.operations import FoundOperations, LayerReport, Operations
from verify.checks.policy import Policy
from verify.checks.result import CheckResult
from verify.checks.same_bits import NOTHING_COMPARED, SameBits
from verify.diagnosis import Diagnosis, Stage, diagnose_operation
from verify.evidence import Window
from verify.evidence.depth import DEPTHS, traced_positions
from verify.operations.recompute import Recompute
from verify.operations.record import record
from verify.run.compared_windows import ARITHMETICS, FirstPositions, activations_of
from verify.run.other_ways import other_ways
from verify.run.reference_logits import References
from verify.sources import Hyperparameters


@dataclass(frozen=True)
class Traced:
    """What tracing found in some windows. Evidence of later windows merges into it.

    replays: operations on int8 activations, computed again to the bit. same_bits: of the other ways to call the
    reader. storage_cost: of the first window, if the file's weights are not the source's.
    wrong: an operation exceeded its bound; diagnosis: of the first one that did.
    """

    operations: FoundOperations = Operations().found
    replays: FoundOperations = Operations().found
    same_bits: SameBits = NOTHING_COMPARED
    storage_cost: Attribution | None = None
    wrong: bool = False
    diagnosis: Diagnosis | None = None

    def merged(self, later: Traced) -> Traced:
        """Return the evidence of both; the order counts, as the first of equal findings is kept."""
        return Traced(
            operations=merge_operations(self.operations, later.operations).found,
            replays=merge_operations(self.replays, later.replays).found,
            same_bits=self.same_bits.merged(later.same_bits),
            storage_cost=self.storage_cost or later.storage_cost,
            wrong=self.wrong or later.wrong,
            diagnosis=self.diagnosis if self.wrong else later.diagnosis,
        )

    @property
    def layers(self) -> tuple[LayerReport, ...]:
        """Every operation, in the order of a pass."""
        return merge_operations(self.operations).layers

    def verdict(self, policy: Policy) -> CheckResult:
        """Return the check `operations`."""
        assert policy.operations is not None  # of every .bin format
        return merge_operations(self.operations).verdict(policy.operations.error_over_bound)

    def wrong_in_float(self, arithmetic: str) -> bool:
        """Whether float activations went wrong. No logit of int8 activations has a reference to explain it by."""
        failures = merge_operations(self.operations).failures
        return any(report.activations == "fp32" and report.arithmetic == arithmetic for report in failures)


def merge_operations(*found: FoundOperations) -> Operations:
    """Return everything that was found, in the order of the windows."""
    merged = Operations()
    for one in found:
        merged.merge(one)
    return merged


class Tracer:
    """Traces windows of one file."""

    def __init__(self, model: reader_c.Model, hyper: Hyperparameters, references: References, depth: str) -> None:
        self._model, self._hyper, self._references, self._depth = model, hyper, references, depth

    def trace(self, windows: Sequence[Window], numbers: list[int], first_positions: FirstPositions | None) -> Traced:
        """Trace windows of one length, by their numbers: each arithmetic, each kind of activations.

        first_positions: of the first of these windows, to say what the storage of each tensor costs there.
        """
        tokens = torch.from_numpy(np.stack([windows[number].tokens for number in numbers]))
        cost = None
        if first_positions is not None:
            of_source, of_file = (
                side.astype(np.float64) for side in (first_positions.of_source, first_positions.of_file)
            )
            first = tokens[0, : len(of_source)]
            cost = storage_cost.attribute(self._hyper, self._references.pair, first, of_source, of_file, numbers[0])
        traced = Traced(storage_cost=cost)
        for arithmetic in ARITHMETICS:
            # "fast" shares everything but its sums and its functions with "mirror"
            most = None if arithmetic == "mirror" else traced_positions(self._depth, tokens.shape[1])
            traced = traced.merged(self._trace(arithmetic, tokens, most, numbers))
        return traced

    def _trace(
        self, arithmetic: reader_c.Arithmetic, tokens: torch.Tensor, most: int | None, numbers: list[int]
    ) -> Traced:
        """Record the first `most` positions of tokens (windows, length); repeat the pass over all of them."""
        recorder, same_bits = _Recorder(arithmetic), NOTHING_COMPARED
        for activations in activations_of(self._model):
            logits = self._record(recorder, arithmetic, activations, tokens[:, :most], numbers)
            for number, ids, recorded in zip(numbers, tokens.numpy(), logits, strict=True):
                every = DEPTHS[self._depth].every_path
                found = other_ways(self._model, number, ids, recorded, arithmetic, activations, every_path=every)
                same_bits = same_bits.merged(found)
        return Traced(
            operations=recorder.operations.found,
            replays=recorder.replays.found,
            same_bits=same_bits,
            wrong=recorder.wrong,
            diagnosis=recorder.diagnosis,
        )

    def _record(
        self,
        recorder: _Recorder,
        arithmetic: reader_c.Arithmetic,
        activations: reader_c.Activations,
        tokens: torch.Tensor,
        numbers: list[int],
    ) -> NDArray[np.float32]:
        """Compare every operation of these windows, as many at a time as fit; return the engine's logits."""
        at_once = self._references.walks or len(numbers)
        batches = [slice(first, first + at_once) for first in range(0, len(numbers), at_once)]
        recompute = self._recompute(arithmetic, activations)
        return np.concatenate(
            [recorder.record(self._model, recompute, tokens[batch], numbers[batch]) for batch in batches]
        )

    def _recompute(self, arithmetic: reader_c.Arithmetic, activations: reader_c.Activations) -> Recompute:
        weights, quantized = self._references.file_weights, self._references.quantized
        return Recompute(self._hyper, weights, quantized, activations, arithmetic)

    def explain(self, where: dict[str, Any], windows: Sequence[Window]) -> Closure | None:
        """Attribute the error of a logit to operations; None if it cannot be compared.

        where: its place, values and arithmetic, as `execution` has them.
        """
        if not where or not math.isfinite(where["expected"]) or not math.isfinite(where["found"]):
            return None
        tokens = torch.from_numpy(windows[where["window"]].tokens)
        gathered = Gathered(self._hyper)
        recompute = self._recompute(where["arithmetic"], "fp32")
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

    def __init__(self, arithmetic: reader_c.Arithmetic) -> None:
        self.operations, self.replays = Operations(arithmetic), Operations(arithmetic)
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
