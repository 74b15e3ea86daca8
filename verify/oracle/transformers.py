"""Run Hugging Face's own model on the CPU: a Hugging Face source with the code that it was made for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from verify.errors import CannotJudgeError
from verify.oracle.streamed import COMPUTED, Read, streamed_model
from verify.system.optional_imports import one_line, quiet_transformers, wanted


class TransformersOracle:
    """Runs a model in float32 with plain ("eager") attention. Nothing is downloaded, and only transformers' code
    runs.

    Raises CannotJudgeError if transformers is not installed, cannot load the directory, or finds other tensors in it
    than its model has; transformers would initialise missing ones at random.
    """

    def __init__(self, directory: Path, stored: tuple[Read, dict[str, tuple[int, ...]]] | None = None) -> None:
        """Load the model. stored: a function that reads a tensor by its name in the directory, and the shapes of all
        tensors, to run the model layer by layer; None to load it whole."""
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
                    # otherwise transformers reads a file that is not part of the source and that nothing has checked
                    generation_config=transformers.GenerationConfig(),
                    ignore_mismatched_sizes=True,  # refused by name below
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
        """Return the version of transformers."""
        return str(wanted("transformers").__version__)

    def logits(self, tokens: torch.Tensor) -> torch.Tensor:
        """Compute logits (windows, length, vocab_size), float32, at all positions of integer tokens (windows,
        length)."""
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
    """Refuse every key that transformers did not find, did not know, or could not use."""
    for kind, found in info.items():
        for entry in sorted(found, key=str):
            # a name, or a name with two shapes
            name = entry if isinstance(entry, str) else str(entry[0])
            if kind == "unexpected_keys" and name.endswith(COMPUTED):
                continue
            if kind != "error_msgs" and tied and name == "lm_head.weight":
                continue
            raise CannotJudgeError(
                f"{directory}: expected exactly the tensors of transformers' model, found {name[:200]} among "
                f"its {kind}"
            )
