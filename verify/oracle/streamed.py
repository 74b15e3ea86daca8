"""Run transformers' own model with the weights of one module in memory at a time.

The model is created without weights. Before transformers runs a decoder layer, the layer's weights are read from the
source's files; after it they are freed. Only transformers' code decides what runs and in which order.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from verify.errors import CannotJudgeError

# (name in the directory) -> the tensor as it is stored
Read = Callable[[str], torch.Tensor]

# A buffer that old checkpoints hold, although every model computes it.
COMPUTED = "rotary_emb.inv_freq"
_EMBEDDING, _CLASSIFIER = "model.embed_tokens.weight", "lm_head.weight"


def streamed_model(transformers: Any, directory: Path, read: Read, shapes: dict[str, tuple[int, ...]]) -> Any:
    """Create a model that can be called like any other.

    shapes: of every tensor in the directory, by name. Raises CannotJudgeError unless they are those of the model.
    """
    config = transformers.AutoConfig.from_pretrained(str(directory), local_files_only=True, trust_remote_code=False)
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(
            config, attn_implementation="eager", dtype=torch.float32, trust_remote_code=False
        ).eval()
    # computed from the configuration, not read from a file
    model.model.rotary_emb = type(model.model.rotary_emb)(config=config)
    tied = bool(config.tie_word_embeddings)
    _check_names(directory, model, shapes, tied=tied)
    parts = {"model.embed_tokens": model.model.embed_tokens, "model.norm": model.model.norm, "lm_head": model.lm_head}
    parts |= {f"model.layers.{number}": layer for number, layer in enumerate(model.model.layers)}
    for prefix, module in parts.items():
        module.register_forward_pre_hook(partial(_load, prefix, read, tied))
        module.register_forward_hook(_forget)
    return model


def _check_names(directory: Path, model: Any, shapes: dict[str, tuple[int, ...]], *, tied: bool) -> None:
    wanted = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    if tied:
        wanted.pop(_CLASSIFIER, None)
    found = {name: shape for name, shape in shapes.items() if not name.endswith(COMPUTED)}
    if tied:
        found.pop(_CLASSIFIER, None)
    for name in sorted(wanted.keys() | found.keys()):
        if wanted.get(name) != found.get(name):
            raise CannotJudgeError(
                f"{directory}: {name}: expected {wanted.get(name, 'no such tensor')}, as transformers' model has it, "
                f"found {found.get(name, 'none')}"
            )


def _load(prefix: str, read: Read, tied: bool, module: torch.nn.Module, _inputs: Any) -> None:
    state = {}
    for name in module.state_dict():
        whole = f"{prefix}.{name}"
        state[name] = read(_EMBEDDING if tied and whole == _CLASSIFIER else whole).to(torch.float32)
    module.load_state_dict(state, strict=True, assign=True)


def _forget(module: torch.nn.Module, _inputs: Any, _outputs: Any) -> None:
    module.to("meta")
