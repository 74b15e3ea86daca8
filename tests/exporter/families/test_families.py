"""Every family: what transformers saves is read as the model that it computes, and goes back to it bit for bit."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.family_draws import EAGER, Keywords, family_models, made, meant
from helpers.huggingface import logits, save
from helpers.models import same_bits
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

import exporter
import reader_c
from exporter.families import FAMILIES
from verify.system.optional_imports import quiet_transformers

_FEW = settings(max_examples=max(3, settings().max_examples // 5), suppress_health_check=list(HealthCheck))


def back(out: Path) -> Any:
    """The model that transformers makes of a directory: it misses nothing and has nothing left."""
    with quiet_transformers() as transformers:
        model, info = transformers.AutoModelForCausalLM.from_pretrained(
            out, **EAGER, dtype=torch.float32, output_loading_info=True
        )
        assert not any(info.values()), info
        # in memory of its own: sums over a mapped file may differ in their last bit by how it is aligned
        own = transformers.AutoModelForCausalLM.from_config(model.config, **EAGER).eval()
    own.load_state_dict(model.state_dict())
    return own


def stored_rows(name: str, model: exporter.ModelConfig, state: dict[str, torch.Tensor], family: str) -> np.ndarray:
    """A tensor as v3 has it, from transformers' own: its name, its part of a fused matrix, its rows one by one."""
    kind = name.rsplit(".", 1)[1]
    path = name.split(".")
    if path[0] != "layers":
        module = {"tok_embeddings": "model.embed_tokens", "norm": "model.norm", "output": "lm_head"}[path[0]]
        return state[f"{module}.{kind}"].numpy()
    layer, part = f"model.layers.{path[1]}", path[-2]
    if part == "router":
        return state[f"{layer}.mlp.gate.weight"].numpy()
    if "experts" in path:
        joined = state[f"{layer}.mlp.experts.{'down' if part == 'w2' else 'gate_up'}_proj"][int(path[4])]
        wide = model.expert_hidden_dim
        return (joined if part == "w2" else joined[:wide] if part == "w1" else joined[wide:]).numpy()
    theirs = {
        **{"wq": "self_attn.q_proj", "wk": "self_attn.k_proj", "wv": "self_attn.v_proj", "wo": "self_attn.o_proj"},
        **{"q_norm": "self_attn.q_norm", "k_norm": "self_attn.k_norm"},
        **{"w1": "mlp.gate_proj", "w2": "mlp.down_proj", "w3": "mlp.up_proj"},
        "attention_norm": "input_layernorm",
        "attention_post_norm": "post_attention_layernorm",
        "ffn_norm": "post_attention_layernorm" if model.norm_place == "before" else "pre_feedforward_layernorm",
        "ffn_post_norm": "post_feedforward_layernorm",
    }[part]
    fused = state.get(f"{layer}.self_attn.qkv_proj.weight")
    if fused is not None and part in ("wq", "wk", "wv"):
        rows = {"wq": model.q_dim, "wk": model.kv_dim, "wv": model.kv_dim}
        at = {"wq": 0, "wk": model.q_dim, "wv": model.q_dim + model.kv_dim}[part]
        array = fused[at : at + rows[part]].numpy()
    elif fused is not None and part in ("w1", "w3"):
        at = 0 if part == "w1" else model.hidden_dim
        array = state[f"{layer}.mlp.gate_up_proj.weight"][at : at + model.hidden_dim].numpy()
    else:
        array = state[f"{layer}.{theirs}.{kind}"].numpy()
    if part not in ("wq", "wk", "q_norm", "k_norm") or family in ("helium", "ernie4_5"):
        return array
    half = model.rotated // 2
    order = [row for pair in range(half) for row in (pair, pair + half)] + list(range(model.rotated, model.head_dim))
    heads = len(array) // model.head_dim
    return np.stack([array[head * model.head_dim + row] for head in range(heads) for row in order])


def check(family: str, keywords: Keywords, seed: int) -> None:
    source = made(family, keywords, seed)
    state = {name: tensor.clone() for name, tensor in source.state_dict().items()}
    tokens = torch.randint(
        0,
        keywords["vocab_size"],
        (1, keywords["max_position_embeddings"]),
        generator=torch.Generator().manual_seed(seed),
    )
    expected = logits(source, tokens)
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        opened = exporter.open_checkpoint(save(directory / "source", source))
        assert opened.config == meant(source.config, family)
        for tensor in opened.names:
            assert same_bits(
                np.ascontiguousarray(opened.load(tensor)), stored_rows(tensor, opened.config, state, family)
            )
        exporter.export(opened, directory / "model.bin", format="v3")
        stored = exporter.open_checkpoint(directory / "model.bin")
        assert stored.config == opened.config
        assert all(same_bits(stored.load(tensor), opened.load(tensor)) for tensor in opened.names)
        found = reader_c.Model(directory / "model.bin").forward(tokens[0].numpy())
        assert np.abs(found - expected[0].numpy()).max() <= 1e-3 * max(1e-3, float(expected.abs().max()))
        exporter.export(opened, directory / "same", format="hf")
        again = back(directory / "same")
        assert again.config.model_type == family
        theirs = again.state_dict()
        assert theirs.keys() == state.keys()
        assert all(same_bits(theirs[key].numpy(), tensor.numpy()) for key, tensor in state.items())
        assert torch.equal(logits(again, tokens), expected)
        # a file does not say its family: the first whose class computes the model
        exporter.export(stored, directory / "any", format="hf")
        torch.testing.assert_close(logits(back(directory / "any"), tokens), expected, rtol=0, atol=1e-5)
        assert exporter.open_checkpoint(directory / "any").config == opened.config


@pytest.mark.parametrize("family", ["mixtral", "qwen3_moe", "olmoe", "flex_olmo"])
@_FEW
@given(data=st.data(), seed=st.integers(0, 99))
def test_experts_of_published_files_and_joined_ones_are_the_same_model(
    family: str, data: st.DataObject, seed: int
) -> None:
    source = made(family, data.draw(family_models(family)), seed)
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        published = exporter.open_checkpoint(save(directory / "published", source))
        source.save_pretrained(directory / "joined", save_original_format=False)
        joined = exporter.open_checkpoint(directory / "joined")
        tensors = load_file(directory / "joined" / "model.safetensors")
        assert any(key.endswith(".mlp.experts.gate_up_proj") for key in tensors)
        assert not any(".experts.0." in key for key in tensors)
        assert joined.config == published.config
        assert all(same_bits(joined.load(tensor), published.load(tensor)) for tensor in joined.names)
        exporter.export(joined, directory / "back", format="hf")
        names = load_file(directory / "back" / "model.safetensors").keys()
        assert names == load_file(directory / "published" / "model.safetensors").keys()


@pytest.mark.parametrize("family", FAMILIES)
@_FEW
@given(data=st.data(), seed=st.integers(0, 99))
def test_a_model_is_read_and_goes_back_bit_for_bit(family: str, data: st.DataObject, seed: int) -> None:
    check(family, data.draw(family_models(family)), seed)
