"""transformers on the directory that is judged: its own loader reads everything, as it will for the users."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from verify.system.optional_imports import one_line, quiet_transformers
from verify.system.pulse import pulse


class NotRunError(Exception):
    """transformers cannot load or run the directory, which is a finding about it."""


class DirectoryEngine:
    """The model in float32 on the CPU with plain ("eager") attention; no code but transformers' runs."""

    def __init__(self, directory: Path) -> None:
        """Raises NotRunError, also where transformers would make up a tensor or leave one out."""
        with quiet_transformers() as transformers:
            try:
                model, info = transformers.AutoModelForCausalLM.from_pretrained(
                    str(directory),
                    local_files_only=True,
                    trust_remote_code=False,
                    dtype=torch.float32,
                    attn_implementation="eager",
                    experts_implementation="eager",
                    output_loading_info=True,
                    ignore_mismatched_sizes=True,  # refused by name, below
                )
            except Exception as error:  # from_pretrained's failures have no common class
                raise NotRunError(f"expected a model that transformers loads, found: {one_line(error)}") from error
        _check_complete(info, tied=bool(model.config.tie_word_embeddings))
        self._model = model.eval()
        for layer in getattr(getattr(self._model, "model", None), "layers", ()):
            layer.register_forward_hook(_pulse)

    def logits(self, tokens: torch.Tensor) -> NDArray[np.float32]:
        """Return logits (windows, length, vocab_size) of integer tokens (windows, length). Raises NotRunError."""
        with quiet_transformers(), torch.no_grad():
            try:
                found = self._model(input_ids=tokens, use_cache=False, logits_to_keep=0, return_dict=True).logits
            except Exception as error:  # as above
                raise NotRunError(f"expected logits from transformers, found: {one_line(error)}") from error
        if found.shape[:2] != tokens.shape or found.dtype != torch.float32:
            shape = f"{found.dtype} {tuple(found.shape)}"
            raise NotRunError(f"expected float32 logits for each of {tuple(tokens.shape)} tokens, found {shape}")
        logits: NDArray[np.float32] = found.numpy()
        return logits


def _pulse(layer: torch.nn.Module, inputs: tuple[torch.Tensor, ...], _output: Any) -> None:
    """Report a layer. inputs: the residual stream (windows, length, dim)."""
    pulse(inputs[0].shape[:2].numel() * sum(weight.numel() for weight in layer.parameters()))


def _check_complete(info: dict[str, Any], *, tied: bool) -> None:
    for kind, found in info.items():
        for entry in sorted(found, key=str):
            # a name, or a name with two shapes
            name = entry if isinstance(entry, str) else str(entry[0])
            # a tied classifier may be stored a second time
            if kind == "error_msgs" or not (tied and name == "lm_head.weight"):
                raise NotRunError(
                    f"expected every tensor of transformers' model and no other, found {name[:200]} among its {kind}"
                )
