"""Hugging Face's names and order of rows for a tensor of llama2.c's.

verify/sources reads directories by its own table and its own arithmetic. Both are here again on purpose: a mistake in
one of them is detected where a Hugging Face source meets a Hugging Face directory.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from verify.sources import Hyperparameters

_OUTSIDE = {
    "tok_embeddings": "model.embed_tokens",
    "norm": "model.norm",
    "output": "lm_head",
}
_IN_LAYER = {
    "attention_norm": "input_layernorm",
    "attention": {
        "wq": "self_attn.q_proj",
        "wk": "self_attn.k_proj",
        "wv": "self_attn.v_proj",
        "wo": "self_attn.o_proj",
    },
    "ffn_norm": "post_attention_layernorm",
    "feed_forward": {"w1": "mlp.gate_proj", "w2": "mlp.down_proj", "w3": "mlp.up_proj"},
}


def stored_name(name: str) -> str:
    """Return Hugging Face's name: of layers.0.attention.wq.weight, model.layers.0.self_attn.q_proj.weight."""
    match name.split("."):
        case ["layers", number, module, kind]:
            return f"model.layers.{number}.{_IN_LAYER[module]}.{kind}"
        case ["layers", number, module, part, kind]:
            parts = _IN_LAYER[module]
            assert isinstance(parts, dict)
            return f"model.layers.{number}.{parts[part]}.{kind}"
        case [module, kind]:
            return f"{_OUTSIDE[module]}.{kind}"
    raise ValueError(name)


def stored_rows(name: str, hyper: Hyperparameters) -> NDArray[np.intp] | None:
    """Return, for each row in llama2.c's order, its row in Hugging Face's; None where both are the same.

    llama2.c rotates rows 2i and 2i + 1 of a head together. Hugging Face rotates rows i and i + head_dim / 2.
    """
    heads = {"wq": hyper.n_heads, "wk": hyper.n_kv_heads}.get(name.split(".")[-2])
    if heads is None:
        return None
    row = np.arange(heads * hyper.head_dim)
    head, within = row // hyper.head_dim, row % hyper.head_dim
    return head * hyper.head_dim + within // 2 + (within % 2) * (hyper.head_dim // 2)
