"""Certify greedy text from the prompts that a verdict was given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import reader_c
from verify.checks.certificates import GreedyText, greedy_text_of
from verify.errors import CannotJudgeError
from verify.evidence import Evidence
from verify.oracle import multiplications
from verify.run.memory import Plan
from verify.run.progress import Meter, Progress
from verify.sources import Hyperparameters, Source
from verify.system.pulse import NOISY, WIDE
from verify.vectors.choices import DRAWS, GreedyJudge, Judged
from verify.vectors.engine_outputs import Output, Prompt, read_prompt
from verify.vectors.sentences import of_output

# What must have passed: the file holds the source's model, and the reader computes it.
_NEEDED = ("config", "file", "tensors", "execution")


def read_prompts(source: Source, evidence: Evidence, max_seq_len: int) -> tuple[Prompt, ...]:
    """Encode the prompts of a verdict. Raises CannotJudgeError, before anything is computed."""
    if not evidence.prompts:
        return ()
    if evidence.steps < 1:
        raise CannotJudgeError(f"steps: expected 1 or more, found {evidence.steps}")
    if not all(evidence.prompts):
        raise CannotJudgeError("prompt: expected a text, found an empty one")
    words, vocab_size = evidence.tokenizer or source.tokenizer_path, source.hyperparameters.vocab_size
    found = tuple(read_prompt(prompt, None, words, vocab_size) for prompt in evidence.prompts)
    for prompt in found:
        if len(prompt.ids) >= max_seq_len:
            raise CannotJudgeError(
                f"prompt: expected fewer tokens than max_seq_len = {max_seq_len}, found {len(prompt.ids)}"
            )
    return found


def not_certified(prompts: Sequence[Prompt], passed: set[str]) -> str | None:
    """Return why the prompts of a verdict cannot be certified, as a note; None if they can. passed: names of checks
    that did."""
    missing = [name for name in _NEEDED if name not in passed]
    if not prompts or not missing:
        return None
    return f"greedy text from the prompts was not certified, because {', '.join(missing)} did not pass"


def certify_prompts(
    model: reader_c.Model,
    source: Source,
    prompts: Sequence[Prompt],
    steps: int,
    memory: Plan,
    progress: Progress,
) -> tuple[GreedyText, ...]:
    """Say of each prompt how long greedy text from it is certain, with each kind of activations of the file.

    The checks of the verdict have shown that the file holds the source's model. Raises CannotJudgeError if the
    reader chooses what no correct engine chooses.
    """
    kinds: tuple[Literal["fp32", "q8"], ...] = ("fp32", "q8") if model.config.group_size else ("fp32",)
    longest = model.config.max_seq_len
    works = [_work(source.hyperparameters, min(len(prompt.ids) + steps, longest)) for prompt in prompts]
    found = []
    meter = Meter(progress, "greedy text", len(kinds) * sum(works))
    for activations in kinds:
        judge = GreedyJudge(model, source, int8=activations == "q8", is_judged=True, memory=memory)
        for prompt, work in zip(prompts, works, strict=True):
            with meter.part(work):
                output = judge.greedy(prompt.ids, steps)
                judged = judge.judge(output)
            _expect_no_defect(model, output, judged)
            found.append(greedy_text_of(prompt.text, activations, output.first, judged.certificates))
    meter.finish()
    return tuple(found)


def _expect_no_defect(model: reader_c.Model, output: Output, judged: Judged) -> None:
    if not judged.passed:
        found = of_output(output, judged, str)
        raise CannotJudgeError(f"{model.path}: prompt: expected a correct engine's choices, found {found}")


def _work(hyper: Hyperparameters, length: int) -> float:
    """Predict the work of judging one text."""
    one = multiplications.of_head(hyper, 1, length) + hyper.n_layers * multiplications.of_layer(hyper, 1, length)
    return one * (WIDE + DRAWS * NOISY)
