"""Makes transformers' own model without weights, and gives it those that the source reads, or others.

All at once, or with one of its modules in memory at a time: right before transformers runs a decoder layer, its
weights are read, and right after it they are forgotten. What runs, and in which order, is transformers' code alone.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from verify.errors import CannotJudgeError
from verify.sources.huggingface import HuggingFaceSource
from verify.system.pulse import READ, pulse

# A buffer that old checkpoints hold, and that every model computes for itself.
COMPUTED = "rotary_emb.inv_freq"
_CLASSIFIER = "lm_head.weight"

# Returns a tensor by llama2.c's name, with its rows in transformers' order.
Load = Callable[[str], torch.Tensor]


def empty_model(transformers: Any, source: HuggingFaceSource) -> Any:
    """Return the model in evaluation mode, its weights on the meta device. Raises CannotJudgeError unless it has the
    tensors of the source."""
    config = source.transformers_config()
    with torch.device("meta"):
        model = getattr(transformers, source.architecture)._from_config(
            config, attn_implementation="eager", dtype=torch.float32
        )
    # computed of the configuration, and by no file
    model.model.rotary_emb = type(model.model.rotary_emb)(config=model.config)
    embedding = model.model.embed_tokens
    if hasattr(embedding, "scalar_embed_scale"):
        embedding.embed_scale = torch.nn.Buffer(torch.tensor(embedding.scalar_embed_scale), persistent=False)
    _check_names(source, model)
    return model.eval()


def fill(model: Any, source: HuggingFaceSource, load: Load) -> None:
    """Give the model all its weights."""
    names = _names(source)
    for prefix, module in _modules(model).items():
        _load(prefix, load, names, module)


def stream(model: Any, source: HuggingFaceSource, load: Load) -> None:
    """Give each module its weights when it runs, and take them away afterwards."""
    names = _names(source)
    for prefix, module in _modules(model).items():
        module.register_forward_pre_hook(partial(_load, prefix, load, names))
        module.register_forward_hook(_forget)


def _modules(model: Any) -> dict[str, torch.nn.Module]:
    """The modules that hold weights, by name: each runs once in a pass."""
    parts = {"model.embed_tokens": model.model.embed_tokens, "model.norm": model.model.norm, "lm_head": model.lm_head}
    return parts | {f"model.layers.{number}": layer for number, layer in enumerate(model.model.layers)}


def _check_names(source: HuggingFaceSource, model: Any) -> None:
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    if source.hyperparameters.tied:
        expected.pop(_CLASSIFIER, None)
    shapes = source.hyperparameters.shapes()
    found = {
        theirs: _joined(expected.get(theirs, ()), [shapes[name] for name in names])
        for theirs, names in source.transformers_tensors().items()
    }
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            raise CannotJudgeError(
                f"{source.path}: {name}: expected {expected.get(name, 'no such tensor')}, as transformers' model has "
                f"it, found {found.get(name, 'none')}"
            )


def _joined(theirs: tuple[int, ...], parts: list[tuple[int, ...]]) -> tuple[int, ...]:
    """Return the shape of a tensor of so many parts, which the model may have as one matrix for each expert."""
    rows, rest = sum(part[0] for part in parts), parts[0][1:]
    experts = theirs[:1] if len(theirs) == 3 else ()
    return (*experts, rows // experts[0], *rest) if experts and rows % experts[0] == 0 else (rows, *rest)


def _names(source: HuggingFaceSource) -> dict[str, tuple[str, ...]]:
    """The source's name of each of the model's weights, or those of its parts; a tied classifier too."""
    return {_CLASSIFIER: ("output.weight",), **source.transformers_tensors()}


def _load(
    prefix: str, load: Load, names: dict[str, tuple[str, ...]], module: torch.nn.Module, _inputs: Any = None
) -> None:
    state = {}
    for name, theirs in module.state_dict().items():
        parts = [load(part) for part in names[f"{prefix}.{name}"]]
        state[name] = (torch.cat(parts) if len(parts) > 1 else parts[0]).view(theirs.shape)
        pulse(READ * state[name].numel())
    module.load_state_dict(state, strict=True, assign=True)


def _forget(module: torch.nn.Module, _inputs: Any, _outputs: Any) -> None:
    # buffers, which no file holds, stay
    empty = {name: torch.empty_like(tensor, device="meta") for name, tensor in module.state_dict().items()}
    module.load_state_dict(empty, strict=True, assign=True)
