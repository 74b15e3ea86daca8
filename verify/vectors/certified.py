"""Certify greedy text of the C reader, or what engines gave, and say what was found: for people and as plain data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from verify.checks.certificates import GreedyText, greedy_text_of
from verify.report.document import plain
from verify.vectors.choices import GreedyJudge, Judged
from verify.vectors.engine_outputs import Output, Prompt, expect_shown, parting
from verify.vectors.sentences import Spelled, defect_of, of_output, of_parting


@dataclass(frozen=True)
class Certified:
    """Holds what was found.

    greedy_text: how long the C reader's own text is certain; None where outputs were judged, and for a reader with a
    defect. outputs, judged: what was judged, and what is certain of each. parting: the first position where the first
    two outputs chose different tokens; None if there is none.
    """

    greedy_text: GreedyText | None
    outputs: tuple[Output, ...]
    judged: tuple[Judged, ...]
    parting: int | None = None

    @property
    def passed(self) -> bool:
        """Return whether a correct engine may have made every choice."""
        return all(found.passed for found in self.judged)

    def lines(self, spelled: Spelled) -> list[str]:
        """Say it for people. spelled: returns a token as people read it."""
        if self.greedy_text is not None:
            return [self.greedy_text.sentence(spelled)]
        said = [of_output(output, found, spelled) for output, found in zip(self.outputs, self.judged, strict=True)]
        if len(self.outputs) > 1:
            one, other = self.outputs[:2]
            said.append(
                f"{one.name} and {other.name} chose the same tokens"
                if self.parting is None
                else of_parting(self.parting, (one, other), self.judged[:2], spelled)
            )
        return said

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data; numbers that are not finite become text, as in report.json."""
        return {
            "passed": self.passed,
            "greedy_text": None if self.greedy_text is None else plain(asdict(self.greedy_text)),
            "outputs": []
            if self.greedy_text is not None
            else [_plain_of(output, found) for output, found in zip(self.outputs, self.judged, strict=True)],
            "parting": None
            if self.parting is None
            else {
                "position": self.parting,
                "chosen": [int(output.chosen[self.parting]) for output in self.outputs[:2]],
                "defect_of": defect_of(self.parting, self.outputs[:2], self.judged[:2]),
            },
        }


def certify_greedy_text(judge: GreedyJudge, prompt: Prompt, steps: int) -> Certified:
    """Certify the C reader's own greedy text. Raises CannotJudgeError."""
    output = judge.greedy(prompt.ids, steps)
    judged = judge.judge(output)
    text = (
        greedy_text_of(prompt.text, judge.activations, output.first, judged.certificates) if judged.passed else None
    )
    return Certified(text, (output,), (judged,))


def certify_outputs(judge: GreedyJudge, outputs: Sequence[Output], tokenizer: Path) -> Certified:
    """Judge what engines gave, and where the first two part.

    Raises CannotJudgeError for a text that does not show which token an engine chose.
    """
    judged = tuple(judge.judge(output) for output in outputs)
    for output, found in zip(outputs, judged, strict=True):
        if found.defect is not None:
            expect_shown(output, found.defect.position, found.defect.expected, tokenizer)
    return Certified(None, tuple(outputs), judged, parting(*outputs[:2]) if len(outputs) > 1 else None)


def _plain_of(output: Output, found: Judged) -> dict[str, Any]:
    logit = found.logit
    said: dict[str, Any] = plain(
        {
            "name": output.name,
            "passed": found.passed,
            "tokens": found.certificates.positions,
            "certified": found.certificates.certified,
            "ties": [asdict(tie) for tie in found.ties],
            "defect": None if found.defect is None else asdict(found.defect),
            "worst_logit": None if logit is None else {**logit.where, "sigmas": logit.sigmas},
        }
    )
    return said
