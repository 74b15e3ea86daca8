"""Map llama2.c's tensor names to Hugging Face's, for the source that reads them and the format that writes them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from exporter.config import ModelConfig, tensor_shapes

# Modules of the model, and of model.layers.N; each name ends in .weight or .bias.
_MODULES = {
    "tok_embeddings": "model.embed_tokens",
    "attention.wq": "self_attn.q_proj",
    "attention.wk": "self_attn.k_proj",
    "attention.wv": "self_attn.v_proj",
    "attention.q_norm": "self_attn.q_norm",
    "attention.k_norm": "self_attn.k_norm",
    "attention.wo": "self_attn.o_proj",
    "feed_forward.w1": "mlp.gate_proj",
    "feed_forward.w2": "mlp.down_proj",
    "feed_forward.w3": "mlp.up_proj",
    "attention_norm": "input_layernorm",
    "attention_post_norm": "post_attention_layernorm",
    "ffn_post_norm": "post_feedforward_layernorm",
    "norm": "model.norm",
    "output": "lm_head",
}
# The same name stands before the feed forward of Llama and after the attention of others.
_FFN_NORM = {"before": "post_attention_layernorm", "both": "pre_feedforward_layernorm"}
# What a fused matrix holds, its rows in this order.
_FUSED = {
    "self_attn.qkv_proj": ("attention.wq", "attention.wk", "attention.wv"),
    "mlp.gate_up_proj": ("feed_forward.w1", "feed_forward.w3"),
}


@dataclass(frozen=True)
class Place:
    """Where a tensor stands in a Hugging Face directory: the rows from first on of the tensor called name."""

    name: str
    first: int = 0


def hugging_face_name(name: str, norm_place: str = "before") -> str:
    """Return Hugging Face's name: layers.3.attention.wq.bias becomes model.layers.3.self_attn.q_proj.bias."""
    module, _, kind = name.rpartition(".")
    if not module.startswith("layers."):
        return f"{_MODULES[module]}.{kind}"
    _, layer, module = module.split(".", 2)
    theirs = _FFN_NORM[norm_place] if module == "ffn_norm" else _MODULES[module]
    return f"model.layers.{layer}.{theirs}.{kind}"


def places(config: ModelConfig, *, fused: bool) -> dict[str, Place]:
    """Return the place of each of a model's tensors. fused: q, k and v are one tensor, and so are gate and up."""
    found = {name: Place(hugging_face_name(name, config.norm_place)) for name in tensor_shapes(config)}
    return {**found, **dict(_fused_places(config))} if fused else found


def _fused_places(config: ModelConfig) -> Iterator[tuple[str, Place]]:
    shapes = tensor_shapes(config)
    for layer in range(config.n_layers):
        for module, parts in _FUSED.items():
            first = 0
            for part in parts:
                name = f"layers.{layer}.{part}.weight"
                yield name, Place(f"model.layers.{layer}.{module}.weight", first)
                first += shapes[name][0]
