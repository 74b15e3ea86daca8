"""config.json says every field of the model, in words that both versions of transformers understand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from helpers.hf_exports import TORCH, YARN, everything, exported, expressible, loaded, typed
from helpers.models import checkpoint, config
from hypothesis import assume, example, given

import exporter
from exporter.config import tensor_shapes


@given(everything())
@example(config(rope_scaling=YARN))
@example(config(rope_scaling=exporter.RopeScaling("dynamic", 2.0, 33)))
@example(config(rope_theta=1000000, norm_eps=1))  # integers, which ModelConfig takes and transformers does not
def test_every_field_comes_back_from_autoconfig(model: exporter.ModelConfig) -> None:
    assume(expressible(model))
    with exported(checkpoint(model)) as (out, _):
        found = transformers.AutoConfig.from_pretrained(out)
    rope = dict(found.rope_parameters)
    qwen = found.model_type == "qwen2"
    assert found.architectures == ["Qwen2ForCausalLM" if qwen else "LlamaForCausalLM"]
    kind = rope.pop("rope_type")
    theta = rope.pop("rope_theta")
    if kind == "dynamic":
        rope["original_max_position_embeddings"] = found.max_position_embeddings
    if "original_max_position_embeddings" in rope:
        rope["original_max_positions"] = rope.pop("original_max_position_embeddings")
    assert model == exporter.ModelConfig(
        dim=found.hidden_size,
        hidden_dim=found.intermediate_size,
        n_layers=found.num_hidden_layers,
        n_heads=found.num_attention_heads,
        n_kv_heads=found.num_key_value_heads,
        vocab_size=found.vocab_size,
        max_seq_len=found.max_position_embeddings,
        tied=found.tie_word_embeddings,
        norm_eps=found.rms_norm_eps,
        rope_theta=theta,
        head_dim=found.head_dim,
        rope_scaling=exporter.RopeScaling("none" if kind == "default" else kind, **rope),
        qkv_bias=qwen or found.attention_bias,
        wo_bias=not qwen and found.attention_bias,
        mlp_bias=not qwen and found.mlp_bias,
        activation={"gelu_pytorch_tanh": "gelu_tanh"}.get(found.hidden_act, found.hidden_act),
    )
    assert found.dtype == torch.float32
    # Llama's own defaults are two tokens of sentencepiece's
    assert found.bos_token_id is found.eos_token_id is found.pad_token_id is None
    assert not (qwen and found.use_sliding_window)


def test_transformers_has_nothing_to_say_about_it(tmp_path: Path) -> None:
    """Neither of version 4's names in config.json, nor of anything else."""
    import logging

    told: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = told.append  # type: ignore[method-assign]
    logger = logging.getLogger("transformers")
    logger.addHandler(handler)
    try:
        scalings = (
            exporter.RopeScaling(),
            exporter.RopeScaling("linear", 2.0),
            exporter.RopeScaling("dynamic", 2.0, 33),
            exporter.RopeScaling("llama3", 8.0, 16, low_freq_factor=1.0, high_freq_factor=4.0),
            exporter.RopeScaling("yarn", 3, 11, beta_fast=32, beta_slow=1, attention_factor=1, truncate=True),
        )
        for number, scaling in enumerate(scalings):
            for bias in (False, True):
                out = tmp_path / f"{number}{bias}"
                exporter.export(checkpoint(config(rope_scaling=scaling, qkv_bias=bias)), out, format="hf")
                loaded(out)
    finally:
        logger.removeHandler(handler)
    assert [record.getMessage() for record in told if record.levelno >= logging.WARNING] == []


@pytest.mark.parametrize("dtype", sorted(TORCH))
def test_config_json_has_the_commonest_type(tmp_path: Path, dtype: str) -> None:
    """And by default transformers loads in it: the norms are float32, and few."""
    names = tensor_shapes(config())
    source = typed(config(), {name: dtype for name, shape in names.items() if len(shape) == 2})
    exporter.export(source, tmp_path / "out", format="hf")
    assert transformers.AutoConfig.from_pretrained(tmp_path / "out").dtype == TORCH[dtype]
    assert {p.dtype for p in loaded(tmp_path / "out").parameters()} == {TORCH[dtype]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rope_scaling": exporter.RopeScaling("dynamic", 2.0, 64)}, "^max_seq_len: expected 64.* found 33; use v3$"),
        (
            {"rope_scaling": exporter.RopeScaling("dynamic", 2.0, 33), "head_dim": 2},
            "^head_dim: expected at least 4.* found 2; use v3$",
        ),
    ],
)
def test_what_transformers_cannot_express_is_refused_by_name(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(exporter.FormatError, match=message):
        exporter.export(checkpoint(config(**changes)), tmp_path / "out", format="hf")
    assert not list(tmp_path.iterdir())


def test_a_shortened_model_with_dynamic_scaling_is_refused(tmp_path: Path) -> None:
    source = checkpoint(config(rope_scaling=exporter.RopeScaling("dynamic", 2.0, 33)))
    with pytest.raises(exporter.FormatError, match=r"max_seq_len: expected 33.* found 20; use v3$"):
        exporter.export(source, tmp_path / "out", format="hf", max_seq_len=20)
