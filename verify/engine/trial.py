"""Try an engine at every position of the traced windows, by the same limits as our own reader."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

import reader_c
from verify.checks.digits import percentage
from verify.checks.execution import Execution
from verify.checks.metrics import Metrics, WindowEvidence, compare_window, summarise
from verify.checks.policy import Policy
from verify.checks.quantization import check_quantization
from verify.checks.result import CheckResult, exact
from verify.engine.command import Engine, EngineFailedError
from verify.engine.hint_search import Hint, Seen, find_hint
from verify.errors import CannotJudgeError
from verify.evidence import Window
from verify.oracle import llama
from verify.sources import Hyperparameters


@dataclass(frozen=True)
class EngineReport:
    """Describes an engine and the result of its trial.

    first: the first window and position beyond the policy's limits, or None. same_bits: how many of all logits have
    exactly the C reader's bits. hint: what the engine does, if a known mistake gives its logits; hint_name: the name
    of that mistake. metrics: the cost of its logits if int8 activations are judged by it, so that another policy can
    judge them again.
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


@dataclass(frozen=True)
class _Difference:
    """Holds a window's logits, the right logits, and the largest difference."""

    tokens: NDArray[np.int64]
    engine: NDArray[np.float32]
    reference: NDArray[np.float64]
    sigma: NDArray[np.float64]
    by: float


def of_engine(judged: CheckResult, same_bits: int, logits: int) -> CheckResult:
    """Turn the result about an engine's logits into the check `engine`."""
    share = percentage(same_bits / max(1, logits), 1)
    detail = f"{judged.detail}; {share} of its logits have the C reader's bits"
    return dataclasses.replace(judged, name="engine", detail=detail)


class Trial:
    """Gathers windows; verdict() and report cover all of them."""

    def __init__(
        self, engine: Engine, model: reader_c.Model, hyper: Hyperparameters, load: llama.Load, policy: Policy
    ) -> None:
        if engine.activations == "q8" and not model.config.group_size:
            engine = dataclasses.replace(engine, activations="fp32")
        self._engine, self._model, self._hyper, self._load, self._policy = engine, model, hyper, load, policy
        # before it first runs, because it may replace its own file
        self._sha256 = engine.digest()
        self._execution = Execution()
        # by their windows' numbers
        self._compared: dict[int, WindowEvidence] = {}
        self._failure: tuple[str, dict[str, Any]] | None = None
        self._furthest: _Difference | None = None
        self._first: dict[str, int] | None = None
        self._windows = self._logits = self._same = 0

    @property
    def activations(self) -> reader_c.Activations:
        """Return the kind of activations by which the engine is judged."""
        return self._engine.activations

    def add(
        self,
        number: int,
        window: Window,
        of_source: NDArray[np.float64],
        of_file: NDArray[np.float64],
        sigma: NDArray[np.float32],
        ours: NDArray[np.float32],
    ) -> None:
        """Run the engine on a window.

        Arrays (length, vocab_size): logits of the source's weights, of the file's weights, the standard deviation of
        the latter under rounding, and the C reader's logits with the engine's kind of activations.
        """
        if self._failure is not None:
            return
        try:
            found = self._engine.logits(self._model.path, window.tokens, self._model.config.vocab_size)
        except EngineFailedError as error:
            self._failure = (str(error), {"window": number})
            return
        self._windows += 1
        self._logits += found.size
        self._same += int(np.count_nonzero(found.view("u4") == ours.view("u4")))
        if not np.isfinite(found).all():
            position, index = map(int, np.argwhere(~np.isfinite(found))[0])
            many = int(np.count_nonzero(~np.isfinite(found)))
            self._first = {"window": number, "position": position}
            self._failure = (
                f"{many} of {found.size} logits {'is' if many == 1 else 'are'} not finite",
                {**self._first, "index": index, "found": str(found[position, index])},
            )
            return
        wide = sigma.astype(np.float64)
        if self.activations == "fp32":
            self._execution.add(number, of_file, wide, found)
            beyond = (np.abs(found - of_file) > self._policy.execution.noise_sigmas * wide).any(axis=1)
        else:
            last = self._compared[number] = compare_window(window.origin, window.tokens, of_source, found)
            limits = self._policy.quantization
            kl_max, error_max = limits.kl_max, limits.max_abs_logit_error
            beyond = (last.kl > (math.inf if kl_max is None else kl_max)) | (
                last.error > (math.inf if error_max is None else error_max)
            )
        off = _Difference(window.tokens, found, of_file, wide, float(np.abs(found - of_file).max()))
        if self._furthest is None or off.by > self._furthest.by:
            self._furthest = off
        if beyond.any() and self._first is None:
            self._first = {"window": number, "position": int(np.flatnonzero(beyond)[0])}

    def verdict(self) -> CheckResult:
        """Judge all windows."""
        if self._failure is not None:
            reason, where = self._failure
            at = ", ".join(f"{key} {where[key]}" for key in ("window", "position") if key in where)
            return exact("engine", 1, f"the engine failed: {reason} ({at})", where)
        judged = of_engine(self._judged, self._same, self._logits)
        detail, where = judged.detail, judged.where
        if judged.status == "fail":
            if self._first is not None:
                where = {**where, "first": self._first}
                detail += f"; first at window {self._first['window']}, position {self._first['position']}"
            if hint := self._hint:
                detail += f"; it gives the logits of an engine that {hint.sentence}"
        return dataclasses.replace(judged, detail=detail, where=where)

    @property
    def report(self) -> EngineReport:
        """Return what the report says, after all windows. Raises CannotJudgeError if the engine changed in
        between."""
        if (now := self._engine.digest()) != self._sha256:
            raise CannotJudgeError(
                "engine: expected the same file before and after, found that it changed during its trial: "
                f"sha256 {self._sha256} before, {now} after"
            )
        library, hint = self._engine.library, self._hint
        return EngineReport(
            library=None if library is None else str(library),
            command=self._engine.command,
            sha256=self._sha256,
            activations=self.activations,
            windows=self._windows,
            logits=self._logits,
            same_bits=self._same,
            first=self._first,
            hint_name=hint.mistake.name if hint else "",
            hint=f"It gives the logits of an engine that {hint.sentence}." if hint else "",
            metrics=self._metrics,
        )

    @property
    def _judged(self) -> CheckResult:
        if self.activations == "fp32":
            return self._execution.verdict("the engine", self._policy.execution.noise_sigmas)
        return check_quantization(None, self._metrics, self._policy.quantization, lossless=False)

    @cached_property
    def _metrics(self) -> Metrics | None:
        """Computed after all windows."""
        if self._failure is not None or not self._compared:
            return None
        metrics, numbers = summarise(list(self._compared.values())), list(self._compared)
        worst = (dataclasses.replace(at, window=numbers[at.window]) for at in metrics.worst_positions)
        return dataclasses.replace(metrics, worst_positions=tuple(worst))

    @cached_property
    def _hint(self) -> Hint | None:
        """Computed after all windows."""
        off = self._furthest
        if off is None or self._failure is not None or self._judged.status != "fail":
            return None
        sigmas = self._policy.execution.noise_sigmas if self.activations == "fp32" else None
        seen = Seen(off.tokens, off.engine, off.reference, off.sigma, sigmas)
        return find_hint(seen, self._hyper, self._load, self._model.config.group_size)
