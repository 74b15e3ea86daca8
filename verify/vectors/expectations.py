"""Refuse to make or to judge anything with references that are not those of the file."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

import reader_c
from verify.checks.config import check_config, same_shapes
from verify.checks.execution import LIMIT_SIGMAS
from verify.checks.file import check_file
from verify.checks.result import CheckResult
from verify.checks.tensors import check_tensors
from verify.errors import CannotJudgeError
from verify.run.reference_logits import References
from verify.sources import Source


def expect_the_source(model: reader_c.Model, source: Source) -> None:
    """Raise CannotJudgeError unless the file holds the source's model, to the bit."""
    length = model.config.max_seq_len

    def checks() -> Iterator[CheckResult]:
        yield check_config(model, source.hyperparameters, length)
        if same_shapes(model, source.hyperparameters):
            yield check_file(model, source, length)
            yield check_tensors(model, source).verdict

    for check in checks():
        if check.status == "fail":
            raise CannotJudgeError(
                f"{model.path}: {check.name}: expected the model of {source.path}, found: {check.detail[:300]}; "
                f"run verify for more"
            )


def expect_agreement(source: Source, references: References, tokens: NDArray[np.int64]) -> None:
    """Raise CannotJudgeError if transformers and the verifier's own reference compute different models from a Hugging
    Face source. tokens: int64 (length,), to compare them with."""
    if source.kind == "huggingface":
        (found,) = references.of(torch.from_numpy(tokens)[None], [0], agree=True)
        references.done_with_logits()
        if found.agreement.sigmas > LIMIT_SIGMAS:
            raise CannotJudgeError(
                f"{source.path}: expected transformers' logits within {LIMIT_SIGMAS:g} standard deviations "
                f"of the verifier's own reference, found {found.agreement.sigmas:.3g}; run verify for more"
            )
