"""Lists the keys of config.json that transformers reads, for each family of models.

The table was recorded from transformers 5.24: a tiny model of each family was built and run, with and without a cache
and with every kind of RoPE scaling, under a config that notes each access. Keys that only saving and text generation
read are left out.
"""

from __future__ import annotations

_BY_ALL = frozenset(
    {
        *("_attn_implementation", "_attn_implementation_internal", "_experts_implementation"),
        *("_experts_implementation_internal", "_heterogeneity_spec", "_name_or_path", "_output_attentions"),
        *("_rope_type_labels", "attention_chunk_size", "attention_dropout", "base_model_ep_plan"),
        *("base_model_fsdp_plan", "base_model_pp_plan", "base_model_tp_plan", "decoder", "default_rope_type"),
        *("default_theta", "dtype", "generator", "gradient_checkpointing", "head_dim", "hidden_act", "hidden_size"),
        *("id2label", "initializer_range", "intermediate_size", "is_causal", "is_encoder_decoder"),
        *("is_heterogeneous", "kv_sharing_modes", "layer_types", "max_position_embeddings", "mtp_layer_types"),
        *("name_or_path", "num_attention_heads", "num_hidden_layers", "num_key_value_heads", "num_labels"),
        *("original_max_position_embeddings", "output_attentions", "output_hidden_states", "pad_token_id"),
        *("partial_rotary_factor", "per_layer_config", "problem_type", "quantization_config", "return_dict"),
        *("rms_norm_eps", "rope_parameters", "rope_theta", "sliding_window", "sub_configs"),
        *("sub_configs_defaults", "text_config", "tie_word_embeddings", "use_cache", "vision_aspect_ratio"),
        *("vision_feature_layer", "vision_feature_select_strategy", "vocab_size"),
    }
)

READ: dict[str, frozenset[str]] = {
    "llama": _BY_ALL | {"attention_bias", "mlp_bias"},
    "mistral": _BY_ALL,
    "qwen2": _BY_ALL | {"use_sliding_window", "max_window_layers"},
}
