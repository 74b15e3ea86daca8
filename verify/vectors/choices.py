"""Judge the tokens that an engine chose greedily: a correct choice, a tie within rounding, or a defect."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

import reader_c
from verify.checks.certificates import Certificates, certificates_of
from verify.checks.execution import LIMIT_SIGMAS, WorstLogit, worst_logit
from verify.errors import CannotJudgeError
from verify.oracle import llama
from verify.oracle.logit_margins import Margins, WindowMargins
from verify.oracle.logit_sigma import LogitNoise
from verify.run.memory import AT_EASE, Plan
from verify.run.reference_logits import References
from verify.sources import Source
from verify.vectors.engine_outputs import Output
from verify.vectors.expectations import expect_agreement, expect_the_source

DRAWS = 8


@dataclass(frozen=True)
class Choice:
    """Describes a choice that is not the reference's own.

    expected: the likeliest token by the reference. sigmas: how far the chosen token's logit is below it, in standard
    deviations of the rounding of their difference; infinite for int8 activations, which leave no room.
    """

    position: int
    expected: int
    chosen: int
    sigmas: float


@dataclass(frozen=True)
class Judged:
    """Holds what is certain of an engine's choices.

    certificates: of the judged positions. ties: choices within rounding. defect: the first choice that no correct
    engine makes. logit: the worst logit of an engine whose logits are known.
    """

    certificates: Certificates
    ties: tuple[Choice, ...]
    defect: Choice | None
    logit: WorstLogit | None

    @property
    def passed(self) -> bool:
        """Return whether a correct engine may have made every choice."""
        return self.defect is None and (self.logit is None or self.logit.sigmas <= LIMIT_SIGMAS)


class GreedyJudge:
    """Judges choices on one file by the source's model.

    int8: with int8 activations, as runq.c computes. is_judged: whether the caller knows that the file holds the
    source's model. memory: as References takes it.
    Raises CannotJudgeError if the file does not hold the source's model to the bit.
    """

    def __init__(
        self,
        model: reader_c.Model,
        source: Source,
        *,
        int8: bool = False,
        is_judged: bool = False,
        memory: Plan = AT_EASE,
    ) -> None:
        if int8 and not model.config.group_size:
            raise CannotJudgeError(f"{model.path}: expected Q8_0 weights for int8 activations, found none")
        if model.config.vocab_size < 2:
            raise CannotJudgeError(f"{model.path}: vocab_size: expected 2 tokens or more to choose from, found 1")
        if not is_judged:
            expect_the_source(model, source)
        self._model, self._source, self._int8 = model, source, int8
        self._references, self._agreed = References(source, model, memory), False

    @property
    def activations(self) -> Literal["fp32", "q8"]:
        """Return which activations are judged."""
        return "q8" if self._int8 else "fp32"

    def greedy(self, fed: Sequence[int], steps: int) -> Output:
        """Let the C reader continue a prompt greedily. Raises CannotJudgeError for a prompt that leaves no room."""
        most = self._model.config.max_seq_len
        if len(fed) >= most:
            raise CannotJudgeError(
                f"{self._model.path}: prompt: expected fewer tokens than max_seq_len = {most}, found {len(fed)}"
            )
        length = min(len(fed) + steps, self._model.config.max_seq_len)
        tokens, given = [*fed], [*fed]
        with self._model.session(length) as session:
            while len(tokens) < length:
                logits = session.forward(
                    given, activations=self.activations, arithmetic="mirror" if self._int8 else "fast"
                )
                given = [int(logits[-1].argmax())]
                tokens += given
        return Output.of_tokens("the C reader", tokens, len(fed) - 1)

    def judge(self, output: Output) -> Judged:
        """Judge every choice of an engine."""
        return self._judge_int8(output) if self._int8 else self._judge(output)

    def _judge(self, output: Output) -> Judged:
        if not self._agreed:
            expect_agreement(self._source, self._references, output.fed)
            self._agreed = True
        hyper, load = self._source.hyperparameters, self._references.file_weights
        tokens = torch.from_numpy(output.fed)[None]
        reference = llama.logits(hyper, load, tokens).numpy()
        if not np.isfinite(reference).all():
            raise CannotJudgeError(f"{self._model.path}: expected finite logits, found others")
        asked = np.stack([reference[0].argmax(axis=1), output.chosen], axis=1)[None]
        certain, choices = Margins(hyper, load, reference), Margins(hyper, load, reference, asked)

        def seen(h: torch.Tensor) -> None:
            certain.add(h)
            choices.add(h)

        noise = LogitNoise(hyper, load, tokens, reference, 0, seen=seen)
        noise.draw(DRAWS)
        logit = None
        if output.logits is not None:
            logit = worst_logit(0, reference[0], noise.window(0), output.logits, LIMIT_SIGMAS)
        return _judged(output, certain.window(0, noise), choices.window(0, noise), logit)

    def _judge_int8(self, output: Output) -> Judged:
        """Judge by the exact logits: a choice is right if its logit is the largest."""
        logits = self._model.forward(output.fed, activations="q8", arithmetic="mirror")
        first = logits.argmax(axis=1)
        second = torch.from_numpy(logits).topk(2, dim=1)
        largest, other = second.values.unbind(dim=1)
        gap = (largest > other).numpy()
        found = np.take_along_axis(logits, output.chosen[:, None], axis=1)[:, 0]
        certain = WindowMargins(first, second.indices[:, 1].numpy(), np.where(gap, np.inf, 0.0))
        choices = WindowMargins(first, output.chosen, np.where(largest.numpy() > found, np.inf, 0.0))
        return _judged(output, certain, choices, None if output.logits is None else _exact(logits, output.logits))


def _exact(expected: NDArray[np.float32], found: NDArray[np.float32]) -> WorstLogit:
    """Return the first logit with other bits than expected, which is infinitely wrong."""
    different = expected.view(np.uint32) != found.view(np.uint32)
    position, index = (int(at) for at in np.unravel_index(int(different.argmax()), different.shape))
    values = {"expected": float(expected[position, index]), "found": float(found[position, index])}
    sigmas = np.inf if different.any() else 0.0
    return WorstLogit(sigmas, {"position": position, "index": index, **values}, 0.0, found.size)


def _judged(output: Output, certain: WindowMargins, choices: WindowMargins, logit: WorstLogit | None) -> Judged:
    """Judge the choices from the output's first one on."""
    of_engine = slice(output.first, None)
    other = [
        Choice(position, int(choices.first[position]), int(choices.second[position]), float(choices.sigmas[position]))
        for position in range(output.first, len(output.fed))
        if choices.first[position] != choices.second[position]
    ]
    defect = next((choice for choice in other if choice.sigmas >= LIMIT_SIGMAS), None)
    kept = WindowMargins(certain.first[of_engine], certain.second[of_engine], certain.sigmas[of_engine])
    ties = tuple(choice for choice in other if choice.sigmas < LIMIT_SIGMAS)
    return Judged(certificates_of(0, kept, None, output.first), ties, defect, logit)
