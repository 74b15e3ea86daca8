"""Lists the families of models whose Hugging Face directories are read, and by what each differs from Llama."""

from __future__ import annotations

from dataclasses import dataclass, field

_LLAMA_NAMES = {
    "input_layernorm": "attention_norm",
    "self_attn.q_proj": "attention.wq",
    "self_attn.k_proj": "attention.wk",
    "self_attn.v_proj": "attention.wv",
    "self_attn.o_proj": "attention.wo",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "feed_forward.w1",
    "mlp.up_proj": "feed_forward.w3",
    "mlp.down_proj": "feed_forward.w2",
}
_QK_NORMS = {"self_attn.q_norm": "attention.q_norm", "self_attn.k_norm": "attention.k_norm"}
_AFTER = {
    "post_attention_layernorm": "attention_post_norm",
    "post_feedforward_layernorm": "ffn_post_norm",
}
_BOTH = {**_AFTER, "pre_feedforward_layernorm": "ffn_norm"}
_AFTER_ALONE = {name: own for name, own in _LLAMA_NAMES.items() if name != "input_layernorm"} | _AFTER

# Of a layer with experts, the router beside the experts, whose names huggingface_experts.py has.
_OF_EXPERTS = {name: own for name, own in _LLAMA_NAMES.items() if not name.startswith("mlp.")}
_ROUTER = {"mlp.gate": "feed_forward.router"}

# The parts of a fused matrix, in the order of its rows.
FUSED = {
    "self_attn.qkv_proj": ("attention.wq", "attention.wk", "attention.wv"),
    "mlp.gate_up_proj": ("feed_forward.w1", "feed_forward.w3"),
}
_FUSED_PARTS = {part for parts in FUSED.values() for part in parts}
_PHI_NAMES = {name: own for name, own in _LLAMA_NAMES.items() if own not in _FUSED_PARTS} | {
    name: parts[0] for name, parts in FUSED.items()
}


@dataclass(frozen=True)
class Experts:
    """Describes a family's mixtures of experts: keys of config.json, and names.

    count, width: the keys of how many experts there are and of their hidden width. normalized: the key that says
    whether the shares of the chosen are divided by their sum; "" where they always are. sparse: whether keys say
    which layers have experts, or all have. names: of an expert's matrices in published files, gate, down and up.
    places: under which names of a layer experts stand.
    """

    count: str
    width: str
    normalized: str
    sparse: bool = False
    names: tuple[str, str, str] = ("gate_proj", "down_proj", "up_proj")
    places: tuple[str, ...] = ("mlp.experts",)


@dataclass(frozen=True)
class Family:
    """Describes a family: transformers' classes, names, and switches that no key of config.json decides.

    keys: of config.json that this family understands beside those that all do. names: transformers' name of each
    module of a layer -> llama2.c's; a fused matrix has that of its first part. fused: whether it has such matrices.
    experts: of a family of mixtures of experts.
    windows: "all" layers have the window that config.json gives, the layers "listed" by their types, or "none".
    attention_bias: whether a key of that name decides; qkv_bias: whether q, k and v always have biases. output_bias:
    the key that decides for o, "none" where it never has one; "" where attention_bias does. all_biases: the key that
    decides for every matrix. interleaved: whether RoPE's pairs are neighbours, in transformers too.
    """

    architecture: str
    config: str
    keys: frozenset[str] = frozenset()
    names: dict[str, str] = field(default_factory=lambda: _LLAMA_NAMES)
    fused: bool = False
    windows: str = "none"
    attention_bias: bool = False
    mlp_bias: bool = False
    qkv_bias: bool = False
    output_bias: str = ""
    all_biases: str = ""
    interleaved: bool = False
    activation: str = "hidden_act"
    norm_place: str = "before"
    norm_plus_one: bool = False
    qk_norm: str = "none"
    two_ropes: bool = False
    experts: Experts | None = None


_WINDOW_KEYS = {"use_sliding_window", "max_window_layers"}
_GEMMA_KEYS = {"attention_bias", "hidden_activation", "query_pre_attn_scalar", "final_logit_softcapping"}

FAMILIES = {
    "llama": Family(
        "LlamaForCausalLM",
        "LlamaConfig",
        frozenset({"attention_bias", "mlp_bias"}),
        attention_bias=True,
        mlp_bias=True,
    ),
    "mistral": Family("MistralForCausalLM", "MistralConfig", windows="all"),
    "qwen2": Family("Qwen2ForCausalLM", "Qwen2Config", frozenset(_WINDOW_KEYS), windows="listed", qkv_bias=True),
    "qwen3": Family(
        "Qwen3ForCausalLM",
        "Qwen3Config",
        frozenset({*_WINDOW_KEYS, "attention_bias"}),
        _LLAMA_NAMES | _QK_NORMS,
        windows="listed",
        attention_bias=True,
        qk_norm="head",
    ),
    "smollm3": Family(
        "SmolLM3ForCausalLM",
        "SmolLM3Config",
        frozenset({"attention_bias", "mlp_bias", "use_sliding_window", "no_rope_layers", "no_rope_layer_interval"}),
        windows="listed",
        attention_bias=True,
        mlp_bias=True,
    ),
    "gemma2": Family(
        "Gemma2ForCausalLM",
        "Gemma2Config",
        frozenset({*_GEMMA_KEYS, "attn_logit_softcapping"}),
        _LLAMA_NAMES | _BOTH,
        windows="listed",
        attention_bias=True,
        activation="hidden_activation",
        norm_place="both",
        norm_plus_one=True,
    ),
    "gemma3_text": Family(
        "Gemma3ForCausalLM",
        "Gemma3TextConfig",
        frozenset({*_GEMMA_KEYS, "rope_local_base_freq", "sliding_window_pattern"}),
        _LLAMA_NAMES | _BOTH | _QK_NORMS,
        windows="listed",
        attention_bias=True,
        activation="hidden_activation",
        norm_place="both",
        norm_plus_one=True,
        qk_norm="head",
        two_ropes=True,
    ),
    "gemma": Family(
        "GemmaForCausalLM", "GemmaConfig", frozenset({"attention_bias"}), attention_bias=True, norm_plus_one=True
    ),
    "granite": Family(
        "GraniteForCausalLM",
        "GraniteConfig",
        frozenset(
            {
                *("attention_bias", "mlp_bias", "embedding_multiplier", "attention_multiplier"),
                *("residual_multiplier", "logits_scaling"),
            }
        ),
        attention_bias=True,
        mlp_bias=True,
    ),
    "olmo2": Family(
        "Olmo2ForCausalLM",
        "Olmo2Config",
        frozenset({"attention_bias"}),
        _AFTER_ALONE | _QK_NORMS,
        attention_bias=True,
        norm_place="after",
        qk_norm="whole",
    ),
    "olmo3": Family(
        "Olmo3ForCausalLM",
        "Olmo3Config",
        frozenset({"attention_bias"}),
        _AFTER_ALONE | _QK_NORMS,
        windows="listed",
        attention_bias=True,
        norm_place="after",
        qk_norm="whole",
        two_ropes=True,
    ),
    "phi3": Family("Phi3ForCausalLM", "Phi3Config", names=_PHI_NAMES, fused=True, windows="all"),
    "exaone4": Family(
        "Exaone4ForCausalLM",
        "Exaone4Config",
        frozenset({"sliding_window_pattern"}),
        _AFTER_ALONE | _QK_NORMS,
        windows="listed",
        norm_place="after",
        qk_norm="head",
    ),
    "seed_oss": Family(
        "SeedOssForCausalLM",
        "SeedOssConfig",
        frozenset({"attention_bias", "attention_out_bias", "mlp_bias"}),
        attention_bias=True,
        mlp_bias=True,
        output_bias="attention_out_bias",
    ),
    "ministral": Family("MinistralForCausalLM", "MinistralConfig", windows="listed"),
    "ministral3": Family("Ministral3ForCausalLM", "Ministral3Config", windows="all"),
    "mixtral": Family(
        "MixtralForCausalLM",
        "MixtralConfig",
        frozenset({"num_experts", "num_local_experts", "num_experts_per_tok"}),
        _OF_EXPERTS | {"block_sparse_moe.gate": "feed_forward.router"} | _ROUTER,
        windows="all",
        experts=Experts(
            "num_local_experts",
            "intermediate_size",
            normalized="",
            names=("w1", "w2", "w3"),
            places=("mlp.experts", "block_sparse_moe.experts"),
        ),
    ),
    "qwen3_moe": Family(
        "Qwen3MoeForCausalLM",
        "Qwen3MoeConfig",
        frozenset(
            {
                *("attention_bias", "use_sliding_window", "num_experts", "num_local_experts", "num_experts_per_tok"),
                *("moe_intermediate_size", "norm_topk_prob", "decoder_sparse_step", "mlp_only_layers"),
            }
        ),
        _LLAMA_NAMES | _ROUTER | _QK_NORMS,
        windows="all",
        attention_bias=True,
        qk_norm="head",
        experts=Experts("num_experts", "moe_intermediate_size", "norm_topk_prob", sparse=True),
    ),
    "olmoe": Family(
        "OlmoeForCausalLM",
        "OlmoeConfig",
        frozenset({"attention_bias", "num_experts", "num_local_experts", "num_experts_per_tok", "norm_topk_prob"}),
        _OF_EXPERTS | _ROUTER | _QK_NORMS,
        attention_bias=True,
        qk_norm="whole",
        experts=Experts("num_experts", "intermediate_size", "norm_topk_prob"),
    ),
    "flex_olmo": Family(
        "FlexOlmoForCausalLM",
        "FlexOlmoConfig",
        frozenset({"attention_bias", "num_experts", "num_local_experts", "num_experts_per_tok", "norm_topk_prob"}),
        {name: own for name, own in _AFTER_ALONE.items() if not name.startswith("mlp.")} | _ROUTER | _QK_NORMS,
        attention_bias=True,
        norm_place="after",
        qk_norm="whole",
        experts=Experts("num_experts", "intermediate_size", "norm_topk_prob"),
    ),
    "cwm": Family("CwmForCausalLM", "CwmConfig", frozenset({"mlp_bias"}), windows="listed", mlp_bias=True),
    "helium": Family(
        "HeliumForCausalLM",
        "HeliumConfig",
        frozenset({"attention_bias", "mlp_bias"}),
        attention_bias=True,
        mlp_bias=True,
        output_bias="none",
        interleaved=True,
    ),
    "ernie4_5": Family(
        "Ernie4_5ForCausalLM", "Ernie4_5Config", frozenset({"use_bias"}), all_biases="use_bias", interleaved=True
    ),
}
