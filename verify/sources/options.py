"""Holds what a user may say about a source besides its path."""

from __future__ import annotations

import os
from dataclasses import dataclass

from verify.errors import CannotJudgeError


@dataclass(frozen=True)
class SourceOptions:
    """Options of open_source. Each supplies what one kind of source leaves open; every other kind refuses it.

    max_seq_len: how many positions, for a params.json that does not say it and for a sliding window that is shorter
    than the model. follow_links: whether links may lead out of the source's directory. adapter: a directory with LoRA
    weights for a Hugging Face base. rope_theta, rope_scaling_factor: for a params.json that does not say them.
    tied: whether the classifier is the embedding, for a llama2.c checkpoint whose two matrices differ and for a
    directory of Meta's without a classifier.
    """

    max_seq_len: int | None = None
    follow_links: bool = False
    adapter: str | os.PathLike[str] | None = None
    rope_theta: float | None = None
    rope_scaling_factor: float | None = None
    tied: bool | None = None

    def expect_only_for(self, kind: str) -> None:
        """Raise CannotJudgeError for an option that this kind of source does not take."""
        of_meta = {"rope_theta": self.rope_theta, "rope_scaling_factor": self.rope_scaling_factor}
        given = [] if kind == "meta" else [(name, "meta") for name, value in of_meta.items() if value is not None]
        if self.adapter is not None and kind != "huggingface":
            given.append(("adapter", "huggingface"))
        if self.tied is not None and kind not in ("llama2c", "meta"):
            given.append(("tied" if self.tied else "untied", "llama2c or meta"))
        for name, wanted in given:
            raise CannotJudgeError(
                f"--{name.replace('_', '-')}: expected a source of kind {wanted}, found one of kind {kind}"
            )


NO_OPTIONS = SourceOptions()
