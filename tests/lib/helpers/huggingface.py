"""Small models of transformers' own making, and the same arithmetic in float64."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from hypothesis import strategies as st

from verify.system.optional_imports import quiet_transformers

MODEL_TYPES = {
    "LlamaForCausalLM": "LlamaConfig",
    "MistralForCausalLM": "MistralConfig",
    "Qwen2ForCausalLM": "Qwen2Config",
}

_FLOAT32 = torch.float32  # whatever that name stands for later on

# All counts differ, and a head's size is not dim / n_heads = 8.
SHAPE: dict[str, Any] = {
    "hidden_size": 48,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 3,
    "head_dim": 10,
    "vocab_size": 29,
    "max_position_embeddings": 33,
}


def settings(architecture: str = "LlamaForCausalLM", **changes: Any) -> dict[str, Any]:
    """Keywords of a config class; Mistral's without a window."""
    window = {"sliding_window": None} if architecture == "MistralForCausalLM" else {}
    return {**SHAPE, **window, **changes}


def model(architecture: str = "LlamaForCausalLM", seed: int = 0, **changes: Any) -> Any:
    """A model with random float32 weights that keep activations near 1; biases and norms are random too."""
    with quiet_transformers() as transformers:
        config = getattr(transformers, MODEL_TYPES[architecture])(**settings(architecture, **changes))
        made = getattr(transformers, architecture)._from_config(config, attn_implementation="eager").eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            values = torch.randn(parameter.shape, generator=generator, dtype=_FLOAT32)
            scaled = values / math.sqrt(parameter.shape[-1]) if parameter.dim() == 2 else 1 + 0.1 * values
            parameter.copy_((values / 2 if name.endswith(".bias") else scaled).to(_FLOAT32))
    return made


def save(directory: Path, made: Any, **options: Any) -> Path:
    """As save_pretrained writes it."""
    with quiet_transformers():
        made.save_pretrained(directory, **options)
    return directory


def rewrite(directory: Path, **changes: Any) -> Path:
    """config.json with other values; None drops a key."""
    path = directory / "config.json"
    content = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))
    return directory


def logits(made: Any, tokens: torch.Tensor) -> torch.Tensor:
    with quiet_transformers(), torch.no_grad():
        return made(input_ids=tokens, use_cache=False).logits


@contextmanager
def float64_arithmetic() -> Iterator[None]:
    """transformers asks for float32 by name in its norms, rotations and softmax; within this it gets float64."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    double = torch.float64
    try:
        with (
            mock.patch.object(torch, "float32", double),
            mock.patch.object(torch, "float", double),
            mock.patch.object(torch.Tensor, "float", torch.Tensor.double),
        ):
            yield
    finally:
        torch.set_default_dtype(before)


@st.composite
def rope_parameters(draw: st.DrawFn, head_dim: int, longest: int) -> dict[str, Any]:
    """Every type of scaling, with parameters that put a model's few pairs on all sides of its limits."""
    # dynamic scaling's exponent is head_dim / (head_dim - 2)
    kinds = ["default", "linear", "llama3", "yarn"] + (["dynamic"] if head_dim > 2 else [])
    kind = draw(st.sampled_from(kinds))
    made: dict[str, Any] = {"rope_type": kind, "rope_theta": draw(st.sampled_from([100.0, 10000.0, 500000.0]))}
    if kind != "default":
        made["factor"] = draw(st.floats(1.0, 40.0))
    if kind in ("llama3", "yarn"):
        made["original_max_position_embeddings"] = draw(st.integers(1, 2 * longest))
    if kind == "llama3":
        made["low_freq_factor"] = draw(st.floats(0.01, 2.0))
        made["high_freq_factor"] = made["low_freq_factor"] + draw(st.floats(0.01, 4.0))
    if kind == "yarn":
        made["truncate"] = draw(st.booleans())
        slow = draw(st.floats(0.01, 2.0))
        for key, value in (
            ("beta_slow", slow),
            ("beta_fast", slow + draw(st.floats(0.0, 40.0))),
            ("attention_factor", draw(st.floats(0.5, 2.0))),
            ("mscale", draw(st.floats(0.5, 2.0))),
            ("mscale_all_dim", draw(st.floats(0.5, 2.0))),
        ):
            if draw(st.booleans()):
                made[key] = value
    return made


@st.composite
def models(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """An architecture, and keywords for its config."""
    architecture = draw(st.sampled_from(sorted(MODEL_TYPES)))
    kv_heads, head_dim = draw(st.integers(1, 3)), 2 * draw(st.integers(1, 8))
    heads, longest = kv_heads * draw(st.integers(1, 3)), draw(st.integers(2, 40))
    changes: dict[str, Any] = {
        # transformers insists on the division even where head_dim is given
        "hidden_size": heads * draw(st.integers(1, 8)),
        "intermediate_size": draw(st.integers(1, 30)),
        "num_hidden_layers": draw(st.integers(1, 2)),
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": head_dim,
        "vocab_size": draw(st.integers(1, 30)),
        "max_position_embeddings": longest,
        "hidden_act": draw(st.sampled_from(["silu", "gelu", "gelu_pytorch_tanh", "gelu_new", "swish"])),
        "tie_word_embeddings": draw(st.booleans()),
        # exact in float32, which is what the reference makes of them
        "rms_norm_eps": draw(st.sampled_from([2.0**-17, 2.0**-20, 2.0**-10])),
        "rope_parameters": draw(rope_parameters(head_dim, longest)),
        "pad_token_id": None,
    }
    if architecture == "LlamaForCausalLM":
        changes |= {"attention_bias": draw(st.booleans()), "mlp_bias": draw(st.booleans())}
    return architecture, changes
