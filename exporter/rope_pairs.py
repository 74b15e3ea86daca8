"""The order of rows that RoPE needs: llama2.c turns neighbours, Hugging Face the halves of what is rotated.

It concerns wq and wk, their biases, and the weights of norms over q and k.
"""

from __future__ import annotations

import numpy as np

from exporter.checkpoint import Weights
from exporter.config import ModelConfig


def in_pairs(name: str, array: Weights, config: ModelConfig) -> Weights:
    """Return rows i and i + rotated / 2 of each head as rows 2i and 2i + 1; tensors without such rows unchanged."""
    heads = _heads(name, config)
    return _moved(array, heads, config, _halves(config), _neighbours(config)) if heads else array


def in_halves(name: str, array: Weights, config: ModelConfig) -> Weights:
    """Return rows 2i and 2i + 1 of each head as rows i and i + rotated / 2; tensors without such rows unchanged.

    Where whole heads are rotated, the result is a view whose first axes are heads, halves and pairs. It has the rows
    in their order, and can be cut along its first axis.
    """
    heads = _heads(name, config)
    if heads and config.rotated == config.head_dim:
        return array.reshape(heads, config.head_dim // 2, 2, *array.shape[1:]).swapaxes(1, 2)
    return _moved(array, heads, config, _neighbours(config), _halves(config)) if heads else array


def index_in_halves(name: str, index: tuple[int, ...], config: ModelConfig) -> tuple[int, ...]:
    """Return where an element of in_pairs' result stands before."""
    if not _heads(name, config):
        return index
    head, row = divmod(index[0], config.head_dim)
    there = row % 2 * (config.rotated // 2) + row // 2 if row < config.rotated else row
    return (head * config.head_dim + there, *index[1:])


def _halves(config: ModelConfig) -> tuple[slice, slice]:
    return slice(0, config.rotated // 2), slice(config.rotated // 2, config.rotated)


def _neighbours(config: ModelConfig) -> tuple[slice, slice]:
    return slice(0, config.rotated, 2), slice(1, config.rotated, 2)


def _moved(
    array: Weights, heads: int, config: ModelConfig, old: tuple[slice, slice], new: tuple[slice, slice]
) -> Weights:
    """Return a copy with the rows of each head moved from old to new; those that are not rotated stay."""
    made = np.empty(array.shape, np.float32)
    theirs, ours = (each.reshape(heads, config.head_dim, *array.shape[1:]) for each in (array, made))
    for before, after in zip(old, new, strict=True):
        ours[:, after] = theirs[:, before]
    ours[:, config.rotated :] = theirs[:, config.rotated :]
    return made


def _heads(name: str, config: ModelConfig) -> int:
    """Return the heads of a tensor whose rows RoPE turns, one for a norm that all heads share; 0 of others."""
    module = name.split(".")[-2]
    if module in ("q_norm", "k_norm") and config.qk_norm == "head":
        return 1
    return {"wq": config.n_heads, "q_norm": config.n_heads, "wk": config.n_kv_heads, "k_norm": config.n_kv_heads}.get(
        module, 0
    )
