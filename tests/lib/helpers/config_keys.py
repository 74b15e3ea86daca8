"""Records which keys of config.json the installed transformers reads while it loads and runs a model."""

from __future__ import annotations

import inspect
import json
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from helpers.huggingface import settings
from verify.system.optional_imports import quiet_transformers

# model_type -> transformers' classes of its config and of its model
FAMILIES = {
    "llama": ("LlamaConfig", "LlamaForCausalLM"),
    "mistral": ("MistralConfig", "MistralForCausalLM"),
    "qwen2": ("Qwen2Config", "Qwen2ForCausalLM"),
    "qwen3": ("Qwen3Config", "Qwen3ForCausalLM"),
    "smollm3": ("SmolLM3Config", "SmolLM3ForCausalLM"),
    "gemma2": ("Gemma2Config", "Gemma2ForCausalLM"),
    "gemma3_text": ("Gemma3TextConfig", "Gemma3ForCausalLM"),
    "granite": ("GraniteConfig", "GraniteForCausalLM"),
    "olmo2": ("Olmo2Config", "Olmo2ForCausalLM"),
    "olmo3": ("Olmo3Config", "Olmo3ForCausalLM"),
    "phi3": ("Phi3Config", "Phi3ForCausalLM"),
    "ministral3": ("Ministral3Config", "Ministral3ForCausalLM"),
}
# Families with a RoPE for each type of layer.
_TWO_ROPES = ("gemma3_text", "olmo3")

# Every branch of RoPE's code; the last spelling is the old one.
_ROPES: tuple[dict[str, Any], ...] = (
    {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4}},
    {"rope_parameters": {"rope_type": "linear", "factor": 2.0}},
    {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0}},
    {"rope_parameters": {"rope_type": "llama3", "factor": 2.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}},
    {"rope_parameters": {"rope_type": "yarn", "factor": 2.0, "original_max_position_embeddings": 16}},
    {"rope_scaling": {"type": "linear", "factor": 2.0}, "rope_theta": 1e4},
)
_WINDOW = {"sliding_window": 4, "use_sliding_window": True, "max_window_layers": 1}
# longer than any window and than max_position_embeddings / 2, and still a sequence that every model takes
_TOKENS = torch.arange(20)[None] % 7


class _Noting(dict[str, Any]):
    """Holds the content of config.json and notes which keys are asked for by name."""

    def __init__(self, content: dict[str, Any], noted: set[str]) -> None:
        super().__init__(content)
        self.noted = noted

    def __getitem__(self, key: str) -> Any:
        self.noted.add(key)
        return super().__getitem__(key)

    def __contains__(self, key: object) -> bool:
        self.noted.add(str(key))
        return super().__contains__(key)

    def get(self, key: str, default: Any = None) -> Any:
        self.noted.add(key)
        return super().get(key, default)

    def pop(self, key: str, *default: Any) -> Any:
        self.noted.add(key)
        return super().pop(key, *default)


@contextmanager
def _noting(transformers: Any, noted: set[str]) -> Iterator[None]:
    """Note every attribute of a config that is read, and every key of the JSON object that it is made of."""
    base = transformers.PreTrainedConfig
    attribute, file = base.__getattribute__, base._dict_from_json_file.__func__

    def noted_attribute(self: Any, key: str) -> Any:
        # that function looks at every attribute, for token ids to warn of
        if sys._getframe(1).f_code.co_name != "validate_token_ids":
            noted.add(key)
        return attribute(self, key)

    def noted_file(cls: Any, path: str) -> _Noting:
        return _Noting(file(cls, path), noted)

    with (
        mock.patch.object(base, "__getattribute__", noted_attribute),
        mock.patch.object(base, "_dict_from_json_file", classmethod(noted_file)),
    ):
        yield


def _variants(family: str) -> Iterator[dict[str, Any]]:
    """Yield changes of config.json that reach every branch of the code."""
    for rope in _ROPES:
        of_layers = rope.get("rope_parameters")
        if family == "phi3":
            # its config refuses all other types
            if of_layers is None or of_layers["rope_type"] == "default":
                yield {"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.8}}
        elif family == "ministral3":
            own = {"llama_4_scaling_beta": 0.1, "original_max_position_embeddings": 16, "rope_theta": 1e4}
            yield {"rope_parameters": {**(of_layers or {"rope_type": "default"}), **own}}
        elif family in _TWO_ROPES and of_layers is not None:
            yield {"rope_parameters": {"full_attention": of_layers, "sliding_attention": {"rope_type": "default"}}}
        else:
            yield rope
    if family != "llama":
        yield _WINDOW if family != "ministral3" else {**_WINDOW, "rope_parameters": {**own, "rope_type": "default"}}


def recorded(family: str) -> frozenset[str]:
    """Return the keys of config.json that the code of transformers reads for a family."""
    config_name, model_name = FAMILIES[family]
    with quiet_transformers() as transformers, tempfile.TemporaryDirectory() as directory:
        config_class = getattr(transformers, config_name)
        path = Path(directory) / "config.json"
        sizes = {**settings(model_name), "head_dim": 8, "pad_token_id": 0}
        if family == "mistral":
            sizes["sliding_window"] = None
        getattr(transformers, model_name)(config_class(**sizes)).save_pretrained(directory)
        content = json.loads(path.read_text())
        del content["rope_parameters"]
        # transformers takes a Mistral that has the first key for a Ministral; where a list is missing, it makes one
        for key in ("layer_types", "no_rope_layers"):
            content.pop(key, None)
        noted = _read_by_name(config_class)
        for changes in _variants(family):
            path.write_text(json.dumps({**content, **changes}))
            with _noting(transformers, noted), torch.no_grad():
                eager = family == "gemma2" or "use_sliding_window" in changes
                _load_and_run(transformers, directory, "eager" if eager else "sdpa")
    return frozenset(name for name in noted if not name.startswith("__"))


def _load_and_run(transformers: Any, directory: str, attention: str) -> None:
    """With and without a cache of keys and values, and as config.json says."""
    model = transformers.AutoModelForCausalLM.from_pretrained(directory, attn_implementation=attention).eval()
    made = model(input_ids=_TOKENS)
    model(input_ids=_TOKENS[:, :1], past_key_values=made.past_key_values)
    model(input_ids=_TOKENS, use_cache=False)


def _read_by_name(config_class: Any) -> set[str]:
    """Return what no access shows: the map that decides which attribute an access means, attributes that cannot be
    set, and the keys that the constructors take out of their keywords."""
    properties = {
        name for each in config_class.__mro__ for name, value in vars(each).items() if isinstance(value, property)
    }
    code = [vars(each).get("__post_init__") for each in config_class.__mro__]
    code.append(config_class.convert_rope_params_to_dict)
    sources = "\n".join(inspect.getsource(function) for function in code if function is not None)
    taken = re.findall(r'kwargs\.(?:pop|get)\("(\w+)"|"(\w+)" in kwargs', sources)
    return {"attribute_map"} | properties | {name for names in taken for name in names if name}
