"""A Hugging Face directory, read by the verifier's own road.

Where the exporter reads config.json by itself, this asks transformers' own configuration class what it says, defaults
and all, and holds the answer against the tensors; what that class would silently pass over is refused by name.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch

from verify.errors import CannotJudgeError
from verify.sources.shards import Shards
from verify.sources.source import Hyperparameters, RopeScaling, Source
from verify.system.optional_imports import one_line, quiet_transformers

# Each architecture's model_type, and the keys of config.json that change what its model computes.
_COMMON = {
    *("architectures", "model_type", "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers"),
    *("num_attention_heads", "num_key_value_heads", "head_dim", "hidden_act", "max_position_embeddings"),
    *("rms_norm_eps", "tie_word_embeddings", "rope_theta", "rope_scaling", "rope_parameters"),
}
_ARCHITECTURES = {
    "LlamaForCausalLM": ("llama", _COMMON | {"attention_bias", "mlp_bias"}),
    "MistralForCausalLM": ("mistral", _COMMON | {"sliding_window"}),
    "Qwen2ForCausalLM": ("qwen2", _COMMON | {"use_sliding_window", "sliding_window", "max_window_layers"}),
}
# What only training, generation or the caller's convenience knows of: no logit in float32 depends on it.
_HARMLESS = {
    *("_name_or_path", "_commit_hash", "transformers_version", "dtype", "torch_dtype", "use_cache", "return_dict"),
    *("initializer_range", "attention_dropout", "pretraining_tp", "bos_token_id", "eos_token_id", "pad_token_id"),
    *("unk_token_id", "sep_token_id", "decoder_start_token_id", "output_attentions", "output_hidden_states"),
    *("id2label", "label2id", "num_labels", "problem_type", "finetuning_task", "task_specific_params", "torchscript"),
    *("tokenizer_class", "prefix", "gradient_checkpointing", "keys_to_ignore_at_inference", "unsloth_version"),
    *("unsloth_fixed", "_attn_implementation_autoset", "chunk_size_feed_forward", "max_length", "min_length"),
    *("do_sample", "temperature", "top_k", "top_p", "typical_p", "num_beams", "num_return_sequences"),
    *("repetition_penalty", "length_penalty", "early_stopping", "no_repeat_ngram_size", "bad_words_ids"),
    *("forced_bos_token_id", "forced_eos_token_id", "remove_invalid_values", "suppress_tokens"),
    *("begin_suppress_tokens", "exponential_decay_length_penalty", "num_beam_groups", "diversity_penalty"),
    *("output_scores", "return_dict_in_generate", "encoder_no_repeat_ngram_size"),
    *("is_llama_config", "max_sequence_length", "transformers.js_config"),
}
# Keys that may be spelled out where they say what holds anyway.
_NEUTRAL: dict[str, tuple[object, ...]] = {
    "partial_rotary_factor": (1, 1.0),
    "is_decoder": (False, True),
    "is_encoder_decoder": (False,),
    "add_cross_attention": (False,),
    "tie_encoder_decoder": (False,),
    "cross_attention_hidden_size": (),
    "pruned_heads": ({},),
    "rope_interleaved": (False,),
    "use_mrope": (False,),
    "use_bfloat16": (False,),
    "tf_legacy_loss": (False,),
    "attention_bias": (False,),
    "mlp_bias": (False,),
    "use_sliding_window": (False,),
}
_ACTIVATIONS = {
    "silu": "silu",
    "swish": "silu",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
}
_ROPE_KEYS: dict[str, set[str]] = {
    "default": set(),
    "linear": {"factor"},
    "dynamic": {"factor", "original_max_position_embeddings"},
    "llama3": {"factor", "original_max_position_embeddings", "low_freq_factor", "high_freq_factor"},
    "yarn": {
        *("factor", "original_max_position_embeddings", "beta_fast", "beta_slow", "attention_factor"),
        *("mscale", "mscale_all_dim", "truncate"),
    },
}
# Of classes, which a model for text does not have, and which config.json may number all the same.
_MOST_LABELS = 10_000
_DTYPE_NAMES = {torch.float16: "fp16", torch.bfloat16: "bf16"}

_LAYER = re.compile(r"model\.layers\.(0|[1-9]\d{0,8})\.(.+)\.(weight|bias)")
_OUTER = {
    "model.embed_tokens.weight": "tok_embeddings.weight",
    "model.norm.weight": "norm.weight",
    "lm_head.weight": "output.weight",
}
_INNER = {
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
# A buffer that old checkpoints hold, and that no model reads.
_COMPUTED = re.compile(r"model\.(layers\.\d+\.self_attn\.)?rotary_emb\.inv_freq")


class HuggingFaceSource(Source):
    """A directory with config.json and the weights of a Llama, Mistral or Qwen2. Tensors are read when asked for,
    one at a time. Raises CannotJudgeError for every other model, and where the files contradict each other."""

    kind = "huggingface"

    def __init__(self, path: Path) -> None:
        self.path = path
        if (path / "adapter_config.json").exists():
            raise _refuse(
                path, "the directory", "a whole model", "adapter_config.json, of weights to be added to one"
            )
        self._shards = Shards(path)
        settings = self._shards.read_json("config.json")
        self.files = dict(sorted(self._shards.files.items()))
        _check_keys(path / "config.json", settings)
        _check_sizes(path / "config.json", settings, len(self._shards.headers))
        config = _resolve(path)
        names = _canonical_names(path, self._shards)
        if config.tie_word_embeddings and {"tok_embeddings.weight", "output.weight"} <= names.keys():
            self._check_tie(names["tok_embeddings.weight"], names.pop("output.weight"))
        self._names = names
        shapes = {name: self._shards.headers[own].shape for name, own in names.items()}
        self.hyperparameters = _derive(path, config, shapes)
        # transformers has read config.json for itself
        self.expect_unchanged()

    def expect_unchanged(self) -> None:
        self._shards.expect_unchanged()

    @property
    def tokenizer_path(self) -> Path:
        fast = self.path / "tokenizer.json"
        return fast if fast.is_file() else self.path / "tokenizer.model"

    def tensor(self, name: str) -> torch.Tensor:
        stored = self._shards.read(self._own(name))
        tensor = stored.to(torch.float32)
        if stored.dtype == torch.float64 and not _same_values(tensor.double(), stored):
            raise _refuse(self.path, self._own(name), "values that float32 can hold", "others")
        if ".attention.wq." in name:
            return _interleaved(tensor, self.hyperparameters.n_heads)
        if ".attention.wk." in name:
            return _interleaved(tensor, self.hyperparameters.n_kv_heads)
        return tensor

    def dtype(self, name: str) -> str:
        return _DTYPE_NAMES.get(self._shards.headers[self._own(name)].dtype, "fp32")

    def stored(self, own: str) -> torch.Tensor:
        """A tensor by Hugging Face's name for it, as it is stored."""
        return self._shards.read(own)

    @property
    def stored_shapes(self) -> dict[str, tuple[int, ...]]:
        """Of every tensor in the files, by Hugging Face's names."""
        return {own: header.shape for own, header in self._shards.headers.items()}

    def _own(self, name: str) -> str:
        """The tensor's name in Hugging Face's vocabulary."""
        return self._names["tok_embeddings.weight" if name == "output.weight" and self.hyperparameters.tied else name]

    def _check_tie(self, embedding: str, classifier: str) -> None:
        """A tied model may hold its classifier a second time, but no other one."""
        a, b = self._shards.read(embedding), self._shards.read(classifier)
        if a.dtype != b.dtype or a.shape != b.shape or not torch.equal(a.view(torch.uint8), b.view(torch.uint8)):
            raise _refuse(
                self.path, f"tie_word_embeddings is true: {classifier}", f"the bits of {embedding}", "others"
            )


def _interleaved(rows: torch.Tensor, heads: int) -> torch.Tensor:
    """Rows (or elements) that make q or k, from Hugging Face's order to llama2.c's.

    Both turn complex numbers. Hugging Face keeps a head's real parts together, then its imaginary ones; llama2.c
    keeps each number together, real part first.
    """
    real, imaginary = rows.view(heads, 2, -1, *rows.shape[1:]).unbind(1)
    numbers = torch.view_as_real(torch.complex(real.contiguous(), imaginary.contiguous()))
    return numbers.movedim(-1, 2).reshape(rows.shape).contiguous()


def _check_keys(path: Path, settings: dict[str, Any]) -> None:
    """Nothing in config.json that may change the model unseen: transformers passes over what it does not know."""
    architectures = settings.get("architectures")
    if architectures not in [[name] for name in _ARCHITECTURES]:
        raise _refuse(path, "architectures", f"one of {', '.join(_ARCHITECTURES)}", architectures)
    expected, deciding = _ARCHITECTURES[settings["architectures"][0]]
    if settings.get("model_type") != expected:
        raise _refuse(path, "model_type", f"{expected}, as of its architecture", settings.get("model_type"))
    for key, value in settings.items():
        if value is None or key in deciding or key in _HARMLESS:
            continue
        if key == "layer_types" and isinstance(value, list) and all(kind == "full_attention" for kind in value):
            continue
        if key not in _NEUTRAL:
            raise _refuse(path, "config", "keys whose effect on the model is known", key)
        if value not in _NEUTRAL[key]:
            raise _refuse(path, key, " or ".join(map(str, _NEUTRAL[key])) or "none", value)
    old, new = settings.get("rope_scaling"), settings.get("rope_parameters")
    if old is not None and new is not None and old != new:
        raise _refuse(path, "config", "one of rope_scaling and rope_parameters", "both, and different")
    rope = old if old is not None else new
    if rope is None:
        return
    if not isinstance(rope, dict):
        raise _refuse(path, "rope_scaling", "an object", type(rope).__name__)
    for one, other in (
        (rope.get("type"), rope.get("rope_type")),
        (rope.get("rope_theta"), settings.get("rope_theta")),
    ):
        if one is not None and other is not None and one != other:
            raise _refuse(path, "rope_scaling", "one type and one theta", f"{one} and {other}")


def _check_sizes(path: Path, settings: dict[str, Any], tensors: int) -> None:
    """What transformers makes lists of, before it is asked."""
    most = {
        "num_hidden_layers": (tensors, "the tensors that there are"),
        "num_labels": (_MOST_LABELS, "more than any classifier has"),
    }
    for key, (count, why) in most.items():
        said = settings.get(key)
        if isinstance(said, int) and said > count:
            raise _refuse(path, key, f"at most {count}, {why}", said)


def _resolve(path: Path) -> Any:
    """config.json as transformers understands it, with its defaults."""
    with quiet_transformers() as transformers:
        try:
            return transformers.AutoConfig.from_pretrained(str(path), local_files_only=True, trust_remote_code=False)
        except Exception as error:  # its checks have no common class
            raise CannotJudgeError(
                f"{path / 'config.json'}: expected a config that transformers accepts, found: {one_line(error)}"
            ) from error


def _canonical_names(path: Path, shards: Shards) -> dict[str, str]:
    """llama2.c's name -> Hugging Face's, of tensors that a Llama has."""
    names = {}
    for own in shards.headers:
        match = _LAYER.fullmatch(own)
        if own in _OUTER:
            names[_OUTER[own]] = own
        elif match and match[2] in _INNER:
            names[f"layers.{match[1]}.{_INNER[match[2]]}.{match[3]}"] = own
        elif not _COMPUTED.fullmatch(own):
            raise _refuse(path, "tensors", "those of a Llama alone", own)
    return names


def _derive(path: Path, config: Any, shapes: dict[str, tuple[int, ...]]) -> Hyperparameters:
    """Hyper-parameters from shapes, held against config.json; what no shape tells from config.json alone."""
    where = path / "config.json"
    layers = {int(name.split(".")[1]) for name in shapes if name.startswith("layers.")}

    def shape(name: str) -> tuple[int, int]:
        found = shapes.get(name, ())
        if len(found) != 2 or 0 in found:
            raise _refuse(path, name, "a matrix", found or "no such tensor")
        return found[0], found[1]

    (vocab_size, dim), (hidden_dim, _) = shape("tok_embeddings.weight"), shape("layers.0.feed_forward.w1.weight")
    (q_rows, _), (kv_rows, _) = shape("layers.0.attention.wq.weight"), shape("layers.0.attention.wk.weight")
    n_heads = _count(where, "num_attention_heads", config.num_attention_heads)
    head_dim, remainder = divmod(q_rows, n_heads)
    if remainder or head_dim % 2 or head_dim < 2:
        raise _refuse(path, "layers.0.attention.wq.weight", f"rows of {n_heads} heads of even size", q_rows)
    n_kv_heads, remainder = divmod(kv_rows, head_dim)
    if remainder or n_kv_heads < 1 or n_heads % n_kv_heads:
        raise _refuse(path, "layers.0.attention.wk.weight", f"rows of whole heads of {head_dim}", kv_rows)
    of_tensors = {
        "vocab_size": vocab_size,
        "hidden_size": dim,
        "intermediate_size": hidden_dim,
        "num_hidden_layers": len(layers),
        "num_key_value_heads": n_kv_heads,
        "head_dim": head_dim,
    }
    for key, expected in of_tensors.items():
        # a class without head_dim divides
        said = getattr(config, key, None) or (config.hidden_size // n_heads if key == "head_dim" else None)
        if isinstance(said, bool) or said != expected:
            raise _refuse(where, key, f"{expected}, as the tensors say", said)
    if config.hidden_act not in _ACTIVATIONS:
        raise _refuse(where, "hidden_act", f"one of {', '.join(_ACTIVATIONS)}", config.hidden_act)
    max_seq_len = _count(where, "max_position_embeddings", config.max_position_embeddings)
    _check_attends_to_all(where, config, max_seq_len)
    theta, scaling = _rope(where, config, max_seq_len)
    biased = bool(getattr(config, "attention_bias", False)) and config.model_type == "llama"
    hyperparameters = Hyperparameters(
        dim=dim,
        hidden_dim=hidden_dim,
        n_layers=len(layers),
        n_heads=n_heads,
        n_kv_heads=n_kv_heads,
        head_dim=head_dim,
        vocab_size=vocab_size,
        max_seq_len=max_seq_len,
        tied=bool(config.tie_word_embeddings),
        norm_eps=_positive(where, "rms_norm_eps", config.rms_norm_eps),
        rope_theta=theta,
        rope_scaling=scaling,
        qkv_bias=biased or config.model_type == "qwen2",
        wo_bias=biased,
        mlp_bias=bool(getattr(config, "mlp_bias", False)) and config.model_type == "llama",
        activation=_ACTIVATIONS[config.hidden_act],
    )
    expected_shapes = hyperparameters.shapes()
    for name in sorted(expected_shapes.keys() | shapes.keys()):
        if expected_shapes.get(name) != shapes.get(name):
            raise _refuse(path, name, expected_shapes.get(name, "no such tensor"), shapes.get(name, "no such tensor"))
    return hyperparameters


def _check_attends_to_all(where: Path, config: Any, max_seq_len: int) -> None:
    """Every position sees all earlier ones: no window that is shorter than the model."""
    if config.model_type == "mistral" and config.sliding_window is not None and config.sliding_window < max_seq_len:
        longest = f"none, or at least max_position_embeddings = {max_seq_len}"
        raise _refuse(where, "sliding_window", longest, config.sliding_window)
    if config.model_type == "qwen2" and config.use_sliding_window:
        raise _refuse(where, "use_sliding_window", "false", config.use_sliding_window)


def _rope(where: Path, config: Any, max_seq_len: int) -> tuple[float, RopeScaling]:
    """theta and scaling."""
    rope = {key: value for key, value in config.rope_parameters.items() if value is not None}
    kind, theta = rope.get("rope_type"), _positive(where, "rope_theta", rope.get("rope_theta"))
    if not isinstance(kind, str) or kind not in _ROPE_KEYS:
        raise _refuse(where, "rope_type", f"one of {', '.join(_ROPE_KEYS)}", kind)
    unknown = sorted(rope.keys() - _ROPE_KEYS[kind] - {"type", "rope_type", "rope_theta"})
    if unknown and not (unknown == ["partial_rotary_factor"] and rope["partial_rotary_factor"] == 1):
        raise _refuse(where, f"rope_scaling of type {kind}", "keys whose effect on the model is known", unknown[0])
    if kind == "default":
        return theta, RopeScaling()

    def number(key: str) -> float:
        return _positive(where, f"rope_scaling: {key}", rope.get(key))

    factor = number("factor")
    if kind == "linear":
        return theta, RopeScaling("linear", factor)
    original = _count(
        where, "original_max_position_embeddings", rope.get("original_max_position_embeddings", max_seq_len)
    )
    if kind == "dynamic":
        if original != max_seq_len:
            same = f"max_position_embeddings = {max_seq_len}, from which on transformers scales"
            raise _refuse(where, "original_max_position_embeddings", same, original)
        return theta, RopeScaling("dynamic", factor, original)
    if kind == "llama3":
        low, high = number("low_freq_factor"), number("high_freq_factor")
        if low >= high:
            raise _refuse(where, "rope_scaling: high_freq_factor", f"more than low_freq_factor = {low:g}", high)
        return theta, RopeScaling("llama3", factor, original, low_freq_factor=low, high_freq_factor=high)
    truncate = rope.get("truncate", True)
    if not isinstance(truncate, bool):
        raise _refuse(where, "rope_scaling: truncate", "true or false", truncate)
    return theta, RopeScaling(
        "yarn",
        factor,
        original,
        beta_fast=_positive(where, "rope_scaling: beta_fast", rope.get("beta_fast") or 32),
        beta_slow=_positive(where, "rope_scaling: beta_slow", rope.get("beta_slow") or 1),
        attention_factor=_yarn_attention_factor(where, config),
        truncate=truncate,
    )


def _yarn_attention_factor(where: Path, config: Any) -> float:
    """Given, or made of factor and the mscales as transformers itself makes it."""
    with quiet_transformers() as transformers:
        try:
            _, factor = transformers.modeling_rope_utils.ROPE_INIT_FUNCTIONS["yarn"](config)
        except Exception as error:  # arithmetic on whatever config.json says
            raise _refuse(where, "rope_scaling", "YaRN that transformers can compute", one_line(error)) from error
    return _positive(where, "rope_scaling: attention_factor", factor)


def _count(where: Path, what: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 2**31:
        raise _refuse(where, what, "a positive integer below 2^31", value)
    return value


def _positive(where: Path, what: str, value: object) -> float:
    # the bound also refuses integers that no float holds
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1e300:
        raise _refuse(where, what, "a positive finite number", value)
    return float(value)


def _same_values(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Equal numbers, a NaN being equal to a NaN."""
    return bool(((a == b) | (a.isnan() & b.isnan())).all())


def _refuse(where: Path, what: str, expected: object, found: object) -> CannotJudgeError:
    return CannotJudgeError(f"{where}: {what}: expected {expected}, found {str(found)[:200]}")
