"""What Hugging Face calls a Llama's tensors: used by what reads its directories and by what writes them."""

from __future__ import annotations

# Of the whole model, and within model.layers.N; each with .weight or .bias behind it.
_MODULES = {
    "tok_embeddings": "model.embed_tokens",
    "attention_norm": "input_layernorm",
    "attention.wq": "self_attn.q_proj",
    "attention.wk": "self_attn.k_proj",
    "attention.wv": "self_attn.v_proj",
    "attention.wo": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "feed_forward.w1": "mlp.gate_proj",
    "feed_forward.w2": "mlp.down_proj",
    "feed_forward.w3": "mlp.up_proj",
    "norm": "model.norm",
    "output": "lm_head",
}


def hugging_face_name(name: str) -> str:
    """layers.3.attention.wq.bias -> model.layers.3.self_attn.q_proj.bias"""
    module, _, kind = name.rpartition(".")
    if not module.startswith("layers."):
        return f"{_MODULES[module]}.{kind}"
    _, layer, module = module.split(".", 2)
    return f"model.layers.{layer}.{_MODULES[module]}.{kind}"
