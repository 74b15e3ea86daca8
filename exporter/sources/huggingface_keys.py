"""Which keys of config.json transformers 5.24.0 reads, for each family: data, and nothing else.

Recorded by tests/campaigns/config_keys.py while transformers loads a tiny model and runs it. Names of methods and
properties are among them: a key of that name would take their place.
"""

from __future__ import annotations

_ALL = """
    _attn_implementation _attn_implementation_internal _check_received_keys _commit_hash _encode_special_floats
    _experts_implementation _experts_implementation_internal _getattr_without_heterogeneous_validation
    _heterogeneity_spec _iter_config_keys_with_heterogeneous_adjustment _name_or_path _output_attentions
    _remove_keys_not_serialized _rope_type_labels _update_heterogeneous_to_dict_output
    _validate_default_rope_parameters allow_global_per_layer_attribute_access attn_implementation attribute_map
    auto_map base_model_ep_plan base_model_fsdp_plan base_model_pp_plan base_model_tp_plan configuration_files
    convert_rope_params_to_dict decoder default_config_fields default_rope_type dict_dtype_to_str dtype
    experts_implementation fusion_config generator get_text_config gradient_checkpointing head_dim hidden_size
    id2label ignore_keys_at_rope_validation initializer_range intermediate_size is_causal is_encoder_decoder
    is_heterogeneous kv_sharing_modes layer_types max_position_embeddings model_type mtp_layer_types name_or_path
    nested_rope_parameter_keys num_attention_heads num_hidden_layers num_key_value_heads num_labels output_attentions
    output_hidden_states pad_token_id partial_rotary_factor per_layer_attributes per_layer_config problem_type
    quantization_config return_dict rms_norm_eps rope_parameters rope_scaling rope_theta
    serialize_explicit_per_layer_config sliding_window standardize_rope_params sub_configs sub_configs_defaults
    text_config tie_word_embeddings to_dict to_diff_dict to_json_string torch_dtype transformers_weights use_cache
    use_return_dict vision_aspect_ratio vision_feature_layer vision_feature_select_strategy vocab_size
"""
_OF_FAMILY = {
    "llama": """
        _validate_dynamic_rope_parameters _validate_linear_rope_parameters _validate_llama3_rope_parameters
        _validate_yarn_rope_parameters attention_bias attention_chunk_size attention_dropout default_theta hidden_act
        mlp_bias original_max_position_embeddings
    """,
    "mistral": """
        _validate_dynamic_rope_parameters _validate_linear_rope_parameters _validate_llama3_rope_parameters
        _validate_yarn_rope_parameters attention_chunk_size attention_dropout default_theta hidden_act num_heads
        original_max_position_embeddings
    """,
    "qwen2": """
        _validate_dynamic_rope_parameters _validate_linear_rope_parameters _validate_llama3_rope_parameters
        _validate_yarn_rope_parameters attention_dropout default_theta hidden_act max_window_layers mlp_layer_types
        num_heads original_max_position_embeddings use_sliding_window
    """,
    "qwen3": """
        _validate_dynamic_rope_parameters _validate_linear_rope_parameters _validate_llama3_rope_parameters
        _validate_yarn_rope_parameters attention_bias attention_dropout default_theta hidden_act max_window_layers
        mlp_layer_types num_heads original_max_position_embeddings use_sliding_window
    """,
    "smollm3": """
        _validate_dynamic_rope_parameters _validate_linear_rope_parameters _validate_llama3_rope_parameters
        _validate_yarn_rope_parameters attention_bias attention_dropout default_theta hidden_act mlp_bias
        mlp_layer_types no_rope_layer_interval no_rope_layers num_heads original_max_position_embeddings
        use_sliding_window
    """,
    "gemma2": """
        _validate_dynamic_rope_parameters _validate_linear_rope_parameters _validate_llama3_rope_parameters
        _validate_yarn_rope_parameters attention_bias attention_dropout attn_logit_softcapping default_theta
        final_logit_softcapping hidden_activation mlp_layer_types original_max_position_embeddings
        query_pre_attn_scalar use_bidirectional_attention
    """,
    "gemma3_text": """
        _sliding_window_pattern _validate_dynamic_rope_parameters _validate_linear_rope_parameters
        _validate_llama3_rope_parameters _validate_yarn_rope_parameters attention_bias attention_dropout
        attn_logit_softcapping default_theta final_logit_softcapping hidden_activation mlp_layer_types
        query_pre_attn_scalar rope_local_base_freq sliding_window_pattern use_bidirectional_attention
    """,
    "granite": """
        _validate_dynamic_rope_parameters _validate_linear_rope_parameters _validate_llama3_rope_parameters
        _validate_yarn_rope_parameters attention_bias attention_chunk_size attention_dropout attention_multiplier
        default_theta embedding_multiplier hidden_act logits_scaling mlp_bias num_heads
        original_max_position_embeddings residual_multiplier
    """,
    "olmo2": """
        _validate_dynamic_rope_parameters _validate_linear_rope_parameters _validate_llama3_rope_parameters
        _validate_yarn_rope_parameters attention_bias attention_chunk_size attention_dropout default_theta hidden_act
        num_heads original_max_position_embeddings
    """,
    "olmo3": """
        _validate_dynamic_rope_parameters _validate_linear_rope_parameters _validate_llama3_rope_parameters
        _validate_yarn_rope_parameters attention_bias attention_dropout default_theta hidden_act mlp_layer_types
        num_heads
    """,
    "phi3": """
        _validate_longrope_rope_parameters attention_chunk_size attention_dropout hidden_act num_heads
        original_max_position_embeddings resid_pdrop
    """,
    "ministral3": """
        _validate_dynamic_rope_parameters _validate_linear_rope_parameters _validate_llama3_rope_parameters
        _validate_yarn_rope_parameters attention_chunk_size attention_dropout default_theta hidden_act num_heads
        original_max_position_embeddings
    """,
    "mixtral": """
        _validate_dynamic_rope_parameters _validate_linear_rope_parameters _validate_llama3_rope_parameters
        _validate_yarn_rope_parameters attention_chunk_size attention_dropout default_theta hidden_act num_experts
        num_experts_per_tok num_heads num_local_experts original_max_position_embeddings output_router_logits
        router_aux_loss_coef router_jitter_noise
    """,
    "qwen3_moe": """
        _validate_dynamic_rope_parameters _validate_linear_rope_parameters _validate_llama3_rope_parameters
        _validate_yarn_rope_parameters attention_bias attention_chunk_size attention_dropout decoder_sparse_step
        default_theta hidden_act mlp_only_layers moe_intermediate_size norm_topk_prob num_experts num_experts_per_tok
        num_heads num_local_experts original_max_position_embeddings output_router_logits router_aux_loss_coef
        use_sliding_window
    """,
    "olmoe": """
        _validate_dynamic_rope_parameters _validate_linear_rope_parameters _validate_llama3_rope_parameters
        _validate_yarn_rope_parameters attention_bias attention_chunk_size attention_dropout clip_qkv default_theta
        hidden_act norm_topk_prob num_experts num_experts_per_tok num_heads num_local_experts
        original_max_position_embeddings output_router_logits router_aux_loss_coef
    """,
    "gemma": """
        _validate_dynamic_rope_parameters _validate_linear_rope_parameters _validate_llama3_rope_parameters
        _validate_yarn_rope_parameters attention_bias attention_chunk_size attention_dropout default_theta hidden_act
        num_heads original_max_position_embeddings use_bidirectional_attention
    """,
    "ministral": """
        _validate_dynamic_rope_parameters _validate_linear_rope_parameters _validate_llama3_rope_parameters
        _validate_yarn_rope_parameters attention_dropout default_theta hidden_act mlp_layer_types num_heads
        original_max_position_embeddings
    """,
    "exaone4": """
        _validate_dynamic_rope_parameters _validate_linear_rope_parameters _validate_llama3_rope_parameters
        _validate_yarn_rope_parameters attention_dropout default_theta hidden_act mlp_layer_types num_heads
        original_max_position_embeddings sliding_window_pattern
    """,
    "seed_oss": """
        _validate_dynamic_rope_parameters _validate_linear_rope_parameters _validate_llama3_rope_parameters
        _validate_yarn_rope_parameters attention_bias attention_chunk_size attention_dropout attention_out_bias
        default_theta hidden_act mlp_bias num_heads original_max_position_embeddings residual_dropout
    """,
    "flex_olmo": """
        _validate_dynamic_rope_parameters _validate_linear_rope_parameters _validate_llama3_rope_parameters
        _validate_yarn_rope_parameters attention_bias attention_chunk_size attention_dropout default_theta hidden_act
        norm_topk_prob num_experts num_experts_per_tok num_heads num_local_experts original_max_position_embeddings
        output_router_logits router_aux_loss_coef
    """,
    "cwm": """
        _validate_dynamic_rope_parameters _validate_linear_rope_parameters _validate_llama3_rope_parameters
        _validate_yarn_rope_parameters attention_dropout default_theta eos_token_id hidden_act mlp_bias
        mlp_layer_types original_max_position_embeddings
    """,
    "helium": """
        _validate_dynamic_rope_parameters _validate_linear_rope_parameters _validate_llama3_rope_parameters
        _validate_yarn_rope_parameters attention_bias attention_chunk_size attention_dropout default_theta hidden_act
        mlp_bias num_heads original_max_position_embeddings
    """,
    "ernie4_5": """
        _validate_dynamic_rope_parameters _validate_linear_rope_parameters _validate_llama3_rope_parameters
        _validate_yarn_rope_parameters attention_chunk_size default_theta hidden_act num_heads
        original_max_position_embeddings use_bias
    """,
}

READ = {family: frozenset(f"{_ALL} {own}".split()) for family, own in _OF_FAMILY.items()}
