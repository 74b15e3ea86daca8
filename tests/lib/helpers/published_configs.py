"""Directories of published config.json files: sizes shrunk, random weights, saved by transformers."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch

from helpers import huggingface
from helpers.config_draws import Json
from verify.system.optional_imports import quiet_transformers

LAYOUTS = ("one file", "shards", "pickled shards")


def shrunk(said: Json) -> Json:
    """Two layers and few numbers, with as many queries for a key as in the large model; all other keys stay."""
    shared = said["num_attention_heads"] // said.get("num_key_value_heads", said["num_attention_heads"])
    small = {"num_attention_heads": 2 * shared, "num_key_value_heads": 2, "head_dim": 10}
    kept = {key: value for key, value in small.items() if key in said}
    sizes = {"hidden_size": 16 * shared, "intermediate_size": 40, "num_hidden_layers": 2, "vocab_size": 61}
    padding = said.get("pad_token_id")
    token = {"pad_token_id": 5} if isinstance(padding, int) and padding > 60 else {}
    return {**said, **kept, **sizes, **token}


def model(directory: Path, said: Json) -> Any:
    """transformers' own model of a config.json, which is written into directory, with random weights."""
    (directory / "config.json").write_text(json.dumps(said))
    with quiet_transformers() as transformers:
        config = transformers.AutoConfig.from_pretrained(directory, trust_remote_code=False)
        made = transformers.AutoModelForCausalLM.from_config(
            config, attn_implementation="eager", dtype=torch.float32, trust_remote_code=False
        ).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in made.parameters():
            values = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(values / math.sqrt(parameter.shape[-1]) if parameter.dim() == 2 else 1 + 0.1 * values)
    return made


def save(directory: Path, made: Any, said: Json, layout: str) -> None:
    """One file, shards, or shards of pickles as transformers wrote them once; with the published config.json."""
    huggingface.save(directory, made, **({"max_shard_size": "10KB"} if layout == "shards" else {}))
    (directory / "config.json").write_text(json.dumps(said))
    if layout != "pickled shards":
        return
    state = {name: tensor.clone() for name, tensor in made.state_dict().items()}
    if made.config.tie_word_embeddings:
        del state["lm_head.weight"]
    (directory / "model.safetensors").unlink()
    shards = [f"pytorch_model-{number:05}-of-00002.bin" for number in (1, 2)]
    weight_map = {name: shards[number % 2] for number, name in enumerate(state)}
    for shard in shards:
        torch.save({name: state[name] for name, where in weight_map.items() if where == shard}, directory / shard)
    (directory / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
