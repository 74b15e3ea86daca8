"""Judges the keys of a config.json: what transformers reads of them decides what the model is.

A key that transformers reads and this project understands goes on to transformers' own configuration class. A key
that it reads and this project does not understand must say what it says by default. A key that transformers does not
read changes nothing; those that a reader may expect to matter are listed in a note.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from verify.sources.huggingface_families import FAMILIES
from verify.sources.huggingface_keys import READ
from verify.sources.refusal import refusal

# model_type -> transformers' model class, whose name `architectures` holds
ARCHITECTURES = {name: family.architecture for name, family in FAMILIES.items()}

_UNDERSTOOD = {
    *("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"),
    *("num_key_value_heads", "head_dim", "hidden_act", "max_position_embeddings", "rms_norm_eps"),
    *("tie_word_embeddings", "rope_theta", "rope_scaling", "rope_parameters", "partial_rotary_factor"),
    *("original_max_position_embeddings", "sliding_window", "layer_types", "dtype", "torch_dtype", "pad_token_id"),
}
# What transformers does not read for a family is judged as any other key that it ignores.
_UNDERSTOOD_BY = {name: (_UNDERSTOOD | family.keys) & READ[name] for name, family in FAMILIES.items()}
# Judged by functions of their own below.
_JUDGED_APART = {"architectures", "model_type", "auto_map", "quantization_config"}
# Read, and without effect on the logits of inference.
_NO_EFFECT = {
    # which kernel computes attention, and on which device which part stands
    *("_attn_implementation", "attn_implementation", "_attn_implementation_internal", "_experts_implementation"),
    *("_experts_implementation_internal", "base_model_tp_plan", "base_model_pp_plan"),
    *("base_model_ep_plan", "base_model_fsdp_plan"),
    # training
    *("attention_dropout", "resid_pdrop", "residual_dropout", "initializer_range", "gradient_checkpointing"),
    # a router's noise and loss
    *("router_jitter_noise", "router_aux_loss_coef"),
    # Gemma 3 sets it of sliding_window_pattern, and asks layer_types
    "_sliding_window_pattern",
    # labels of a classifier
    *("id2label", "label2id", "num_labels", "problem_type"),
    # what is returned beside the logits, and whether keys and values are kept
    *("_output_attentions", "output_attentions", "output_hidden_states", "output_router_logits", "use_cache"),
    # a class that has a default for it reads it
    "eos_token_id",
    # where the model came from
    *("_name_or_path", "name_or_path", "_commit_hash"),
}
# What transformers has where config.json does not say it; None for all others.
_DEFAULTS: dict[str, object] = {
    "is_causal": True,
    "is_encoder_decoder": False,
    "return_dict": True,
    "use_bidirectional_attention": False,
}
# Not read, and nobody expects them to change a logit.
_UNREMARKABLE = {
    *("transformers_version", "bos_token_id", "eos_token_id", "unk_token_id", "sep_token_id"),
    *(
        "decoder_start_token_id",
        "tokenizer_class",
        "prefix",
        "finetuning_task",
        "task_specific_params",
        "torchscript",
    ),
    *("keys_to_ignore_at_inference", "internal_version", "_model_name_or_path", "unsloth_version", "unsloth_fixed"),
    *("cache_implementation", "hidden_act", "embd_pdrop", "original_max_position_embeddings"),
    *("_attn_implementation_autoset", "chunk_size_feed_forward", "is_llama_config", "transformers.js_config"),
    *("max_length", "min_length", "do_sample", "temperature", "top_k", "top_p", "typical_p", "num_beams"),
    *("num_return_sequences", "repetition_penalty", "length_penalty", "early_stopping", "no_repeat_ngram_size"),
    *("bad_words_ids", "forced_bos_token_id", "forced_eos_token_id", "remove_invalid_values", "suppress_tokens"),
    *("begin_suppress_tokens", "exponential_decay_length_penalty", "num_beam_groups", "diversity_penalty"),
    *("output_scores", "return_dict_in_generate", "encoder_no_repeat_ngram_size", "use_bfloat16", "tf_legacy_loss"),
}


@dataclass(frozen=True)
class Settings:
    """Holds what config.json says, judged. understood: the keys that decide what the model is."""

    family: str
    said: dict[str, Any]
    understood: dict[str, Any]
    notes: list[str] = field(default_factory=list)


def judged_settings(where: Path, said: dict[str, Any]) -> Settings:
    """Judge every key. Raises CannotJudgeError for another family, quantized weights, and a key that transformers
    reads and this project does not support."""
    family, notes = _family(where, said)
    expect_unquantized(where, said.get("quantization_config"))
    ignored = []
    for key, value in said.items():
        if key in _UNDERSTOOD_BY[family] | _JUDGED_APART | _NO_EFFECT:
            continue
        if key in READ[family]:
            _expect_default(where, family, key, value)
        # a value that switches nothing on surprises nobody
        elif value and key not in _UNREMARKABLE and not (key == "pretraining_tp" and value == 1):
            ignored.append(key)
    # that it stands there is enough, even as null
    if FAMILIES[family].windows == "all" and "layer_types" in said:
        why = {
            "mistral": "none (transformers takes a Mistral with layer_types for a Ministral: name that as model_type)"
        }
        expected = why.get(family, f"none (all layers of {family} have the same window)")
        raise refusal(where, "layer_types", expected, said["layer_types"])
    if ignored:
        notes.append(f"config.json: ignored, as transformers ignores it: {', '.join(sorted(ignored))}")
    if said.get("auto_map"):
        notes.append("config.json: auto_map names remote code, which is not used")
    understood = {key: value for key, value in said.items() if key in _UNDERSTOOD_BY[family] - {"pad_token_id"}}
    return Settings(family, said, understood, notes)


def _family(where: Path, said: dict[str, Any]) -> tuple[str, list[str]]:
    """Which model_type it is, with a note where `architectures` says something else."""
    named, listed = said.get("model_type"), said.get("architectures")
    shown = ", ".join(map(str, listed)) if isinstance(listed, list) else listed
    if named is None:
        by_name = {name.casefold(): family for family, name in ARCHITECTURES.items()}
        only = listed[0] if isinstance(listed, list) and len(listed) == 1 else None
        family = by_name.get(only.casefold()) if isinstance(only, str) else None
        if family is None:
            found = f"no model_type and the architectures {shown or 'none'}"
            raise refusal(where, "model_type", f"one of {', '.join(ARCHITECTURES)}", found)
        return family, [f"config.json: no model_type; it was taken from the architecture {only}"]
    if not isinstance(named, str) or named not in ARCHITECTURES:
        found = f"{named} ({shown})" if shown else str(named)
        raise refusal(where, "model_type", f"one of {', '.join(ARCHITECTURES)}", found)
    if listed == [ARCHITECTURES[named]]:
        return named, []
    cut = " ".join(str(shown or "none").split())[:100]
    return named, [f"config.json: architectures says {cut}; model_type {named} decides, as in transformers"]


def expect_unquantized(where: Path, said: object) -> None:
    """Raise CannotJudgeError where a quantization_config says something."""
    if said is None:
        return
    method: object = None
    bits: object = None
    if isinstance(said, dict):
        method, bits = said.get("quant_method"), said.get("bits")
        for count in (4, 8):
            if said.get(f"load_in_{count}bit") is True:
                method, bits = method or "bitsandbytes", count
    shown = method if isinstance(method, str) and method else "an unnamed method"
    shown += f" of {bits} bits" if isinstance(bits, int) else ""
    raise refusal(where, "quantization_config", "unquantized weights", shown, "give the unquantized model")


def _expect_default(where: Path, family: str, key: str, value: object) -> None:
    default = _DEFAULTS.get(key)
    # null is silence, except here: null makes attention look ahead
    if value is None and key != "is_causal":
        return
    if value != default or type(value) is not type(default):
        why = f"(transformers reads it for {family}, and this project does not support other values)"
        raise refusal(where, key, f"{'none' if default is None else default} {why}", value)
