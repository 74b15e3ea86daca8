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
_PARTS = {
    "attention": {
        **{"wq": "self_attn.q_proj", "wk": "self_attn.k_proj", "wv": "self_attn.v_proj", "wo": "self_attn.o_proj"},
        **{"q_norm": "self_attn.q_norm", "k_norm": "self_attn.k_norm"},
    },
    "feed_forward": {"w1": "mlp.gate_proj", "w2": "mlp.down_proj", "w3": "mlp.up_proj", "router": "mlp.gate"},
}
# Where Mixtral has what others have within mlp.
_OF_MIXTRAL = "block_sparse_moe"
# Norms, by where a model has them.
_NORMS = {
    "before": {"attention_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm"},
    "after": {"attention_post_norm": "post_attention_layernorm", "ffn_post_norm": "post_feedforward_layernorm"},
    "both": {
        "attention_norm": "input_layernorm",
        "attention_post_norm": "post_attention_layernorm",
        "ffn_norm": "pre_feedforward_layernorm",
        "ffn_post_norm": "post_feedforward_layernorm",
    },
}
_FUSED = {
    **dict.fromkeys(("wq", "wk", "wv"), "self_attn.qkv_proj"),
    **dict.fromkeys(("w1", "w3"), "mlp.gate_up_proj"),
}


def stored_name(name: str, norm_place: str = "before", *, fused: bool = False, mixtral: bool = False) -> str:
    """Return Hugging Face's name: of layers.0.attention.wq.weight, model.layers.0.self_attn.q_proj.weight.

    fused: queries, keys and values are one matrix, and gate and up another. mixtral: experts and routers have the
    names of that family.
    """
    match name.split("."):
        case ["layers", number, "feed_forward", "experts", expert, part, kind]:
            within = f"{_OF_MIXTRAL}.experts" if mixtral else "mlp.experts"
            own = part if mixtral else _PARTS["feed_forward"][part].removeprefix("mlp.")
            return f"model.layers.{number}.{within}.{expert}.{own}.{kind}"
        case ["layers", number, "feed_forward", "router", kind] if mixtral:
            return f"model.layers.{number}.{_OF_MIXTRAL}.gate.{kind}"
        case ["layers", number, module, kind]:
            return f"model.layers.{number}.{_NORMS[norm_place][module]}.{kind}"
        case ["layers", number, module, part, kind]:
            own = _FUSED[part] if fused and part in _FUSED else _PARTS[module][part]
            return f"model.layers.{number}.{own}.{kind}"
        case [module, kind]:
            return f"{_OUTSIDE[module]}.{kind}"
    raise ValueError(name)


def fused_rows(name: str, hyper: Hyperparameters) -> tuple[int, int] | None:
    """Return (first, count) of the rows of a part within its fused matrix; None for a tensor of its own."""
    queries, keys = hyper.n_heads * hyper.head_dim, hyper.n_kv_heads * hyper.head_dim
    return {
        "wq": (0, queries),
        "wk": (queries, keys),
        "wv": (queries + keys, keys),
        "w1": (0, hyper.hidden_dim),
        "w3": (hyper.hidden_dim, hyper.hidden_dim),
    }.get(name.split(".")[-2])


def stored_rows(name: str, hyper: Hyperparameters) -> NDArray[np.intp] | None:
    """Return, for each row in llama2.c's order, its row in Hugging Face's; None where both are the same.

    llama2.c rotates rows 2i and 2i + 1 of a head together, of those that are rotated. Hugging Face rotates rows i and
    i + rotary_dim / 2.
    """
    whole = hyper.qk_norm == "whole"
    heads = {
        "wq": hyper.n_heads,
        "wk": hyper.n_kv_heads,
        "q_norm": hyper.n_heads if whole else 1,
        "k_norm": hyper.n_kv_heads if whole else 1,
    }.get(name.split(".")[-2])
    if heads is None:
        return None
    row = np.arange(heads * hyper.head_dim)
    head, within = row // hyper.head_dim, row % hyper.head_dim
    there = np.where(within < hyper.rotated, within // 2 + (within % 2) * (hyper.rotated // 2), within)
    return head * hyper.head_dim + there
