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

FAMILIES = (
    *("llama", "mistral", "qwen2", "qwen3", "smollm3", "gemma2", "gemma3_text", "granite", "olmo2", "olmo3", "phi3"),
    *("ministral3", "mixtral", "qwen3_moe", "olmoe", "gemma", "ministral", "exaone4", "seed_oss", "flex_olmo"),
    *("cwm", "helium", "ernie4_5"),
)
# Of the first three the config takes no row of padding.
_PADDED = FAMILIES[3:]

# Every branch of RoPE's code; the last spelling is the old one.
_ROPES: tuple[dict[str, Any], ...] = (
    {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4}},
    {"rope_parameters": {"rope_type": "linear", "factor": 2.0}},
    {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0}},
    {"rope_parameters": {"rope_type": "llama3", "factor": 2.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}},
    {"rope_parameters": {"rope_type": "yarn", "factor": 2.0, "original_max_position_embeddings": 16}},
    {"rope_scaling": {"type": "linear", "factor": 2.0}, "rope_theta": 1e4},
)
# and those of families that read RoPE in their own way
_OLD: dict[str, Any] = {"rope_theta": 1e4, "rope_scaling": None}
_BOTH = {"layer_types": ["sliding_attention", "full_attention"]}
_LAYERED: tuple[dict[str, Any], ...] = (
    _OLD,
    _BOTH | {"rope_scaling": {"rope_type": "yarn", "factor": 2.0, "original_max_position_embeddings": 16}},
    *(
        _BOTH
        | {
            "rope_parameters": {
                "full_attention": rope["rope_parameters"],
                "sliding_attention": {"rope_type": "default"},
            }
        }
        for rope in _ROPES[:-1]
    ),
)
_LONG = {"type": "longrope", "short_factor": [1.0] * 4, "long_factor": [2.0] * 4}
_LATE_QUERIES = {"llama_4_scaling_beta": 0.1, "original_max_position_embeddings": 16}
_OWN_ROPES: dict[str, tuple[dict[str, Any], ...]] = {
    "gemma3_text": _LAYERED,
    "olmo3": _LAYERED,
    "phi3": (_ROPES[0], _OLD | {"partial_rotary_factor": 0.8}, _OLD | {"rope_scaling": _LONG}),
    "ministral3": (
        *({"rope_parameters": rope["rope_parameters"] | _LATE_QUERIES} for rope in _ROPES[:-1]),
        {"rope_scaling": {"type": "linear", "factor": 2.0, **_LATE_QUERIES}, "rope_theta": 1e4},
    ),
}
_OWN_SETTINGS: dict[str, dict[str, Any]] = {
    **{family: {"pad_token_id": 0} for family in _PADDED},
    "phi3": {"pad_token_id": 0, "head_dim": 8},  # which longrope's lists must fit
    "mixtral": {"pad_token_id": 0, "num_local_experts": 4},
    "qwen3_moe": {
        **{"pad_token_id": 0, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 12},
        "mlp_only_layers": [1],
    },
    "ministral": {"pad_token_id": 0, "head_dim": 8},
    "flex_olmo": {"pad_token_id": 0, "num_experts": 4, "num_experts_per_tok": 2},
    "helium": {"pad_token_id": 0, "head_dim": 8},
    # whose norms of queries and keys are as wide as the stream
    "olmoe": {"pad_token_id": 0, "num_experts": 4, "num_experts_per_tok": 2, "head_dim": 8},
}
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


def recorded(family: str) -> frozenset[str]:
    """Return the keys of config.json that the code of transformers reads for a family."""
    with quiet_transformers() as transformers, tempfile.TemporaryDirectory() as directory:
        config_class = transformers.CONFIG_MAPPING[family]
        path = Path(directory) / "config.json"
        own = settings("MistralForCausalLM" if family == "mistral" else family) | _OWN_SETTINGS.get(family, {})
        transformers.AutoModelForCausalLM.from_config(config_class(**own)).save_pretrained(directory)
        content = json.loads(path.read_text())
        del content["rope_parameters"]
        # transformers takes a Mistral that has the first key for a Ministral, and makes the second of an interval
        for made in ("layer_types", "no_rope_layers"):
            content.pop(made, None)
        noted = _read_by_name(config_class)
        for changes in _OWN_ROPES.get(family, _ROPES) + (() if family == "llama" else (_WINDOW,)):
            path.write_text(json.dumps({**content, **changes}))
            with _noting(transformers, noted), torch.no_grad():
                _load_and_run(
                    transformers, directory, "eager" if changes == _WINDOW or family == "gemma2" else "sdpa"
                )
    return frozenset(name for name in noted if not name.startswith("__"))


def _load_and_run(transformers: Any, directory: str, attention: str) -> None:
    """With and without a cache of keys and values, and as config.json says."""
    model = transformers.AutoModelForCausalLM.from_pretrained(directory, attn_implementation=attention).eval()
    made = model(input_ids=_TOKENS)
    model(input_ids=_TOKENS[:, :1], past_key_values=made.past_key_values)
    model(input_ids=_TOKENS, use_cache=False)


def _read_by_name(config_class: Any) -> set[str]:
    """Return what no access shows: the map that decides which attribute an access means and the names in it,
    attributes that cannot be set, and the keys that the constructors take out of their keywords."""
    properties = {
        name for each in config_class.__mro__ for name, value in vars(each).items() if isinstance(value, property)
    }
    code = [vars(each).get("__post_init__") for each in config_class.__mro__]
    code.append(config_class.convert_rope_params_to_dict)
    sources = "\n".join(inspect.getsource(function) for function in code if function is not None)
    taken = re.findall(r'kwargs\.(?:pop|get)\("(\w+)"|"(\w+)" in kwargs', sources)
    aliases = {name for pair in config_class.attribute_map.items() for name in pair}
    return {"attribute_map"} | aliases | properties | {name for names in taken for name in names if name}
