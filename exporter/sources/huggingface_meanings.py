"""What a key of config.json means: understood, without effect, refused, or not read by transformers at all."""

from __future__ import annotations

from exporter.errors import CheckpointError
from exporter.families import FAMILIES
from exporter.sources.huggingface_fields import DEFAULTS
from exporter.sources.huggingface_keys import READ
from exporter.strict_json import Json, shown

_UNDERSTOOD = """
    model_type architectures auto_map quantization_config vocab_size hidden_size intermediate_size num_hidden_layers
    num_attention_heads num_key_value_heads hidden_act max_position_embeddings rms_norm_eps tie_word_embeddings
    head_dim rope_parameters rope_scaling rope_theta partial_rotary_factor original_max_position_embeddings
    layer_types sliding_window pad_token_id dtype torch_dtype output_attentions
"""
# Read, and without effect on the logits of inference: which of several arithmetics computes the same attention, and
# what is returned beside the logits; training and initialisation; generation; names, versions, and how a model is
# spread over devices.
_WITHOUT_EFFECT = """
    attn_implementation _attn_implementation _attn_implementation_internal
    _experts_implementation _experts_implementation_internal use_cache output_hidden_states _output_attentions
    attention_dropout initializer_range gradient_checkpointing num_labels id2label problem_type
    name_or_path _name_or_path _commit_hash base_model_tp_plan base_model_pp_plan base_model_ep_plan
    base_model_fsdp_plan
"""
# Not read, and so common or so plainly beside the point that a note of them would hide others.
_UNREMARKABLE = """
    architectures transformers_version transformers.js_config label2id bos_token_id eos_token_id sep_token_id
    unk_token_id decoder_start_token_id tokenizer_class prefix
    unsloth_fixed unsloth_version _attn_implementation_autoset is_llama_config torchscript is_decoder
    add_cross_attention chunk_size_feed_forward use_bfloat16 tf_legacy_loss tie_encoder_decoder pretraining_tp
    task_specific_params finetuning_task keys_to_ignore_at_inference internal_version
    max_length min_length max_new_tokens do_sample early_stopping num_beams num_beam_groups diversity_penalty
    temperature top_k top_p typical_p repetition_penalty length_penalty no_repeat_ngram_size bad_words_ids
    num_return_sequences forced_bos_token_id forced_eos_token_id remove_invalid_values begin_suppress_tokens
    suppress_tokens exponential_decay_length_penalty encoder_no_repeat_ngram_size return_dict_in_generate
    output_scores cache_implementation
"""
_ACCEPTED = {
    name: frozenset(f"{_UNDERSTOOD} {_WITHOUT_EFFECT} {family.understood} {family.without_effect}".split())
    for name, family in FAMILIES.items()
}
_UNNOTED = frozenset(_UNREMARKABLE.split())
# transformers takes null for its default everywhere else: here it makes attention look ahead.
_NULL_MATTERS = ("is_causal",)
_MOST_NOTED = 20


def check_keys(raw: Json, family: str) -> list[str]:
    """Refuse what transformers reads and nothing here understands; note what it does not read."""
    ignored = []
    for key, value in raw.items():
        if key in READ[family]:
            if key not in _ACCEPTED[family]:
                _check_default(key, value, family)
        elif value and key not in _UNNOTED:  # what is off, empty or null could only have meant nothing
            ignored.append(shown_key(key))
    if not ignored:
        return []
    more = f" and {len(ignored) - _MOST_NOTED} more" if len(ignored) > _MOST_NOTED else ""
    return [f"ignored, as transformers ignores it: {', '.join(ignored[:_MOST_NOTED])}{more}"]


def shown_key(key: str) -> str:
    """A key of a file, for a message."""
    return key if key.isidentifier() and len(key) <= 80 else shown(key)


def _check_default(key: str, value: object, family: str) -> None:
    if value is None and key not in _NULL_MATTERS:
        return
    default = DEFAULTS[family].get(key)
    if value != default or isinstance(value, bool) != isinstance(default, bool):
        expected = {None: "null", True: "true", False: "false"}[default]
        raise CheckpointError(
            f"{key}: expected {expected} (transformers reads it for {family}, and this project does not support "
            f"other values), found {shown(value)}"
        )
