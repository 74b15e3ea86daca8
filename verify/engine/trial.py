"""Try an engine at every position of the windows, by the same limits as our own reader."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import reader_c
from verify.checks.digits import percentage
from verify.checks.execution import Execution, Sigma, worst_logit
from verify.checks.logit_blocks import Logits, blocks
from verify.checks.policy import Policy
from verify.checks.result import CheckResult, exact
from verify.engine.altered_engine import places_of
from verify.engine.command import Engine, EngineFailedError
from verify.engine.engine_report import EngineReport
from verify.engine.hint_search import Hint, Seen, find_hint
from verify.engine.int8_agreement import Int8Agreement
from verify.engine.placement import Place, told
from verify.engine.probes import try_probes
from verify.engine.sequences import Sequences, Unrepeated, first_difference
from verify.errors import CannotJudgeError
from verify.evidence import Window
from verify.oracle import llama
from verify.oracle.int8_noise import CROWDED, TELLING, Draws, Int8Spread, int8_spread
from verify.oracle.int8_probes import Hazard, probe_hazard
from verify.sources import Hyperparameters

# Of a long window this share of the positions, and at least so many, get draws of int8 activations: they take as long
# as three passes over the window. So many logits of all draws fit into 256 MiB.
_DRAWN_SHARE = 3
_DRAWN_POSITIONS = 64
_DRAWN_LOGITS = 1 << 26
# Where the first position alone has so many turns, no difference of a window begins too early.
_MANY_TURNS = 5.0


def drawn_positions(hyper: Hyperparameters, length: int, draws: Draws) -> int:
    """Return how many of a window's first positions get draws of int8 activations."""
    most = _DRAWN_LOGITS // ((1 + len(draws.scales)) * hyper.vocab_size)
    return max(1, min(length, max(_DRAWN_POSITIONS, length // _DRAWN_SHARE), most))


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
        self._engine, self._model, self._hyper, self._load = engine, model, hyper, load
        self._limit = policy.execution.noise_sigmas
        self._sequences = Sequences(engine, model.path, model.config.vocab_size)
        # before it first runs, because it may replace its own file
        self._sha256 = engine.digest()
        self._execution, self._int8 = Execution(), Int8Agreement()
        self._draws, self._probed = TELLING, False
        self._failure: tuple[str, dict[str, Any]] | None = None
        self._furthest: tuple[float, Seen] | None = None
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
        of_file: Logits,
        sigma: Sigma,
        ours: NDArray[np.float32],
    ) -> None:
        """Run the engine on a window.

        Arrays (length, vocab_size): logits of the file's weights, their standard deviation under rounding, and the C
        reader's logits with the engine's kind of activations. Int8 activations are judged by the last alone, float
        ones at the first positions that sigma has.
        """
        if self._failure is not None:
            return
        second = self._windows % 2 == 1
        try:
            ran = self._sequences.run(window.tokens, second=second)
        except EngineFailedError as error:
            self._failure = (str(error), {"window": number})
            return
        found = ran.logits
        self._windows += 1
        self._logits += found.size
        self._same += int(np.count_nonzero(found.view("u4") == ours.view("u4")))
        if not np.isfinite(found).all():
            self._fail_not_finite(number, found)
            return
        if ran.unrepeated is not None:
            self._blame_repetition(number, ran.unrepeated)
            return
        reference: Logits
        if self.activations == "fp32":
            first, reference = self._add_float(number, of_file, sigma, found), of_file
        else:
            first, reference = self._add_int8(number, window, ours, found), ours
        if first is None:
            return
        by = float(np.abs(found - reference).max())
        if self._first is None:
            self._first = {"window": number, "position": first}
            if second or self._sequences.per_process == 1:
                self._run_alone(number, window, found, by)
        if self._furthest is None or by > self._furthest[0]:
            limit = self._limit if self.activations == "fp32" else None
            wide = sigma[:].astype(np.float64)
            right = reference.astype(np.float64)[: len(wide)]
            noise = 0.0 if limit else float(np.sqrt(np.square(ours - of_file).mean()))
            self._furthest = (by, Seen(window.tokens[: len(wide)], found[: len(wide)], right, wide, limit, noise))

    def _add_float(self, number: int, of_file: Logits, sigma: Sigma, found: NDArray[np.float32]) -> int | None:
        """Return the first position beyond the limit."""
        worst = worst_logit(number, of_file, sigma, found, self._limit)
        self._execution.merge(worst)
        judged = sigma.shape[0], found.shape[1]
        for rows in blocks(*judged) if worst.sigmas > self._limit else ():
            engine, reference, wide = (one[rows].astype(np.float64) for one in (found, of_file, sigma))
            beyond = (np.abs(engine - reference) > self._limit * wide).any(axis=1)
            if beyond.any():
                return int(rows.start + beyond.argmax())
        return None

    def _add_int8(
        self, number: int, window: Window, ours: NDArray[np.float32], found: NDArray[np.float32]
    ) -> int | None:
        """Return the first position that differs at all, if the windows so far are beyond the limit."""
        position = first_difference(found, ours)
        if position is None:
            self._int8.add_equal(found.size)
            return None
        self._int8.add(number, window.tokens, self._spread(number, window), ours, found)
        if not self._probed and self._engine.runs_sequences:
            self._probed = True
            self._probe(number, window)
        if self._int8.verdict(self._limit).status == "pass":
            return None
        first = self._int8.first
        return first["position"] if first and first["window"] == number else position

    def _spread(self, number: int, window: Window) -> Int8Spread:
        count = drawn_positions(self._hyper, len(window.tokens), self._draws)
        tokens = torch.from_numpy(window.tokens[:count])
        spread = int8_spread(self._hyper, self._load, self._group_size, tokens, self._draws, seed=number)
        if spread.turns is not None and float(spread.turns[0]) > _MANY_TURNS:
            self._draws = CROWDED
        return spread

    def _probe(self, number: int, window: Window) -> None:
        """Try the engine on short sequences that follow from a window, so that an engine cannot expect them."""

        def reader(sequences: Sequence[NDArray[np.int64]]) -> list[NDArray[np.float32]]:
            return [self._model.forward(tokens, activations="q8", arithmetic="mirror") for tokens in sequences]

        def hazard(tokens: torch.Tensor, scale: float, seed: int) -> Hazard:
            return probe_hazard(self._hyper, self._load, self._group_size, tokens, scale, seed)

        sizes = self._hyper.vocab_size, self._model.config.max_seq_len
        try:
            found = try_probes(self._sequences.together, reader, hazard, *sizes, seed=window.tokens.tolist())
            self._int8.add_probes(found)
        except EngineFailedError as error:
            self._failure = (f"{error}, on short sequences", {"window": number})

    def _group_size(self, matrix: str) -> int:
        how = self._model.storage(matrix)
        return how.group_size if how.storage == "q8_0" else 0

    def _blame_repetition(self, number: int, unrepeated: Unrepeated) -> None:
        try:
            self._fail(self._sequences.reason(unrepeated), number, unrepeated.position)
        except EngineFailedError as error:
            self._failure = (str(error), {"window": number})

    def _run_alone(self, number: int, window: Window, found: NDArray[np.float32], by: float) -> None:
        """Find out whether a wrong window gets other logits in a process of its own. by: how wrong it is."""
        try:
            reason = self._sequences.reason_of_wrong(window.tokens, found, by)
        except EngineFailedError as error:
            self._failure = (str(error), {"window": number})
            return
        if reason is not None:
            self._fail(reason[0], number, reason[1])

    def _fail(self, reason: str, window: int, position: int, **more: object) -> None:
        self._first = {"window": window, "position": position}
        self._failure = (reason, {**self._first, **more})

    def _fail_not_finite(self, number: int, found: NDArray[np.float32]) -> None:
        position, index = map(int, np.argwhere(~np.isfinite(found))[0])
        many = int(np.count_nonzero(~np.isfinite(found)))
        reason = f"{many} of {found.size} logits {'is' if many == 1 else 'are'} not finite"
        self._fail(reason, number, position, index=index, found=str(found[position, index]))

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
            if self._places:
                detail += f"; {told(self._places)}"
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
            sequences_per_process=self._sequences.per_process,
            places=self._places,
        )

    @property
    def _judged(self) -> CheckResult:
        if self.activations == "fp32":
            return self._execution.verdict("the engine", self._limit)
        return self._int8.verdict(self._limit)

    @cached_property
    def _hint(self) -> Hint | None:
        """Computed after all windows."""
        if self._wrong is None:
            return None
        return find_hint(self._wrong, self._hyper, self._load, self._model.config.group_size, self._group_size)

    @cached_property
    def _places(self) -> tuple[Place, ...]:
        """Computed after all windows; nothing if there is a hint."""
        if self._wrong is None or self._hint is not None:
            return ()
        return places_of(self._engine, self._model, self._hyper, self._load, self._wrong)

    @property
    def _wrong(self) -> Seen | None:
        """Return the window with the largest error of an engine that fails by its logits."""
        if self._furthest is None or self._failure is not None or self._judged.status != "fail":
            return None
        return self._furthest[1]
