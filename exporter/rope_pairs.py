"""The order of rows that RoPE needs: llama2.c turns neighbours, Hugging Face the halves of what is rotated.

It concerns wq and wk, their biases, and the weights of norms over q and k.
"""

from __future__ import annotations

from exporter.checkpoint import Weights
from exporter.config import ModelConfig


def in_pairs(name: str, array: Weights, config: ModelConfig) -> Weights:
    """Return rows i and i + rotated / 2 of each head as rows 2i and 2i + 1; tensors without such rows unchanged."""
    return _swapped(array, _heads(name, config), config, (2, config.rotated // 2))


def in_halves(name: str, array: Weights, config: ModelConfig) -> Weights:
    """Return rows 2i and 2i + 1 of each head as rows i and i + rotated / 2; tensors without such rows unchanged.

    Where whole heads are rotated, the result is a view whose first axes are heads, halves and pairs. It has the rows
    in their order, and can be cut along its first axis.
    """
    heads = _heads(name, config)
    if heads and config.rotated == config.head_dim:
        return array.reshape(heads, config.head_dim // 2, 2, *array.shape[1:]).swapaxes(1, 2)
    return _swapped(array, heads, config, (config.rotated // 2, 2))


def index_in_halves(name: str, index: tuple[int, ...], config: ModelConfig) -> tuple[int, ...]:
    """Return where an element of in_pairs' result stands before."""
    if not _heads(name, config):
        return index
    head, row = divmod(index[0], config.head_dim)
    there = row % 2 * (config.rotated // 2) + row // 2 if row < config.rotated else row
    return (head * config.head_dim + there, *index[1:])


def _swapped(array: Weights, heads: int, config: ModelConfig, rotated: tuple[int, int]) -> Weights:
    if not heads:
        return array
    by_head = array.reshape(heads, config.head_dim, -1)
    turned = by_head[:, : config.rotated].reshape(heads, *rotated, -1).swapaxes(1, 2)
    if config.rotated == config.head_dim:
        return turned.reshape(array.shape)
    made = by_head.copy()
    made[:, : config.rotated] = turned.reshape(heads, config.rotated, -1)
    return made.reshape(array.shape)


def _heads(name: str, config: ModelConfig) -> int:
    """Return the heads of a tensor whose rows RoPE turns, one for a norm that all heads share; 0 of others."""
    module = name.split(".")[-2]
    if module in ("q_norm", "k_norm") and config.qk_norm == "head":
        return 1
    return {"wq": config.n_heads, "q_norm": config.n_heads, "wk": config.n_kv_heads, "k_norm": config.n_kv_heads}.get(
        module, 0
    )
