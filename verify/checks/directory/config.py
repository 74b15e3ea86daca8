"""Check `config` of a directory: what its config.json means is what the source means.

Two readers say what it means: transformers' own configuration class, whose fields are compared here one by one, and
the reader of verify/sources.
"""

from __future__ import annotations

import dataclasses
from math import prod
from typing import Any

import numpy as np

from verify.checks.config import factors_listed, flat
from verify.checks.directory.switches import MODEL_TYPES, activation_of, biases, experts, rope_of, switches
from verify.checks.directory.target import Directory
from verify.checks.result import CheckResult, exact
from verify.errors import CannotJudgeError
from verify.sources import Hyperparameters, Source
from verify.sources.huggingface import HuggingFaceSource

# llama2.c's name -> config.json's
_KEYS = {
    "dim": "hidden_size",
    "hidden_dim": "intermediate_size",
    "n_layers": "num_hidden_layers",
    "n_heads": "num_attention_heads",
    "n_kv_heads": "num_key_value_heads",
    "head_dim": "head_dim",
    "vocab_size": "vocab_size",
    "max_seq_len": "max_position_embeddings",
    "tied": "tie_word_embeddings",
    "norm_eps": "rms_norm_eps",
    "rope_theta": "rope_theta",
    "activation": "hidden_act",
    **{name: name for name in ("qkv_bias", "wo_bias", "mlp_bias")},
    "rope_scaling_type": "rope_type",
    "rope_scaling_original_max_positions": "original_max_position_embeddings",
    **{
        f"rope_scaling_{name}": name
        for name in ("factor", "low_freq_factor", "high_freq_factor", "beta_fast", "beta_slow", "attention_factor")
    },
    "rope_scaling_truncate": "truncate",
    "rope_scaling_short_factors": "short_factor",
    "rope_scaling_long_factors": "long_factor",
    # what the family decides, or several keys together, is named as in reports
    **{name: name for name in ("norm_place", "norm_plus_one", "qk_norm", "rotary_dim", "windowed_layers")},
    **{name: name for name in ("layers_without_rope", "layers_with_local_rope")},
    "window": "sliding_window",
    "query_scale_beta": "llama_4_scaling_beta",
    "query_scale_positions": "original_max_position_embeddings of the query scale",
    "embedding_scale": "embedding_multiplier",
    "score_scale": "attention_multiplier",
    "residual_scale": "residual_multiplier",
    "logit_divisor": "logits_scaling",
    "score_cap": "attn_logit_softcapping",
    "logit_cap": "final_logit_softcapping",
    "local_theta": "rope_local_base_freq",
    **{"n_experts": "num_local_experts", "n_active_experts": "num_experts_per_tok"},
    **{"expert_hidden_dim": "moe_intermediate_size", "experts_normalized": "norm_topk_prob"},
    "layers_with_experts": "mlp_only_layers",
}
_SIZES = ("dim", "hidden_dim", "n_layers", "n_heads", "n_kv_heads", "vocab_size", "max_seq_len")
_ACTIVATIONS = {
    **{"silu": "silu", "swish": "silu", "gelu": "gelu"},
    **{"gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh"},
}
# Each type of scaling, and the parameters of its own.
_SCALINGS = {
    "none": (),
    "linear": ("factor",),
    "dynamic": ("factor",),
    "llama3": ("factor", "original_max_positions", "low_freq_factor", "high_freq_factor"),
    "yarn": ("factor", "original_max_positions", "beta_fast", "beta_slow", "attention_factor", "truncate"),
    "longrope": ("original_max_positions", "attention_factor", "short_factors"),
}
_OF_ROPE = {key for name, key in _KEYS.items() if name.startswith("rope_")}
# Tensors of experts, of which a config.json may ask for more than there are.
_MOST_EXPERTS = 1 << 20
_TOKEN_IDS = ("bos_token_id", "eos_token_id", "pad_token_id")
_TORCH_DTYPES = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}

# field -> (expected, found)
Unlike = dict[str, tuple[object, object]]


def implied(directory: Directory) -> Hyperparameters:
    """Return the model that a config means by transformers' own object; of RoPE, theta alone. Raises
    CannotJudgeError."""
    config, where = directory.config, directory.path / "config.json"
    if config.model_type not in MODEL_TYPES:
        known = ", ".join(MODEL_TYPES)
        raise CannotJudgeError(f"{where}: model_type: expected one of {known}, found {config.model_type!r:.80}")
    sizes: dict[str, Any] = {}
    for name in _SIZES:
        said = getattr(config, _KEYS[name], None)
        if isinstance(said, bool) or not isinstance(said, int) or not 0 < said < 2**31:
            raise CannotJudgeError(f"{where}: {_KEYS[name]}: expected a positive integer, found {said!r:.80}")
        sizes[name] = said
    # a class without head_dim divides
    head_dim = getattr(config, "head_dim", None) or sizes["dim"] // sizes["n_heads"]
    try:
        differing, sizes = switches(config, head_dim), sizes | experts(config)
    except (AttributeError, ArithmeticError, KeyError, TypeError, ValueError) as error:
        said = f"{type(error).__name__}: {error}"
        raise CannotJudgeError(
            f"{where}: expected numbers that make a {config.model_type}, found {said:.80}"
        ) from error
    if sizes["n_layers"] * sizes.get("n_experts", 0) > _MOST_EXPERTS:
        raise CannotJudgeError(f"{where}: expected at most {_MOST_EXPERTS} experts in all layers, found more")
    activation = activation_of(config)
    return Hyperparameters(
        **sizes,
        **differing,
        **biases(config),
        head_dim=head_dim,
        tied=bool(config.tie_word_embeddings),
        norm_eps=config.rms_norm_eps,
        rope_theta=rope_of(config).get("rope_theta", 0.0),
        activation=_ACTIVATIONS.get(activation, activation),
    )


def report_config(directory: Directory) -> dict[str, Any]:
    """Return what a config means, under the names that reports have for a .bin file's header."""
    rope = rope_of(directory.config)
    kind = rope.get("rope_type", "default")
    fields = dataclasses.asdict(implied(directory))
    known = {name: rope.get(_KEYS[f"rope_scaling_{name}"]) for name in fields["rope_scaling"] if name != "type"}
    said = {name: value for name, value in known.items() if value is not None}
    fields["rope_scaling"] = {"type": "none" if kind == "default" else kind, **said}
    tied = fields.pop("tied")
    return {**fields, "shared_classifier": tied, "group_size": 0}


def check_directory_config(
    directory: Directory,
    source: Source,
    max_seq_len: int,
    read: Hyperparameters | CannotJudgeError | None,
    unlike: Unlike,
) -> CheckResult:
    """Return the check. max_seq_len: what the directory was meant to say. read: what verify/sources' reader makes of
    it, or why it refuses it; None where it was not asked. unlike: what else was requested and found, by field."""
    hyper = dataclasses.replace(source.hyperparameters, max_seq_len=max_seq_len)
    said = _said(directory)
    wrong: Unlike = {
        key: (value, said[key]) for key, value in _expected(hyper).items() if not _same(value, said.get(key, value))
    }
    if isinstance(read, Hyperparameters):
        both = zip(flat(hyper).items(), flat(read).items(), strict=True)
        differing = {_KEYS.get(name, name): (a, b) for (name, a), (_, b) in both if not _same(a, b)}
        wrong = {**differing, **wrong}
    wrong |= _dtype_unlike(directory) | _token_ids_unlike(directory, source) | unlike
    if isinstance(read, CannotJudgeError):
        return exact("config", len(wrong) + 1, "; ".join([*_lines(wrong), str(read)]))
    if wrong:
        field, (expected, found) = next(iter(wrong.items()))
        where = {"field": field, "expected": str(expected), "found": str(found)}
        return exact("config", len(wrong), "; ".join(_lines(wrong)), where)
    readers = "transformers and the verifier's own reader" if read is not None else "transformers"
    return exact("config", 0, f"config.json means the source's model to {readers}")


def _lines(wrong: Unlike) -> list[str]:
    return [f"{field}: expected {expected}, found {found}" for field, (expected, found) in wrong.items()]


def _said(directory: Directory) -> dict[str, Any]:
    """Return what transformers' object says, under config.json's keys and in the source's words."""
    hyper = implied(directory)
    rope = rope_of(directory.config)
    kind = rope.get("rope_type", "default")
    fields = flat(hyper)
    said = {key: fields[name] for name, key in _KEYS.items() if not name.startswith("rope_scaling_")}
    said |= {key: rope[key] for key in _KEYS.values() if key in _OF_ROPE and rope.get(key) is not None}
    said |= {key: factors_listed(said[key]) for key in ("short_factor", "long_factor") if key in said}
    return {**said, "rope_type": "none" if kind == "default" else kind}


def _expected(hyper: Hyperparameters) -> dict[str, Any]:
    """Return the source's fields under config.json's keys, of RoPE's scaling those that its type has."""
    fields = flat(hyper)
    scaling = ("type", *_SCALINGS[hyper.rope_scaling.type])
    if hyper.rope_scaling.long_factors:  # only a Hugging Face source says them
        fields["rope_scaling_long_factors"] = factors_listed(hyper.rope_scaling.long_factors)
        scaling = (*scaling, "long_factors")
    named = [name for name in _KEYS if not name.startswith("rope_scaling_")]
    return {_KEYS[name]: fields[name] for name in (*named, *(f"rope_scaling_{name}" for name in scaling))}


def _same(expected: Any, found: Any) -> bool:
    """Compare numbers as every engine has them: float32."""
    if isinstance(expected, float) and isinstance(found, (int, float)) and not isinstance(found, bool):
        return bool(np.float32(expected) == np.float32(found))
    return bool(expected == found)


def _dtype_unlike(directory: Directory) -> Unlike:
    """The type that config.json names is the stored one; of several, the commonest, or float32, which holds all."""
    said = directory.settings.get("dtype", directory.settings.get("torch_dtype"))
    sizes: dict[str, Any] = {}
    for tensor in directory.weights.tensors.values():
        dtype = _TORCH_DTYPES[tensor.storage]
        sizes[dtype] = sizes.get(dtype, 0) + prod(tensor.shape)
    # transformers takes the stored type where none is said
    if said is None or not sizes:
        return {}
    commonest = [dtype for dtype, size in sizes.items() if size == max(sizes.values())]
    allowed = commonest if len(sizes) == 1 else [*commonest, "float32"]
    key = "dtype" if "dtype" in directory.settings else "torch_dtype"
    return {} if str(said).removeprefix("torch.") in allowed else {key: (allowed[0], said)}


def _token_ids_unlike(directory: Directory, source: Source) -> Unlike:
    """Only a Hugging Face source says token ids. Generation reads them where there is no generation_config.json."""
    if not isinstance(source, HuggingFaceSource):
        return {}
    theirs = source.transformers_config()
    pairs = {key: (getattr(theirs, key, None), getattr(directory.config, key, None)) for key in _TOKEN_IDS}
    return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}
