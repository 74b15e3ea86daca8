"""Asks transformers' own configuration class what a config.json means, and holds the answer against the tensors."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from verify.errors import CannotJudgeError
from verify.sources.checked_numbers import count
from verify.sources.huggingface_experts import widths
from verify.sources.huggingface_families import FAMILIES
from verify.sources.huggingface_hyperparameters import hyperparameters
from verify.sources.huggingface_settings import Settings
from verify.sources.refusal import refusal
from verify.sources.source import Hyperparameters
from verify.system.optional_imports import one_line, quiet_transformers

# No logit depends on them, but transformers refuses some together.
_VALIDATED = {"output_attentions", "attn_implementation", "_attn_implementation"}
Shapes = Mapping[str, tuple[int, ...]]


def resolved(where: Path, settings: Settings) -> Any:
    """Return transformers' config object, with its defaults. Only keys that transformers reads go in: another one
    could take the place of a method. Raises CannotJudgeError where transformers refuses a value."""
    with quiet_transformers() as transformers:
        made = getattr(transformers, FAMILIES[settings.family].config)
        fields = {each.name for each in dataclasses.fields(made)}
        known = fields | settings.understood.keys() | _VALIDATED
        passed = {key: value for key, value in settings.said.items() if key in known}
        try:
            # a copy: the class writes into rope_parameters
            config = made.from_dict(copy.deepcopy(passed))
            # as the model does when it is built
            config.standardize_rope_params()
        except Exception as error:  # its checks have no common class
            raise CannotJudgeError(
                f"{where}: expected a config that transformers accepts, found: {one_line(error)}"
            ) from error
    if config.dtype is not None and not isinstance(config.dtype, torch.dtype):
        raise refusal(where, "dtype", "the name of a PyTorch dtype", config.dtype)
    return config


def derived(
    where: Path, settings: Settings, config: Any, shapes: Shapes, max_seq_len: int | None
) -> tuple[Hyperparameters, list[str]]:
    """Return hyper-parameters and notes. Sizes come from the tensors' shapes, by llama2.c's names, and config.json
    must agree; what no shape says comes from config.json. Raises CannotJudgeError."""
    sizes = _sizes(where, settings.family, config, shapes)
    _check_padding(where, settings, sizes["vocab_size"])
    found, notes = hyperparameters(where, settings, config, sizes, max_seq_len)
    expected = found.shapes()
    for name in sorted(expected.keys() | shapes.keys()):
        if expected.get(name) != shapes.get(name):
            raise refusal(
                where.parent, name, expected.get(name, "no such tensor"), shapes.get(name, "no such tensor")
            )
    return found, notes


def _sizes(where: Path, family: str, config: Any, shapes: Shapes) -> dict[str, Any]:
    """Counts by their names in Hyperparameters, of the tensors, and what is said of experts."""
    path = where.parent
    layers = {int(name.split(".")[1]) for name in shapes if name.startswith("layers.")}

    def shape(name: str) -> tuple[int, int]:
        found = shapes.get(name, ())
        if len(found) != 2 or 0 in found:
            raise refusal(path, name, "a matrix", found or "no such tensor")
        return found[0], found[1]

    vocab_size, dim = shape("tok_embeddings.weight")
    (q_rows, _), (kv_rows, _) = shape("layers.0.attention.wq.weight"), shape("layers.0.attention.wk.weight")
    n_heads = count(where, "num_attention_heads", config.num_attention_heads)
    head_dim, remainder = divmod(q_rows, n_heads)
    # shape() refuses zero rows, so no quotient without a remainder is zero
    if remainder or head_dim % 2:
        raise refusal(path, "layers.0.attention.wq.weight", f"rows of {n_heads} heads of even size", q_rows)
    n_kv_heads, remainder = divmod(kv_rows, head_dim)
    if remainder or n_heads % n_kv_heads:
        raise refusal(path, "layers.0.attention.wk.weight", f"rows of whole heads of {head_dim}", kv_rows)
    # a class without head_dim divides, unless config.json has the key; Mixtral's does so where it is null
    absent = not hasattr(config, "head_dim") or (family == "mixtral" and config.head_dim is None)
    said_head_dim = config.hidden_size // n_heads if absent else config.head_dim
    for key, said, expected, of_what in (
        ("vocab_size", config.vocab_size, vocab_size, "the rows of the embedding"),
        ("hidden_size", config.hidden_size, dim, "as the tensors say"),
        ("num_hidden_layers", config.num_hidden_layers, len(layers), "as the tensors say"),
        ("num_key_value_heads", config.num_key_value_heads, n_kv_heads, "as the tensors say"),
        ("head_dim", said_head_dim, head_dim, "as the tensors say"),
    ):
        if isinstance(said, bool) or said != expected:
            raise refusal(where, key, f"{expected}, {of_what}", said)
    return {
        **{"dim": dim, "n_layers": len(layers), "n_heads": n_heads},
        **{"n_kv_heads": n_kv_heads, "head_dim": head_dim, "vocab_size": vocab_size},
        **widths(where, family, config, len(layers), shape),
    }


def _check_padding(where: Path, settings: Settings, vocab_size: int) -> None:
    """No logit depends on it, but PyTorch makes no embedding with a padding row that it does not have."""
    said = settings.said.get("pad_token_id")
    if isinstance(said, int) and not -vocab_size <= said < vocab_size:
        raise refusal(where, "pad_token_id", f"none, or {-vocab_size} to {vocab_size - 1}", said)
