"""Hugging Face directories on disk, written by transformers itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import save_file

import exporter
from exporter.config import tensor_shapes
from helpers.models import same_bits

CLASSES = {
    "llama": (transformers.LlamaConfig, transformers.LlamaForCausalLM),
    "mistral": (transformers.MistralConfig, transformers.MistralForCausalLM),
    "qwen2": (transformers.Qwen2Config, transformers.Qwen2ForCausalLM),
}
# Counts that all differ, as in helpers.models.config().
SIZES: dict[str, Any] = {
    "hidden_size": 48,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 3,
    "vocab_size": 29,
    "max_position_embeddings": 33,
}
State = dict[str, torch.Tensor]


def model(kind: str = "llama", dtype: torch.dtype = torch.float32, seed: int = 0, **changes: Any) -> Any:
    """A model of transformers' own, biases and norms random too."""
    config_class, model_class = CLASSES[kind]
    sizes = {**SIZES, **({"sliding_window": None} if kind == "mistral" else {}), **changes}
    made = model_class(config_class(**sizes)).to(dtype)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return made


def save(directory: Path, *, pickled: bool = False, shard: str = "5GB", **options: Any) -> State:
    """Save a model into directory, and return what it holds by transformers' names."""
    made = model(**options)
    made.save_pretrained(directory, max_shard_size=shard)
    state = {name: tensor.clone() for name, tensor in made.state_dict().items()}
    if pickled:
        for path in directory.glob("model*.safetensors*"):
            path.unlink()
        torch.save(made.state_dict(), directory / "pytorch_model.bin")
    return state


def rewrite(directory: Path, state: State, **config: Any) -> None:
    """Other tensors, and config.json with some keys changed; None removes nothing, it is null."""
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, directory / "model.safetensors")
    change_json(directory / "config.json", **config)


def change_json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


_PARTS = {
    "attention_norm": "input_layernorm",
    "attention.wq": "self_attn.q_proj",
    "attention.wk": "self_attn.k_proj",
    "attention.wv": "self_attn.v_proj",
    "attention.wo": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "feed_forward.w1": "mlp.gate_proj",
    "feed_forward.w2": "mlp.down_proj",
    "feed_forward.w3": "mlp.up_proj",
}


def expected(state: State, config: exporter.ModelConfig) -> dict[str, np.ndarray]:
    """The canonical tensors, row by row."""
    theirs = {"tok_embeddings.weight": "model.embed_tokens.weight", "norm.weight": "model.norm.weight"}
    theirs["output.weight"] = "lm_head.weight"
    made = {}
    for name in tensor_shapes(config):
        if name in theirs:
            made[name] = state[theirs[name]].float().numpy()
            continue
        _, number, rest = name.split(".", 2)
        part, kind = rest.rsplit(".", 1)
        array = state[f"model.layers.{number}.{_PARTS[part]}.{kind}"].float().numpy()
        if part in ("attention.wq", "attention.wk"):
            rows, size = [], config.head_dim
            for head in range(len(array) // size):
                for i in range(size // 2):
                    rows += [array[head * size + i], array[head * size + i + size // 2]]
            array = np.stack(rows)
        made[name] = array
    return made


def check(directory: Path, state: State) -> exporter.Checkpoint:
    opened = exporter.open_checkpoint(directory)
    wanted = expected(state, opened.config)
    assert set(opened.names) == set(wanted)
    for name, array in wanted.items():
        loaded = opened.load(name)
        assert loaded.flags.c_contiguous
        assert same_bits(loaded, array), name
    return opened


def refused(directory: Path, message: str) -> None:
    with pytest.raises(exporter.CheckpointError, match=message) as caught:
        exporter.open_checkpoint(directory, kind="huggingface")
    assert "\n" not in str(caught.value)
    assert str(directory) in str(caught.value)
