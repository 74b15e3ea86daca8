"""The checks that look inside a file's engine: every operation, and the logits that come of them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

import reader_c
from verify.checks.execution import Execution
from verify.checks.operations import LayerReport, Operations, describe, where_of
from verify.checks.result import CheckResult, exact
from verify.closure import Closure, Gathered, close
from verify.evidence import Window
from verify.operations.judged import Judged
from verify.operations.recompute import Recompute, Recorded
from verify.operations.record import record
from verify.references import Floats, References
from verify.sources import Hyperparameters

# How many windows are looked into, by depth; all of them at "full". To look into one costs as much as running some
# twenty of them.
_WINDOWS = {"quick": 2, "standard": 3}


def choose(windows: list[Window], depth: str) -> list[int]:
    """Numbers of the windows to look into, in their order: the first of each origin, then the second, ..."""
    by_origin: dict[str, list[int]] = {}
    for number, window in enumerate(windows):
        by_origin.setdefault(window.origin, []).append(number)
    # of the fixed ones, the one whose tokens differ
    by_origin.get("fixed", []).reverse()
    turns = max(map(len, by_origin.values()))
    order = [numbers[turn] for turn in range(turns) for numbers in by_origin.values() if turn < len(numbers)]
    return sorted(order[: _WINDOWS.get(depth, len(order))])


class Proof:
    """Gathers evidence of `operations` and `execution` over windows."""

    def __init__(
        self,
        model: reader_c.Model,
        hyper: Hyperparameters,
        references: References,
        arithmetic: reader_c.Arithmetic,
    ) -> None:
        self._model, self._hyper, self._references, self._arithmetic = model, hyper, references, arithmetic
        self.operations, self._replays = Operations(), Operations()
        self._execution = Execution()
        self._activations: tuple[reader_c.Activations, ...] = ("fp32", "q8") if model.config.group_size else ("fp32",)

    @property
    def layers(self) -> tuple[LayerReport, ...]:
        return self.operations.layers

    def add(self, windows: list[Window], numbers: list[int], of_source: Floats) -> None:
        """Windows of one length by their numbers; of_source (windows, length, vocab_size)."""
        tokens = torch.from_numpy(np.stack([windows[number].tokens for number in numbers]))
        of_file, sigma = self._references.of_file(tokens, numbers, of_source)
        for activations in self._activations:
            logits = self._operations(activations, tokens, numbers)
            if activations == "fp32":
                for row, number in enumerate(numbers):
                    self._execution.add(number, of_file[row], sigma[row], logits[row])

    def _operations(
        self, activations: reader_c.Activations, tokens: torch.Tensor, numbers: list[int]
    ) -> NDArray[np.float32]:
        """Every operation of these windows; returns the engine's logits."""
        at: Recorded = {}
        for layer, at, _x, judged in self._judge(activations, tokens):  # noqa: B007  # the last one's is wanted
            for operation in judged:
                gathered = self._replays if operation.replay else self.operations
                gathered.add(activations, layer, numbers, operation)
        logits: NDArray[np.float32] = at["logits"].numpy()
        return logits

    def _judge(
        self, activations: reader_c.Activations, tokens: torch.Tensor
    ) -> Iterator[tuple[int | None, Recorded, torch.Tensor, Iterator[Judged]]]:
        """Stage by stage: the layer, what it recorded, the residual stream that it read, and its operations."""
        recompute = Recompute(
            self._hyper, self._references.file_weights, self._references.quantized, activations, self._arithmetic
        )
        x = torch.empty(0)
        for layer, at in record(self._model, list(tokens.numpy()), activations, self._arithmetic):
            if layer is not None:
                yield layer, at, x, recompute.layer(layer, at, x)
                x = at["ffn_residual"]
            elif "embedding" in at:
                yield layer, at, x, recompute.embedding(at, tokens)
                x = at["embedding"]
            else:
                yield layer, at, x, recompute.classifier(at, x)

    def verdicts(self) -> list[CheckResult]:
        """Of `operations` and `execution`."""
        execution = self._references.disagreement() or self._execution.verdict(self._arithmetic)
        if self._replays.layers and execution.status == "pass":
            execution = self._with_replay(execution)
        return [self.operations.verdict(), execution]

    def _with_replay(self, execution: CheckResult) -> CheckResult:
        """int8 activations have no tolerance: one that rounds the other way moves logits as far as a mistake does.
        What the engine made of them is computed again to the bit."""
        failures = self._replays.failures
        if not failures:
            more = f"; {len(self._replays.layers)} operations on int8 activations computed again, every bit alike"
            return dataclasses.replace(execution, detail=execution.detail + more)
        detail = f"int8 activations, computed again: {describe(failures[0], len(failures))}"
        return exact("execution", len(failures), detail, where_of(failures[0]))

    def close(self, windows: list[Window]) -> Closure | None:
        """What the logit that is furthest off owes to which operation; None where no logits can be compared."""
        where = self._execution.where
        if not where or not math.isfinite(where["expected"]) or not math.isfinite(where["found"]):
            return None
        tokens = torch.from_numpy(windows[where["window"]].tokens)
        gathered = Gathered()
        for layer, at, x, judged in self._judge("fp32", tokens.unsqueeze(0)):
            for operation in judged:
                gathered.add(layer, operation)
            if layer is not None:
                gathered.add_sums(layer, at, x)
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
