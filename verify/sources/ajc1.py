"""Knows where everything lies in a file of qwen3.c's, called ajc1 after its magic.

Written from the format's description, for the verifier alone: reader_c and the exporter have their own. The header
has no field for theta, epsilon, scaling, activation or norms: implied() has the constants that qwen3.c computes with.
"""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import Any

from verify.sources.bin_layout import FULL_HEADER, Layout, all_matrices, of_all_layers, place
from verify.sources.refusal import refusal
from verify.sources.source import Hyperparameters

MAGIC = 0x616A6331
_HEADER = struct.Struct("<Ii10i")
_COUNTS = ("dim", "hidden_dim", "n_layers", "n_heads", "n_kv_heads", "vocab_size", "max_seq_len", "head_dim")
_MOST_HEADS = 2**31 - 1


def implied(*, tied: bool, **counts: Any) -> Hyperparameters:
    """Return the model that qwen3.c computes from a header with these counts."""
    return Hyperparameters(tied=tied, norm_eps=1e-6, rope_theta=1e6, qk_norm="head", **counts)


def is_ajc1(beginning: bytes) -> bool:
    """Return whether a file begins as qwen3.c's do."""
    return beginning[:4] == MAGIC.to_bytes(4, "little")


def layout_ajc1(path: Path, header: bytes, size: int) -> Layout:
    """Return what the header of a file of `size` bytes says. Raises CannotJudgeError where the file is damaged."""
    if len(header) < FULL_HEADER:
        raise refusal(path, "header", f"{FULL_HEADER} bytes", len(header))
    _, version, *numbers, shared, group_size = _HEADER.unpack_from(header)
    if version != 1:
        raise refusal(path, "version", "1", version)
    if shared not in (0, 1):
        raise refusal(path, "shared_classifier", "0 or 1", shared)
    if any(header[_HEADER.size :]):
        raise refusal(path, "header", "zeros behind its fields", "other bytes")
    counts = dict(zip(_COUNTS, numbers, strict=True))
    if not _can_be_computed(counts):
        raise refusal(path, "header", f"the counts of a Qwen 3 ({', '.join(_COUNTS)})", tuple(numbers))
    model = implied(tied=bool(shared), **counts)
    widths = model.dim, model.n_heads * model.head_dim, model.hidden_dim
    if group_size < 1 or any(width % group_size for width in widths):
        raise refusal(path, "group_size", "a divisor of {}, {} and {}".format(*widths), group_size)
    expected = size_of(model, group_size)
    if expected != size:
        raise refusal(path, "size", f"{expected} bytes, by its header", f"{size} bytes")
    return _layout(model, group_size)


def _can_be_computed(counts: dict[str, int]) -> bool:
    if min(counts.values()) < 1 or counts["head_dim"] % 2 or counts["n_heads"] % counts["n_kv_heads"]:
        return False
    # qwen3.c's rooms for a token hold all heads, and no more
    return counts["dim"] <= counts["n_heads"] * counts["head_dim"] <= _MOST_HEADS


def size_of(model: Hyperparameters, group_size: int) -> int:
    """Return the bytes of a file, from the counts alone: they may be anything."""
    q_dim, kv_dim = model.n_heads * model.head_dim, model.n_kv_heads * model.head_dim
    layer = model.dim * (2 * q_dim + 2 * kv_dim + 3 * model.hidden_dim)
    matrices = model.n_layers * layer + model.vocab_size * model.dim * (1 if model.tied else 2)
    norms = model.n_layers * 2 * (model.dim + model.head_dim) + model.dim
    return FULL_HEADER + 4 * norms + matrices + 4 * (matrices // group_size)


def _layout(model: Hyperparameters, group_size: int) -> Layout:
    """Norms of all kinds, then each matrix as int8 with its scales right behind."""
    found, shapes = Layout(model, group_size, halved=True), model.shapes()
    of_blocks = of_all_layers(model, ("attention_norm", "ffn_norm"))
    of_heads = of_all_layers(model, ("attention.q_norm", "attention.k_norm"))
    at = place(found, FULL_HEADER, [*of_blocks, "norm.weight", *of_heads])
    for name in all_matrices(model):
        elements = math.prod(shapes[name])
        found.numbers[name], found.scales[name] = at, at + elements
        at += elements + 4 * (elements // group_size)
    found.size = at
    return found
