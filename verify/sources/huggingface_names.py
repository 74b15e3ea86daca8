"""Translates Hugging Face's names for the tensors of each family to llama2.c's."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from verify.sources.huggingface_experts import canonical_expert, transformers_expert
from verify.sources.huggingface_families import FAMILIES, FUSED
from verify.sources.name_prefixes import note_of_removed, shared_unknown_prefix, unwrapped
from verify.sources.refusal import refusal

_CLASSIFIER = "lm_head.weight"
_OUTER = {
    "embed_tokens.weight": "tok_embeddings.weight",
    "norm.weight": "norm.weight",
    _CLASSIFIER: "output.weight",
}
_LAYER = re.compile(r"layers\.(0|[1-9]\d{0,8})\.(.+)\.(weight|bias)")
_FREQUENCIES = re.compile(r"(.+\.)?rotary_emb\.inv_freq")


@dataclass(frozen=True)
class Names:
    """The stored names of a directory's tensors.

    own: llama2.c's name -> the stored one, which several parts of a fused matrix share. frequencies: stored names of
    RoPE's buffers. notes: what is unusual. standard: whether transformers itself knows the tensors by these names.
    """

    own: dict[str, str]
    frequencies: tuple[str, ...]
    notes: tuple[str, ...]
    standard: bool


def canonical_names(path: Path, stored: list[str], family: str = "llama") -> Names:
    """Sort the stored names of a directory's tensors. Raises CannotJudgeError for a tensor that the family does not
    have."""
    known = partial(_is_known, family)
    frequencies = tuple(name for name in stored if _FREQUENCIES.fullmatch(name))
    weights = [name for name in stored if not _FREQUENCIES.fullmatch(name)]
    short = unwrapped(path, weights, known)
    own: dict[str, str] = {}
    for name, bare in short.items():
        if not known(bare):
            raise _unknown(path, name, weights, family, known)
        for canonical in _canonical(family, bare):
            if canonical in own:
                raise refusal(path, canonical, "one such tensor", f"{own[canonical]} and {name}")
            own[canonical] = name
    usual = {name: bare if bare == _CLASSIFIER else f"model.{bare}" for name, bare in short.items()}
    extra = {name.removesuffix(usual[name]) for name in usual if name.endswith(usual[name])}
    notes = note_of_removed(extra)
    if any(name == bare != _CLASSIFIER for name, bare in short.items()):
        notes.append('weights are named without the prefix "model."; it was added')
    elif not notes and any(name != usual[name] for name in usual):
        notes.append("weights are named with the wrappers of training code; they were removed")
    return Names(own, frequencies, tuple(notes), all(name == usual[name] for name in usual))


def transformers_name(name: str, family: str = "llama") -> str:
    """Return what transformers' model calls a tensor of llama2.c's name, or the fused one that it is a part of."""
    outer = {canonical: bare for bare, canonical in _OUTER.items()}
    if name in outer:
        return outer[name] if outer[name] == _CLASSIFIER else f"model.{outer[name]}"
    if (fused := transformers_expert(name)) is not None:
        return fused
    inner = {part: bare for bare, own in FAMILIES[family].names.items() for part in FUSED.get(bare, (own,))}
    _, number, rest = name.split(".", 2)
    module, kind = rest.rsplit(".", 1)
    return f"model.layers.{number}.{inner[module]}.{kind}"


def _is_known(family: str, bare: str) -> bool:
    match = _LAYER.fullmatch(bare)
    known = match is not None and match[2] in FAMILIES[family].names
    return bare in _OUTER or known or canonical_expert(family, bare) is not None


def _canonical(family: str, bare: str) -> list[str]:
    """Return llama2.c's name of a tensor, or those of the parts of a fused one."""
    expert, match = canonical_expert(family, bare), _LAYER.fullmatch(bare)
    if expert is not None:
        return [expert]
    if match is None:
        return [_OUTER[bare]]
    parts = FUSED.get(match[2], (FAMILIES[family].names[match[2]],))
    return [f"layers.{match[1]}.{part}.{match[3]}" for part in parts]


def _unknown(path: Path, name: str, weights: list[str], family: str, known: Callable[[str], bool]) -> Exception:
    prefix = shared_unknown_prefix(weights, lambda rest: known(rest) or known(rest.removeprefix("model.")))
    whose = "a Llama" if family in ("llama", "mistral", "qwen2") else FAMILIES[family].architecture
    if prefix:
        advice = "save the state dict of the model itself, without what wraps it"
        return refusal(path, "tensors", f"{whose}'s names", f"all of them under the prefix {prefix!r}", advice)
    return refusal(path, "tensors", f"those of {whose} alone", name)
