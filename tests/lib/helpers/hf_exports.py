"""Exports of directories for transformers: models that it can express, and what it makes of them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import torch
import transformers
from hypothesis import strategies as st

import exporter
from exporter.config import tensor_shapes
from exporter.formats.huggingface import HuggingFaceSummary, export_huggingface
from helpers.models import arrays
from verify.testing import configs

transformers.utils.logging.disable_progress_bar()

YARN = exporter.RopeScaling("yarn", 4.0, 16, beta_fast=32.0, beta_slow=1.0, attention_factor=1.5, truncate=False)
TORCH = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
NUMPY = {"fp32": np.float32, "fp16": np.float16, "bf16": ml_dtypes.bfloat16}


def everything(**changes: Any) -> st.SearchStrategy[exporter.ModelConfig]:
    switches = {"head_sizes": True, "scalings": True, "biases": True, "activations": True, "numbers": True}
    return configs(**{**switches, **changes})


def expressible(model: exporter.ModelConfig) -> bool:
    """Whether a Llama or a Qwen 2 of transformers computes a model."""
    if model.rope_scaling.type == "dynamic" and model.head_dim == 2:
        return False
    return model.qkv_bias == model.wo_bias or (model.qkv_bias and not model.mlp_bias)


def typed(model: exporter.ModelConfig, dtypes: dict[str, Any], seed: int = 0) -> exporter.Checkpoint:
    """A checkpoint whose tensors come from these types, float32 where none is given."""
    made = {
        name: array.astype(NUMPY[dtypes.get(name, "fp32")]).astype(np.float32)
        for name, array in arrays(model, seed).items()
    }
    return exporter.Checkpoint(
        model, tensor_shapes(model), made.__getitem__, where="a test", kind="memory", dtypes=dtypes
    )


@contextmanager
def exported(source: exporter.Checkpoint, **options: Any) -> Iterator[tuple[Path, HuggingFaceSummary]]:
    with tempfile.TemporaryDirectory() as directory:
        out = Path(directory) / "model"
        options = {"overwrite": False, "progress": None, **options}
        yield out, export_huggingface(source, source.config, out, **options)
        assert os.listdir(directory) == ["model"]  # noqa: PTH208  # the hidden ones too


def loaded(out: Path, dtype: Any = "auto") -> transformers.PreTrainedModel:
    """transformers' model, which misses nothing and has nothing left."""
    model, info = transformers.AutoModelForCausalLM.from_pretrained(out, dtype=dtype, output_loading_info=True)
    assert not any(info.values()), info
    return model.eval()


def as_transformers_has_it(name: str, array: np.ndarray, model: exporter.ModelConfig) -> tuple[str, np.ndarray]:
    """Name and rows of one canonical tensor, said once more from transformers' side."""
    parts = {
        "attention_norm": "input_layernorm",
        "attention": {f"w{x}": f"self_attn.{x}_proj" for x in "qkvo"},
        "ffn_norm": "post_attention_layernorm",
        "feed_forward": {"w1": "mlp.gate_proj", "w2": "mlp.down_proj", "w3": "mlp.up_proj"},
    }
    path = name.split(".")
    if path[0] != "layers":
        module = {"tok_embeddings": "model.embed_tokens", "norm": "model.norm", "output": "lm_head"}[path[0]]
        return f"{module}.{path[1]}", array
    found = parts[path[2]]
    module = found if isinstance(found, str) else found[path[3]]
    if path[3] in ("wq", "wk"):
        size = model.head_dim
        firsts = range(0, len(array), size)
        # transformers' head is first the even rows of ours, then the odd ones
        array = array[[first + row for first in firsts for row in (*range(0, size, 2), *range(1, size, 2))]]
    return f"model.layers.{path[1]}.{module}.{path[-1]}", array
