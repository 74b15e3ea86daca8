"""A Hugging Face config.json: read strictly, and made into a config.

What may change the model and is not known here is refused by name.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exporter.config import ModelConfig, RopeScaling
from exporter.errors import CheckpointError
from exporter.strict_json import read_object


@dataclass(frozen=True)
class _Family:
    """A class of transformers that computes a Llama. defaults: what its config has where config.json is silent."""

    model_type: str
    defaults: dict[str, Any]


_SILENT = {"hidden_act": "silu", "rms_norm_eps": 1e-6, "tie_word_embeddings": False, "head_dim": None}
_FAMILIES = {
    "LlamaForCausalLM": _Family(
        "llama",
        {**_SILENT, "max_position_embeddings": 2048, "num_key_value_heads": None}
        | {"attention_bias": False, "mlp_bias": False},
    ),
    "MistralForCausalLM": _Family(
        "mistral",
        {**_SILENT, "max_position_embeddings": 4096 * 32, "num_key_value_heads": 8, "sliding_window": 4096},
    ),
    "Qwen2ForCausalLM": _Family(
        "qwen2",
        {**_SILENT, "max_position_embeddings": 32768, "num_key_value_heads": 32, "use_sliding_window": False},
    ),
}

_SIZES = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size")
_READ = (*_SIZES, "architectures", "model_type", "rope_theta", "rope_scaling", "rope_parameters")
# What changes training, generation or how the file came to be, but no logit.
_HARMLESS = (
    *("_name_or_path", "transformers_version", "torch_dtype", "dtype", "use_cache", "auto_map"),
    *("bos_token_id", "eos_token_id", "pad_token_id", "sep_token_id", "unk_token_id", "attention_dropout"),
    *("initializer_range", "hidden_dropout", "resid_pdrop", "embd_pdrop", "return_dict", "output_attentions"),
    *("output_hidden_states", "chunk_size_feed_forward", "id2label", "label2id", "problem_type"),
    *("is_llama_config", "transformers.js_config", "unsloth_version", "unsloth_fixed"),
    *("_attn_implementation", "_attn_implementation_autoset", "attn_implementation", "task_specific_params"),
)
# Harmless with this value alone.
_HARMLESS_AS = {
    "pretraining_tp": (1, None),
    "partial_rotary_factor": (1, 1.0, None),
    "quantization_config": (None,),
    "is_decoder": (True, False),
    "is_encoder_decoder": (False,),
    "add_cross_attention": (False,),
    "tie_encoder_decoder": (False,),
    "rope_interleaved": (False,),
    "max_window_layers": None,  # any: windows are refused by use_sliding_window
    "layer_types": None,  # checked against full attention
}
_ACTIVATIONS = {
    "silu": "silu",
    "swish": "silu",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
}


def read_config(path: Path) -> ModelConfig:
    """The model that a config.json describes. Raises CheckpointError."""
    try:
        return _Reader(read_object(path)).config()
    except CheckpointError as error:
        where = "" if str(error).startswith(f"{path}") else f"{path}: "
        raise CheckpointError(f"{where}{error}") from error


class _Reader:
    def __init__(self, said: dict[str, Any]) -> None:
        self._said = said
        self._name, self._family = self._architecture()
        self._check_keys()

    def _architecture(self) -> tuple[str, _Family]:
        names, model_type = self._said.get("architectures"), self._said.get("model_type")
        known = ", ".join(_FAMILIES)
        if names is None:
            # as transformers tells a model whose class is not named
            names = [name for name, family in _FAMILIES.items() if family.model_type == model_type]
            if not names:
                raise CheckpointError(f"model_type: expected one of {known}, found {model_type!r}")
        if not isinstance(names, list) or len(names) != 1 or names[0] not in _FAMILIES:
            raise CheckpointError(f"architectures: expected one of {known}, found {names!r}")
        family = _FAMILIES[names[0]]
        if model_type != family.model_type:
            raise CheckpointError(
                f"model_type: expected {family.model_type!r} beside {names[0]}, found {model_type!r}"
            )
        return names[0], family

    def _check_keys(self) -> None:
        for key, value in self._said.items():
            if key in _HARMLESS_AS:
                allowed = _HARMLESS_AS[key]
                if allowed is not None and value not in allowed:
                    raise CheckpointError(f"{key}: expected {allowed[0]!r} or none, found {_short(value)}")
            elif key not in _READ and key not in self._family.defaults and key not in _HARMLESS:
                if key == "sliding_window" or (key in ("attention_bias", "mlp_bias") and value is False):
                    continue
                raise CheckpointError(f"no known meaning, and it may change the model: {key!r}")

    def _get(self, key: str) -> Any:
        """As config.json has it, or as transformers has it where config.json is silent."""
        return self._said.get(key, self._family.defaults.get(key))

    def _count(self, key: str, value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value < 2**31:
            raise CheckpointError(f"{key}: expected an integer from 1 to {2**31 - 1}, found {_short(value)}")
        return value

    def _flag(self, key: str) -> bool:
        value = self._get(key)
        if not isinstance(value, bool):
            raise CheckpointError(f"{key}: expected true or false, found {_short(value)}")
        return value

    def config(self) -> ModelConfig:
        for key in _SIZES:
            if key not in self._said:
                raise CheckpointError(f"{key}: expected a number, found none")
        dim, n_heads = (self._count(key, self._said[key]) for key in ("hidden_size", "num_attention_heads"))
        kv_heads, head_dim = self._get("num_key_value_heads"), self._get("head_dim")
        length = self._count("max_position_embeddings", self._get("max_position_embeddings"))
        if head_dim is None and dim % n_heads:
            raise CheckpointError(f"num_attention_heads: expected a divisor of hidden_size = {dim}, found {n_heads}")
        activation = self._get("hidden_act")
        if activation not in _ACTIVATIONS:
            raise CheckpointError(
                f"hidden_act: expected one of {', '.join(_ACTIVATIONS)}, found {_short(activation)}"
            )
        self._refuse_windows(length)
        qwen2, llama = self._family.model_type == "qwen2", self._family.model_type == "llama"
        attention_bias = llama and self._flag("attention_bias")
        theta, scaling = self._rope(length)
        return ModelConfig(
            dim=dim,
            hidden_dim=self._count("intermediate_size", self._said["intermediate_size"]),
            n_layers=self._count("num_hidden_layers", self._said["num_hidden_layers"]),
            n_heads=n_heads,
            n_kv_heads=n_heads if kv_heads is None else self._count("num_key_value_heads", kv_heads),
            vocab_size=self._count("vocab_size", self._said["vocab_size"]),
            max_seq_len=length,
            tied=self._flag("tie_word_embeddings"),
            norm_eps=_positive("rms_norm_eps", self._get("rms_norm_eps")),
            rope_theta=theta,
            head_dim=dim // n_heads if head_dim is None else self._count("head_dim", head_dim),
            rope_scaling=scaling,
            qkv_bias=attention_bias or qwen2,
            wo_bias=attention_bias,
            mlp_bias=llama and self._flag("mlp_bias"),
            activation=_ACTIVATIONS[activation],
        )

    def _refuse_windows(self, length: int) -> None:
        """Attention that does not see the whole sequence is another model."""
        if self._family.model_type == "qwen2" and self._flag("use_sliding_window"):
            raise CheckpointError("use_sliding_window: expected false, found true")
        if self._family.model_type == "mistral":
            window = self._get("sliding_window")
            if window is not None and self._count("sliding_window", window) < length:
                raise CheckpointError(
                    f"sliding_window: expected none or at least max_position_embeddings = {length}, found {window}"
                )
        layers = self._said.get("layer_types")
        if layers is not None and (not isinstance(layers, list) or set(map(str, layers)) != {"full_attention"}):
            raise CheckpointError(f"layer_types: expected full_attention alone, found {_short(layers)}")

    # ---- RoPE ----

    def _rope(self, length: int) -> tuple[float, RopeScaling]:
        """theta and scaling: rope_parameters since transformers 5, rope_theta and rope_scaling before."""
        new, old = self._said.get("rope_parameters"), self._said.get("rope_scaling")
        if new is not None and old is not None and new != old:
            raise CheckpointError("rope_scaling: expected what rope_parameters says, found something else")
        rope = new if new is not None else old if old is not None else {}
        if not isinstance(rope, dict):
            raise CheckpointError(f"rope_parameters: expected an object, found {_short(rope)}")
        outer = self._said.get("rope_theta")
        theta = rope.get("rope_theta", outer)
        if outer is not None and theta != outer:
            raise CheckpointError(f"rope_theta: expected rope_parameters' {theta!r}, found {outer!r}")
        theta = 10000.0 if theta is None else _positive("rope_theta", theta)
        kinds = {rope[key] for key in ("rope_type", "type") if isinstance(rope.get(key), str)}
        if len(kinds) > 1:
            raise CheckpointError(f"rope_scaling: expected one type, found {' and '.join(sorted(kinds))}")
        kind = kinds.pop() if kinds else "default"
        known = {"default": (), "linear": ("factor",), "dynamic": ("factor", "original_max_position_embeddings")}
        readers = {"llama3": self._llama3, "yarn": self._yarn}
        if kind not in known | readers:
            raise CheckpointError(f"rope_scaling: expected one of {', '.join(known | readers)}, found {kind!r}")
        extra = set(rope) - {"rope_theta", "rope_type", "type", "partial_rotary_factor"}
        if rope.get("partial_rotary_factor") not in (None, 1, 1.0):
            raise CheckpointError(
                f"partial_rotary_factor: expected 1 or none, found {_short(rope['partial_rotary_factor'])}"
            )
        if kind in readers:
            return theta, readers[kind](rope, extra, length)
        # yarn's and llama3's parameters beside another type have no effect in transformers, nor here
        if kind == "default":
            return theta, RopeScaling()
        factor = _positive("rope_scaling: factor", rope.get("factor"))
        if kind == "linear":
            return theta, RopeScaling("linear", factor=factor)
        return theta, RopeScaling("dynamic", factor=factor, original_max_positions=length)

    def _original(self, rope: dict[str, Any], length: int) -> int:
        """The length that frequencies are scaled from."""
        key = "original_max_position_embeddings"
        return self._count(f"rope_scaling: {key}", rope.get(key, length))

    def _llama3(self, rope: dict[str, Any], extra: set[str], length: int) -> RopeScaling:
        known = ("factor", "low_freq_factor", "high_freq_factor")
        _refuse_extra(extra - {*known, "original_max_position_embeddings"}, "llama3")
        factor, low, high = (_positive(f"rope_scaling: {field}", rope.get(field)) for field in known)
        return RopeScaling(
            "llama3",
            factor=factor,
            original_max_positions=self._original(rope, length),
            low_freq_factor=low,
            high_freq_factor=high,
        )

    def _yarn(self, rope: dict[str, Any], extra: set[str], length: int) -> RopeScaling:
        known = {"factor", "attention_factor", "mscale", "mscale_all_dim", "beta_fast", "beta_slow", "truncate"}
        _refuse_extra(extra - known - {"original_max_position_embeddings", "finetuned"}, "yarn")
        original = self._original(rope, length)
        factor = rope.get("factor")
        factor = length / original if factor is None else _positive("rope_scaling: factor", factor)
        truncate = rope.get("truncate", True)
        if not isinstance(truncate, bool):
            raise CheckpointError(f"rope_scaling: truncate: expected true or false, found {_short(truncate)}")
        return RopeScaling(
            "yarn",
            factor=factor,
            original_max_positions=original,
            beta_fast=_positive("rope_scaling: beta_fast", rope.get("beta_fast") or 32.0),
            beta_slow=_positive("rope_scaling: beta_slow", rope.get("beta_slow") or 1.0),
            attention_factor=_attention_factor(rope, factor),
            truncate=truncate,
        )


def _attention_factor(rope: dict[str, Any], factor: float) -> float:
    """As given, or 0.1 ln(factor) + 1; mscale and mscale_all_dim, where both are there, weigh the logarithm."""
    given = rope.get("attention_factor")
    if given is not None:
        return _positive("rope_scaling: attention_factor", given)

    def magnitude(weight: float) -> float:
        return 0.1 * weight * math.log(factor) + 1.0 if factor > 1 else 1.0

    over, under = rope.get("mscale"), rope.get("mscale_all_dim")
    if over and under:
        return magnitude(_positive("rope_scaling: mscale", over)) / magnitude(
            _positive("rope_scaling: mscale_all_dim", under)
        )
    return magnitude(1.0)


def _refuse_extra(keys: set[str], kind: str) -> None:
    if keys:
        raise CheckpointError(f"rope_scaling: no known meaning in {kind}: {min(keys)!r}")


def _positive(key: str, value: object) -> float:
    # the bound also keeps integers that no float holds from being converted
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1e300:
        raise CheckpointError(f"{key}: expected a positive finite number, found {_short(value)}")
    return float(value)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
