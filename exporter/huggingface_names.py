"""Map llama2.c's tensor names to Hugging Face's, for the source that reads them and the format that writes them."""

from __future__ import annotations

# Modules of the model, and of model.layers.N; each name ends in .weight or .bias.
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
    """Return Hugging Face's name: layers.3.attention.wq.bias becomes model.layers.3.self_attn.q_proj.bias."""
    module, _, kind = name.rpartition(".")
    if not module.startswith("layers."):
        return f"{_MODULES[module]}.{kind}"
    _, layer, module = module.split(".", 2)
    return f"model.layers.{layer}.{_MODULES[module]}.{kind}"
