"""Translates Hugging Face's names for a Llama's tensors to llama2.c's."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from verify.sources.name_prefixes import note_of_removed, shared_unknown_prefix, unwrapped
from verify.sources.refusal import refusal

_CLASSIFIER = "lm_head.weight"
_OUTER = {
    "embed_tokens.weight": "tok_embeddings.weight",
    "norm.weight": "norm.weight",
    _CLASSIFIER: "output.weight",
}
_LAYER = re.compile(r"layers\.(0|[1-9]\d{0,8})\.(.+)\.(weight|bias)")
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
_FREQUENCIES = re.compile(r"(.+\.)?rotary_emb\.inv_freq")


@dataclass(frozen=True)
class Names:
    """own: llama2.c's name -> the stored one. frequencies: stored names of RoPE's buffers. notes: what is unusual.
    standard: whether transformers itself knows the model's tensors by their stored names."""

    own: dict[str, str]
    frequencies: tuple[str, ...]
    notes: tuple[str, ...]
    standard: bool


def canonical_names(path: Path, stored: list[str]) -> Names:
    """Sort the stored names of a directory's tensors. Raises CannotJudgeError for a tensor that no Llama has."""
    frequencies = tuple(name for name in stored if _FREQUENCIES.fullmatch(name))
    weights = [name for name in stored if not _FREQUENCIES.fullmatch(name)]
    short = unwrapped(path, weights, _is_known)
    own: dict[str, str] = {}
    for name, bare in short.items():
        if not _is_known(bare):
            raise _unknown(path, name, weights)
        own[_canonical(bare)] = name
    usual = {name: bare if bare == _CLASSIFIER else f"model.{bare}" for name, bare in short.items()}
    extra = {name.removesuffix(usual[name]) for name in usual if name.endswith(usual[name])}
    notes = note_of_removed(extra)
    if any(name == bare != _CLASSIFIER for name, bare in short.items()):
        notes.append('weights are named without the prefix "model."; it was added')
    elif not notes and any(name != usual[name] for name in usual):
        notes.append("weights are named with the wrappers of training code; they were removed")
    return Names(own, frequencies, tuple(notes), all(name == usual[name] for name in usual))


def transformers_name(name: str) -> str:
    """Return what transformers' own model calls a tensor of llama2.c's name."""
    outer = {canonical: bare for bare, canonical in _OUTER.items()}
    if name in outer:
        return outer[name] if outer[name] == _CLASSIFIER else f"model.{outer[name]}"
    inner = {canonical: bare for bare, canonical in _INNER.items()}
    _, number, rest = name.split(".", 2)
    module, kind = rest.rsplit(".", 1)
    return f"model.layers.{number}.{inner[module]}.{kind}"


def _is_known(bare: str) -> bool:
    match = _LAYER.fullmatch(bare)
    return bare in _OUTER or (match is not None and match[2] in _INNER)


def _canonical(bare: str) -> str:
    match = _LAYER.fullmatch(bare)
    return f"layers.{match[1]}.{_INNER[match[2]]}.{match[3]}" if match else _OUTER[bare]


def _unknown(path: Path, name: str, weights: list[str]) -> Exception:
    prefix = shared_unknown_prefix(weights, lambda rest: _is_known(rest) or _is_known(rest.removeprefix("model.")))
    if prefix:
        advice = "save the state dict of the model itself, without what wraps it"
        return refusal(path, "tensors", "a Llama's names", f"all of them under the prefix {prefix!r}", advice)
    return refusal(path, "tensors", "those of a Llama alone", name)
