"""Hugging Face's own model on the CPU: what a Hugging Face source computes, by the code that it was made for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from verify.errors import CannotJudgeError
from verify.oracle.streamed import COMPUTED, Read, streamed_model
from verify.system.optional_imports import one_line, quiet_transformers, wanted


class TransformersOracle:
    """A model in float32 with plain ("eager") attention. Nothing is downloaded, and no code but transformers' runs.

    Raises CannotJudgeError where transformers is not installed, cannot load the directory, or finds other tensors
    in it than its model has: it would make up those that are missing.
    """

    def __init__(self, directory: Path, stored: tuple[Read, dict[str, tuple[int, ...]]] | None = None) -> None:
        """stored: how a tensor is read by the directory's name for it, and all their shapes, where the model is to be
        taken layer by layer; None to load it whole."""
        self._directory = directory
        with quiet_transformers() as transformers:
            try:
                if stored is not None:
                    self._model = streamed_model(transformers, directory, *stored)
                    return
                model, info = transformers.AutoModelForCausalLM.from_pretrained(
                    str(directory),
                    local_files_only=True,
                    trust_remote_code=False,
                    dtype=torch.float32,
                    attn_implementation="eager",
                    output_loading_info=True,
                    # or a file would be read that is no part of the source, and that nothing has checked
                    generation_config=transformers.GenerationConfig(),
                    ignore_mismatched_sizes=True,  # to be refused by name, below
                )
            except CannotJudgeError:
                raise
            except Exception as error:  # from_pretrained's failures have no common class
                raise CannotJudgeError(
                    f"{directory}: expected a model that transformers loads, found: {one_line(error)}"
                ) from error
        _check_complete(directory, info, tied=bool(model.config.tie_word_embeddings))
        self._model = model.eval()

    @property
    def version(self) -> str:
        """Of transformers."""
        return str(wanted("transformers").__version__)

    def logits(self, tokens: torch.Tensor) -> torch.Tensor:
        """Logits (windows, length, vocab_size), float32, at all positions of integer tokens (windows, length)."""
        with quiet_transformers(), torch.no_grad():
            try:
                output = self._model(input_ids=tokens.to(torch.int64), use_cache=False, logits_to_keep=0)
            except Exception as error:  # as above
                raise CannotJudgeError(
                    f"{self._directory}: expected logits from transformers, found: {one_line(error)}"
                ) from error
        logits: torch.Tensor = output.logits
        if logits.shape[:2] != tokens.shape or logits.dtype != torch.float32:
            raise CannotJudgeError(
                f"{self._directory}: logits of transformers: expected float32 for each of {tuple(tokens.shape)} "
                f"tokens, found {logits.dtype} {tuple(logits.shape)}"
            )
        return logits


def _check_complete(directory: Path, info: dict[str, Any], *, tied: bool) -> None:
    """Each key that transformers did not find, did not know, or could not use is one too many."""
    for kind, found in info.items():
        for entry in sorted(found, key=str):
            # a name, or a name with two shapes
            name = entry if isinstance(entry, str) else str(entry[0])
            if kind == "unexpected_keys" and name.endswith(COMPUTED):
                continue
            if kind != "error_msgs" and tied and name == "lm_head.weight":
                continue
            raise CannotJudgeError(
                f"{directory}: expected every tensor of transformers' model and no other, found {name[:200]} among "
                f"its {kind}"
            )
