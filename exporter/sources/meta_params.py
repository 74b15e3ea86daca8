"""Meta's params.json: read strictly, and made into a config."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from exporter.config import ModelConfig
from exporter.errors import CheckpointError
from exporter.rope_scaling import RopeScaling
from exporter.sources.options import SourceOptions
from exporter.strict_json import read_object

_SHAPE_KEYS = ("dim", "n_layers", "n_heads", "n_kv_heads", "vocab_size", "multiple_of", "ffn_dim_multiplier")
_OTHER_KEYS = (
    *("norm_eps", "rope_theta", "use_scaled_rope", "rope_scaling_factor", "rope_high_freq_factor"),
    "max_seq_len",
)
# About how Meta's code runs a model, not about what the model computes.
_HARMLESS_KEYS = ("max_batch_size", "model_parallel_size")

# Meta's code for Llama 1 and 2 has 10000 written in it; that for Llama 3 and later has 500000 as its default. Each
# runs with the vocabulary of its own tokenizer.
_LLAMA_2_VOCABULARY, _LLAMA_2_THETA = 32000, 10000.0
_LLAMA_3_VOCABULARY, _LLAMA_3_THETA = 128256, 500000.0
# The code of Llama 1 and 2 stops at these keys, whatever they say.
_LATER_KEYS = ("use_scaled_rope", "rope_scaling_factor", "rope_high_freq_factor")


def read_params(path: Path) -> dict[str, Any]:
    """The keys of params.json that are not null, all of them known. Raises CheckpointError."""

    params = read_object(path)
    unknown = [key for key in params if key not in _SHAPE_KEYS + _OTHER_KEYS + _HARMLESS_KEYS]
    if unknown:
        raise CheckpointError(f"{path}: no known meaning, and it may change the model: {unknown[0]!r}")
    return {key: value for key, value in params.items() if value is not None}


def params_config(path: Path, params: dict[str, Any], options: SourceOptions) -> ModelConfig:
    """An untied config of what params.json and the user say; where they leave the vocabulary to the tensors
    (says_vocab), of one token, and of RoPE's default theta, for which see theta(). Raises CheckpointError."""
    length = _length(path, params, options.max_seq_len)
    for key in ("dim", "n_layers", "n_heads"):
        if key not in params:
            raise CheckpointError(f"{path}: missing {key}")
    try:
        return ModelConfig(
            dim=params["dim"],
            hidden_dim=_hidden_dim(params),
            n_layers=params["n_layers"],
            n_heads=params["n_heads"],
            n_kv_heads=params.get("n_kv_heads", params["n_heads"]),
            vocab_size=params["vocab_size"] if says_vocab(params) else 1,
            max_seq_len=length,
            tied=False,
            norm_eps=_number(params, "norm_eps", 1e-5),
            rope_theta=_number(params, "rope_theta", _LLAMA_2_THETA),
            rope_scaling=_rope_scaling(params, options.rope_scaling_factor),
        )
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error


def theta(path: Path, params: dict[str, Any], asked: float | None, vocab_size: int) -> tuple[float, list[str]]:
    """RoPE's theta, and a note where Meta's code has it: params.json need not say it. Raises CheckpointError."""
    if "rope_theta" in params:
        said = _number(params, "rope_theta", 0.0)
        if asked is not None and asked != said:
            raise CheckpointError(f"{path}: rope_theta: expected {said:g} for --rope-theta, as here, found {asked!r}")
        return said, []
    if asked is not None:
        return _number({"--rope-theta": asked}, "--rope-theta", 0.0), []
    later = next((key for key in _LATER_KEYS if key in params), None)
    if later is not None or vocab_size == _LLAMA_3_VOCABULARY:
        why = f"which {later} is for" if later else "whose vocabulary this is"
        return _LLAMA_3_THETA, [
            f"{path.name}: rope_theta is not given: {_LLAMA_3_THETA:g}, as in Meta's code for Llama 3, {why}"
        ]
    if vocab_size == _LLAMA_2_VOCABULARY:
        return _LLAMA_2_THETA, [
            f"{path.name}: rope_theta is not given: {_LLAMA_2_THETA:g}, as in Meta's code for Llama 1 and 2, "
            "whose vocabulary this is"
        ]
    raise CheckpointError(
        f"{path}: rope_theta: params.json does not say it, and {vocab_size} tokens are neither Llama 1's and 2's "
        f"{_LLAMA_2_VOCABULARY}, whose code has 10000, nor Llama 3's {_LLAMA_3_VOCABULARY}, whose code has 500000: "
        "--rope-theta X gives it"
    )


def says_vocab(params: dict[str, Any]) -> bool:
    """Whether params.json knows the vocabulary's size: Llama 2's has -1 there, Code Llama's nothing."""
    size = params.get("vocab_size", -1)
    return not isinstance(size, int) or size != -1


def _length(path: Path, params: dict[str, Any], asked: int | None) -> int:
    own = _count(f"{path}: max_seq_len", params["max_seq_len"]) if "max_seq_len" in params else None
    if asked is not None:
        asked = _count("max_seq_len", asked)
        if own is not None and asked > own:
            raise CheckpointError(f"max_seq_len: expected at most {own}, as {path} says, found {asked}")
        return asked
    if own is None:
        raise CheckpointError(
            f"{path}: max_seq_len: params.json does not say it; --max-seq-len N (max_seq_len= in Python) gives it"
        )
    return own


def _hidden_dim(params: dict[str, Any]) -> int:
    """Meta's rule: two thirds of 4 * dim, times ffn_dim_multiplier, each rounded down, and then up to a multiple of
    multiple_of. In floating point, as Meta's code does it, so that what it rounds is rounded alike."""
    dim, multiple = _count("dim", params["dim"]), _count("multiple_of", params.get("multiple_of", 256))
    hidden = int(2 * (4 * dim) / 3)
    if "ffn_dim_multiplier" in params:
        scaled = _number(params, "ffn_dim_multiplier", 1.0) * hidden
        if scaled >= 2**31:
            raise CheckpointError(
                f"ffn_dim_multiplier: expected less than {2**31 / hidden:g}, found {scaled / hidden:g}"
            )
        hidden = int(scaled)
    return -(-hidden // multiple) * multiple


def _rope_scaling(params: dict[str, Any], asked: float | None) -> RopeScaling:
    """Llama 3.1's, with the constants of Meta's code. Models differ in the factor, and Meta's programs in
    rope_high_freq_factor where the factor is given: these two are never taken from the code then."""
    scaled = params.get("use_scaled_rope", False)
    if not isinstance(scaled, bool):
        raise CheckpointError(f"use_scaled_rope: expected true or false, found {scaled!r}")
    said = _number(params, "rope_scaling_factor", 8.0)
    high = _number(params, "rope_high_freq_factor", 4.0)
    if not scaled:
        if asked is not None:
            raise CheckpointError(f"use_scaled_rope: expected true for --rope-scaling-factor, found {scaled!r}")
        return RopeScaling()
    if "rope_scaling_factor" not in params:
        if asked is None:
            raise CheckpointError(
                "rope_scaling_factor: params.json has use_scaled_rope and does not say it; Llama 3.1 and 3.3 have "
                "8, Llama 3.2 has 32: --rope-scaling-factor X gives it"
            )
        said = _number({"--rope-scaling-factor": asked}, "--rope-scaling-factor", 0.0)
    elif "rope_high_freq_factor" not in params:
        raise CheckpointError(
            "rope_high_freq_factor: expected a number beside rope_scaling_factor, found none: Meta's code for Llama "
            "3 has 4, but reads neither key, and that for Llama 4 has 1: add it to params.json"
        )
    elif asked is not None and asked != said:
        raise CheckpointError(
            f"rope_scaling_factor: expected {said:g} for --rope-scaling-factor, as here, found {asked!r}"
        )
    return RopeScaling("llama3", factor=said, original_max_positions=8192, low_freq_factor=1.0, high_freq_factor=high)


def _count(where: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value < 2**31:
        raise CheckpointError(f"{where}: expected an integer from 1 to {2**31 - 1}, found {value!r}")
    return value


def _number(params: dict[str, Any], key: str, default: float) -> float:
    value = params.get(key, default)
    # the bound also keeps integers that no float holds from being converted
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1e300:
        raise CheckpointError(f"{key}: expected a positive finite number, found {value!r}")
    return float(value)
