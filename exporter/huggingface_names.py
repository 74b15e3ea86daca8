"""Map llama2.c's tensor names to Hugging Face's, for the source that reads them and the format that writes them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from exporter.config import ModelConfig, tensor_shapes
from exporter.experts import ROUTER, is_router

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


# transformers 5 holds a mixture's experts in these, one behind the other: gate and up (experts, rows of both, dim).
_JOINED_ROUTER, _JOINED = "mlp.gate", {"w1": "mlp.experts.gate_up_proj", "w3": "mlp.experts.gate_up_proj"}
_JOINED["w2"] = "mlp.experts.down_proj"


@dataclass(frozen=True)
class ExpertNames:
    """What published files call a layer's router, its experts, and the three matrices of each."""

    router: str = "mlp.gate"
    experts: str = "mlp.experts"
    w1: str = "gate_proj"
    w2: str = "down_proj"
    w3: str = "up_proj"


@dataclass(frozen=True)
class Place:
    """Where a tensor stands in a Hugging Face directory: the rows from first on of the tensor called name.

    expert: the first index into that tensor where it holds all experts of a layer, else None.
    """

    name: str
    first: int = 0
    expert: int | None = None


def hugging_face_name(name: str, norm_place: str = "before") -> str:
    """Return Hugging Face's name: layers.3.attention.wq.bias becomes model.layers.3.self_attn.q_proj.bias."""
    module, _, kind = name.rpartition(".")
    if not module.startswith("layers."):
        return f"{_MODULES[module]}.{kind}"
    _, layer, module = module.split(".", 2)
    theirs = _FFN_NORM[norm_place] if module == "ffn_norm" else _MODULES[module]
    return f"model.layers.{layer}.{theirs}.{kind}"


def holds_joined_experts(names: Iterable[str]) -> bool:
    """Return whether a directory with tensors of these names has all experts of a layer in one tensor."""
    return any(name.endswith(f".{_JOINED['w1']}") for name in names)


def places(
    config: ModelConfig, *, fused: bool, experts: ExpertNames | None = None, joined: bool = False
) -> dict[str, Place]:
    """Return the place of each of a model's tensors.

    fused: q, k and v are one tensor, and so are gate and up. experts: the names of the family's experts, which are
    not used where the experts of a layer are joined.
    """
    found = {}
    for name in tensor_shapes(config):
        if experts and ".feed_forward." in name and (".experts." in name or is_router(name)):
            found[name] = _joined_place(config, name) if joined else _expert_place(experts, name)
        else:
            found[name] = Place(hugging_face_name(name, config.norm_place))
    return {**found, **dict(_fused_places(config))} if fused else found


def _expert_place(names: ExpertNames, name: str) -> Place:
    _, layer, rest = name.split(".", 2)
    if rest == ROUTER:
        return Place(f"model.layers.{layer}.{names.router}.weight")
    *_, expert, matrix, kind = rest.split(".")
    return Place(f"model.layers.{layer}.{names.experts}.{expert}.{getattr(names, matrix)}.{kind}")


def _joined_place(config: ModelConfig, name: str) -> Place:
    _, layer, rest = name.split(".", 2)
    if rest == ROUTER:
        return Place(f"model.layers.{layer}.{_JOINED_ROUTER}.weight")
    *_, expert, matrix, _ = rest.split(".")
    first = config.expert_hidden_dim if matrix == "w3" else 0
    return Place(f"model.layers.{layer}.{_JOINED[matrix]}", first, int(expert))


def _fused_places(config: ModelConfig) -> Iterator[tuple[str, Place]]:
    shapes = tensor_shapes(config)
    for layer in range(config.n_layers):
        for module, parts in _FUSED.items():
            first = 0
            for part in parts:
                name = f"layers.{layer}.{part}.weight"
                yield name, Place(f"model.layers.{layer}.{module}.weight", first)
                first += shapes[name][0]
