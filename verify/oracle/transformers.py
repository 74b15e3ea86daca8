"""Runs Hugging Face's own model on the CPU: it computes what a Hugging Face source means."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from verify.errors import CannotJudgeError
from verify.oracle import multiplications
from verify.oracle.streamed import COMPUTED, Load, empty_model, fill, stream
from verify.sources import Hyperparameters
from verify.sources.huggingface import HuggingFaceSource
from verify.system.optional_imports import one_line, quiet_transformers, wanted
from verify.system.pulse import pulse


class TransformersOracle:
    """A model in float32 with plain ("eager") attention. Nothing is downloaded, and no code but transformers' runs.

    The config object comes from the source, whose config.json is judged already. Transformers' own loader reads the
    weights where the directory stands as that loader expects it; where names were changed, an adapter was merged or
    an adapter's config stands beside the model, the source reads them, and the model gets them one by one.

    Raises CannotJudgeError where transformers is not installed, cannot load the directory, or finds other tensors in
    it than its model has: it would make up those that are missing.
    """

    def __init__(self, source: HuggingFaceSource, *, streamed: bool = False, load: Load | None = None) -> None:
        """streamed: hold one layer's weights at a time. load: returns other weights than the source's."""
        self._path, self._hyper = source.path, source.hyperparameters
        with quiet_transformers() as transformers:
            try:
                if source.is_plain and not streamed and load is None:
                    self._model = _loaded(transformers, source)
                else:
                    self._model = empty_model(transformers, source)
                    (stream if streamed else fill)(self._model, source, load or source.transformers_tensor)
                for number, layer in enumerate(self._model.model.layers):
                    layer.register_forward_hook(partial(_pulse, self._hyper, number))
            except CannotJudgeError:
                raise
            except Exception as error:  # from_pretrained's failures have no common class
                raise CannotJudgeError(
                    f"{source.path}: expected a model that transformers loads, found: {one_line(error)}"
                ) from error

    @property
    def version(self) -> str:
        """Of transformers."""
        return str(wanted("transformers").__version__)

    def logits(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return float32 logits (windows, length, vocab_size) at all positions of integer tokens (windows,
        length)."""
        with quiet_transformers(), torch.no_grad():
            try:
                output = self._model(
                    input_ids=tokens.to(torch.int64), use_cache=False, logits_to_keep=0, return_dict=True
                )
            except Exception as error:  # as above
                raise CannotJudgeError(
                    f"{self._path}: expected logits from transformers, found: {one_line(error)}"
                ) from error
        logits: torch.Tensor = output.logits
        if logits.shape[:2] != tokens.shape or logits.dtype != torch.float32:
            raise CannotJudgeError(
                f"{self._path}: logits of transformers: expected float32 for each of {tuple(tokens.shape)} "
                f"tokens, found {logits.dtype} {tuple(logits.shape)}"
            )
        pulse(multiplications.of_head(self._hyper, *tokens.shape))
        return logits


def _pulse(hyper: Hyperparameters, number: int, _layer: Any, inputs: tuple[torch.Tensor, ...], _output: Any) -> None:
    """Report a layer. inputs: the residual stream (windows, length, dim)."""
    pulse(multiplications.of_layer(hyper, *inputs[0].shape[:2], experts=hyper.layer(number).experts))


def _loaded(transformers: Any, source: HuggingFaceSource) -> Any:
    """The model as transformers' own loader makes it of the directory."""
    config = source.transformers_config()
    model, info = getattr(transformers, source.architecture).from_pretrained(
        str(source.path),
        config=config,
        local_files_only=True,
        dtype=torch.float32,
        attn_implementation="eager",
        output_loading_info=True,
        # or a file would be read that is no part of the source, and that nothing has checked
        generation_config=transformers.GenerationConfig(),
        ignore_mismatched_sizes=True,  # to be refused by name, below
    )
    _check_complete(source, info, tied=bool(config.tie_word_embeddings))
    return model.eval()


def _check_complete(source: HuggingFaceSource, info: dict[str, Any], *, tied: bool) -> None:
    """Refuse each key that transformers did not find, did not know, or could not use."""
    for kind, found in info.items():
        for entry in sorted(found, key=str):
            # a name, or a name with two shapes
            name = entry if isinstance(entry, str) else str(entry[0])
            if kind == "unexpected_keys" and name.endswith(COMPUTED):
                continue
            if kind != "error_msgs" and tied and name == "lm_head.weight":
                continue
            raise CannotJudgeError(
                f"{source.path}: expected every tensor of transformers' model and no other, found {name[:200]} among "
                f"its {kind}"
            )
