"""Published config.json files, their sizes shrunk: each ends as transformers means it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import huggingface

from verify.errors import CannotJudgeError
from verify.oracle import llama
from verify.oracle.transformers import TransformersOracle
from verify.sources import open_source
from verify.sources.huggingface import HuggingFaceSource
from verify.system.optional_imports import quiet_transformers

CONFIGS: dict[str, dict[str, Any]] = json.loads(Path(__file__).with_name("published_configs.json").read_text())
UNSUPPORTED = {"qwen3": "Qwen3ForCausalLM", "smollm3": "SmolLM3ForCausalLM", "granite": "GraniteForCausalLM"}
# shorter than the model
WINDOWED = {"mistralai/Mistral-7B-v0.1": 4096}
TOKENS = torch.arange(40).view(2, 20) % 61


def shrunk(said: dict[str, Any]) -> dict[str, Any]:
    """Two layers and few numbers, with as many queries for a key as in the large model; all other keys stay."""
    shared = said["num_attention_heads"] // said.get("num_key_value_heads", said["num_attention_heads"])
    small = {"num_attention_heads": 2 * shared, "num_key_value_heads": 2, "head_dim": 10}
    kept = {key: value for key, value in small.items() if key in said}
    sizes = {"hidden_size": 16 * shared, "intermediate_size": 40, "num_hidden_layers": 2, "vocab_size": 61}
    padding = said.get("pad_token_id")
    token = {"pad_token_id": 5} if isinstance(padding, int) and padding > 60 else {}
    return {**said, **kept, **sizes, **token}


def made(directory: Path, said: dict[str, Any]) -> Any:
    """transformers' own model of a config.json, with random weights."""
    (directory / "config.json").write_text(json.dumps(said))
    with quiet_transformers() as transformers:
        config = transformers.AutoConfig.from_pretrained(directory, trust_remote_code=False)
        model = transformers.AutoModelForCausalLM.from_config(
            config, attn_implementation="eager", dtype=torch.float32, trust_remote_code=False
        ).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            values = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(values / math.sqrt(parameter.shape[-1]) if parameter.dim() == 2 else 1 + 0.1 * values)
    return model


def save(directory: Path, model: Any, said: dict[str, Any], layout: str) -> None:
    """One file, shards, or shards of pickles as transformers wrote them once; with the published config.json."""
    huggingface.save(directory, model, **({"max_shard_size": "10KB"} if layout == "shards" else {}))
    (directory / "config.json").write_text(json.dumps(said))
    if layout != "pickled shards":
        return
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    if model.config.tie_word_embeddings:
        del state["lm_head.weight"]
    (directory / "model.safetensors").unlink()
    shards = [f"pytorch_model-{number:05}-of-00002.bin" for number in (1, 2)]
    weight_map = {name: shards[number % 2] for number, name in enumerate(state)}
    for shard in shards:
        torch.save({name: state[name] for name, where in weight_map.items() if where == shard}, directory / shard)
    (directory / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


@pytest.mark.parametrize("layout", ["one file", "shards", "pickled shards"])
@pytest.mark.parametrize("name", CONFIGS)
def test_each_is_what_transformers_makes_of_it_or_refused_by_name(tmp_path: Path, name: str, layout: str) -> None:
    said = shrunk(CONFIGS[name])
    model = made(tmp_path, said)
    save(tmp_path, model, said, layout)
    if said["model_type"] in UNSUPPORTED:
        family = said["model_type"]
        message = rf"model_type: expected one of .*, found {family} \({UNSUPPORTED[family]}\)$"
        with pytest.raises(CannotJudgeError, match=message):
            open_source(tmp_path)
        return
    options = {}
    if name in WINDOWED:
        with pytest.raises(CannotJudgeError, match=f"--max-seq-len {WINDOWED[name]} or less makes it exact$"):
            open_source(tmp_path)
        options = {"max_seq_len": WINDOWED[name]}
    source = open_source(tmp_path, **options)
    assert isinstance(source, HuggingFaceSource)
    theirs = huggingface.logits(model, TOKENS)
    mine = llama.logits(source.hyperparameters, source.tensor, TOKENS).float()
    for logits in (mine, TransformersOracle(source).logits(TOKENS)):
        torch.testing.assert_close(logits, theirs, rtol=0, atol=2e-5)
