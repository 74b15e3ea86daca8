"""Knows where everything lies in llama2.c's own .bin files: v0, v1 (float32 and Q8_0) and v2.

Written from the formats' descriptions, for the verifier alone: reader_c and the exporter have their own.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, field

from verify.sources.source import Hyperparameters

MAGIC = 0x616B3432
HEADER_V0, HEADER_V1 = struct.Struct("<7i"), struct.Struct("<Ii7iBi")
# What stands before v1's and v2's weights: the fields, then zeros.
FULL_HEADER = 256

_LAYER_NORMS = ("attention_norm", "ffn_norm")
_LAYER_MATRICES = (
    *("attention.wq", "attention.wk", "attention.wv", "attention.wo"),
    *("feed_forward.w1", "feed_forward.w2", "feed_forward.w3"),
)


@dataclass
class Layout:
    """Holds offsets in bytes. numbers: of a tensor's float32, or of its int8 where scales has the offset of its
    float32 scales. tables: of v0's freqs_cos and freqs_sin, (max_seq_len, head_dim / 2) each. size: of the file.
    halved: whether rows of queries and keys stand in two halves of each head."""

    model: Hyperparameters
    group_size: int  # 0 in files of float32
    numbers: dict[str, int] = field(default_factory=dict)
    scales: dict[str, int] = field(default_factory=dict)
    tables: dict[str, int] = field(default_factory=dict)
    size: int = 0
    halved: bool = False


def model_of(counts: tuple[int, ...], *, shared: bool) -> Hyperparameters | None:
    """Return the model of a header's seven counts, with what these formats imply; None where they make none."""
    dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size, max_seq_len = counts
    if min(counts) < 1 or dim % n_heads or dim // n_heads % 2 or n_heads % n_kv_heads:
        return None
    return Hyperparameters(
        dim=dim,
        hidden_dim=hidden_dim,
        n_layers=n_layers,
        n_heads=n_heads,
        n_kv_heads=n_kv_heads,
        head_dim=dim // n_heads,
        vocab_size=vocab_size,
        max_seq_len=max_seq_len,
        tied=shared,
        norm_eps=1e-5,
        rope_theta=10000.0,
    )


def is_llama2c_bin(beginning: bytes, size: int) -> bool:
    """Whether a file of so many bytes begins like a v1 or v2, or has just the size that a v0 of its counts has."""
    if beginning[:4] == MAGIC.to_bytes(4, "little"):
        return beginning[4:8] in (b"\1\0\0\0", b"\2\0\0\0")
    model = v0_model(beginning)
    return model is not None and size_of_v0(model) == size


def v0_model(beginning: bytes) -> Hyperparameters | None:
    """Return the model that v0's header describes; a negative vocabulary says that the classifier is not shared."""
    if len(beginning) < HEADER_V0.size:
        return None
    *counts, vocab_size, max_seq_len = HEADER_V0.unpack_from(beginning)
    return model_of((*counts, abs(vocab_size), max_seq_len), shared=vocab_size > 0)


def size_of_v0(model: Hyperparameters) -> int:
    """Return the bytes of a v0 file, from the counts alone: they may be anything."""
    return HEADER_V0.size + 4 * (parameters(model) + model.max_seq_len * model.head_dim)


def parameters(model: Hyperparameters) -> int:
    """Return how many weights the model has, norms included."""
    norms = model.dim * (2 * model.n_layers + 1)
    return norms + matrix_elements(model)


def matrix_elements(model: Hyperparameters) -> int:
    """Return how many weights all matrices have together."""
    kv_dim = model.n_kv_heads * model.head_dim
    layer = 2 * model.dim * (model.dim + kv_dim) + 3 * model.dim * model.hidden_dim
    return model.n_layers * layer + model.vocab_size * model.dim * (1 if model.tied else 2)


def size_of_q8(model: Hyperparameters, group_size: int) -> int:
    """Return the bytes of a v1 or v2 file of Q8_0."""
    matrices = matrix_elements(model)
    return FULL_HEADER + 4 * (parameters(model) - matrices) + matrices + 4 * (matrices // group_size)


def layout_v0(model: Hyperparameters) -> Layout:
    """Embedding, then each kind of tensor for all layers, the last norm, RoPE's tables, the classifier."""
    found, at = Layout(model, 0), HEADER_V0.size
    kinds = ("attention_norm", *_LAYER_MATRICES[:4], "ffn_norm", *_LAYER_MATRICES[4:])
    at = place(found, at, ["tok_embeddings.weight", *of_all_layers(model, kinds), "norm.weight"])
    for table in ("freqs_cos", "freqs_sin"):
        found.tables[table] = at
        at += 4 * model.max_seq_len * (model.head_dim // 2)
    found.size = place(found, at, [] if model.tied else ["output.weight"])
    return found


def layout_v1(model: Hyperparameters, group_size: int) -> Layout:
    """Norms, then matrices: all float32, or all int8 and behind the last of them all scales."""
    found = Layout(model, group_size)
    at = place(found, FULL_HEADER, [*of_all_layers(model, _LAYER_NORMS), "norm.weight"])
    if not group_size:
        found.size = place(found, at, all_matrices(model))
        return found
    shapes = model.shapes()
    for name in all_matrices(model):
        found.numbers[name] = at
        at += math.prod(shapes[name])
    for name in all_matrices(model):
        found.scales[name] = at
        at += 4 * (math.prod(shapes[name]) // group_size)
    found.size = at
    return found


def layout_v2(model: Hyperparameters, group_size: int) -> Layout:
    """Norms, then each matrix as int8 with its scales right behind."""
    found, shapes = Layout(model, group_size), model.shapes()
    at = place(found, FULL_HEADER, [*of_all_layers(model, _LAYER_NORMS), "norm.weight"])
    for name in all_matrices(model):
        elements = math.prod(shapes[name])
        found.numbers[name], found.scales[name] = at, at + elements
        at += elements + 4 * (elements // group_size)
    found.size = at
    return found


def of_all_layers(model: Hyperparameters, kinds: tuple[str, ...]) -> list[str]:
    """Return the names of tensors of these kinds, all layers of one kind before the next."""
    return [f"layers.{number}.{kind}.weight" for kind in kinds for number in range(model.n_layers)]


def all_matrices(model: Hyperparameters) -> list[str]:
    """Return the names of the matrices in the order of these formats."""
    outer = [] if model.tied else ["output.weight"]
    return ["tok_embeddings.weight", *of_all_layers(model, _LAYER_MATRICES), *outer]


def place(found: Layout, at: int, names: list[str]) -> int:
    """Put float32 tensors one behind the other; return where the last one ends."""
    shapes = found.model.shapes()
    for name in names:
        found.numbers[name] = at
        at += 4 * math.prod(shapes[name])
    return at
