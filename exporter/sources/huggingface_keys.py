"""Which keys of config.json the installed transformers reads, for each family: data, and nothing else.

Recorded while transformers 5.24 loads a tiny model with AutoModelForCausalLM and runs it, with and without a cache.
Left out are the names of methods and of class attributes that a config.json cannot set.
"""

from __future__ import annotations

_ALL = """
    _attn_implementation _attn_implementation_internal _experts_implementation _experts_implementation_internal
    _heterogeneity_spec _name_or_path _output_attentions _post_init_done _rope_type_labels architectures
    attention_chunk_size attention_dropout attn_implementation attribute_map auto_map base_model_ep_plan
    base_model_fsdp_plan base_model_pp_plan base_model_tp_plan bos_token_id configuration_files decoder
    default_rope_type default_theta dtype eos_token_id experts_implementation fusion_config generator
    gradient_checkpointing head_dim hidden_act hidden_size id2label ignore_keys_at_rope_validation initializer_range
    intermediate_size is_causal is_encoder_decoder is_heterogeneous kv_sharing_modes label2id layer_types
    max_position_embeddings model_type name_or_path num_attention_heads num_hidden_layers num_key_value_heads
    num_labels original_max_position_embeddings output_attentions output_hidden_states pad_token_id
    partial_rotary_factor per_layer_config problem_type quantization_config return_dict rms_norm_eps rope_parameters
    rope_scaling rope_theta sliding_window sub_configs sub_configs_defaults text_config tie_word_embeddings
    torch_dtype transformers_version transformers_weights use_cache use_return_dict vision_aspect_ratio
    vision_feature_layer vision_feature_select_strategy vocab_size
"""
_OF_FAMILY = {
    "llama": "attention_bias mlp_bias",
    "mistral": "",
    "qwen2": "max_window_layers mlp_layer_types use_sliding_window",
}

READ: dict[str, frozenset[str]] = {family: frozenset(f"{_ALL} {own}".split()) for family, own in _OF_FAMILY.items()}
