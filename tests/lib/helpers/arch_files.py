"""A second writer of v3, by docs/format-v3.md alone: models with any switches, and files that break its rules.

It shares no code with the exporter, which writes the files that people use.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

MAGIC, VERSION, HEADER, BLOCK_END, ENTRY = 0x616B3432, 3, 256, 512, 192
NORM_PLACES = ("before", "after", "both")
QK_NORMS = ("none", "head", "whole")
ROPES = ("none", "first", "second")
GATES = ("silu", "gelu", "gelu_tanh")
SCALINGS = ("none", "linear", "dynamic", "llama3", "yarn", "longrope")
STORAGES = {"fp32": (1, 4), "fp16": (2, 2), "bf16": (3, 2), "q8_0": (8, 1)}


@dataclass(frozen=True)
class Scaling:
    """RoPE's scaling; zeros where the type has no such field."""

    type: str = "none"
    original_max_positions: int = 0
    factor: float = 0.0
    low_freq_factor: float = 0.0
    high_freq_factor: float = 0.0
    beta_fast: float = 0.0
    beta_slow: float = 0.0
    attention_factor: float = 0.0
    truncate: bool = False
    short_factors: tuple[float, ...] = ()


@dataclass(frozen=True)
class Arch:
    """Every field of v3 that a model is made of; a Llama where nothing else is said."""

    dim: int = 24
    hidden_dim: int = 36
    n_layers: int = 3
    n_heads: int = 4
    n_kv_heads: int = 2
    vocab_size: int = 29
    max_seq_len: int = 400
    head_dim: int = 8
    tied: bool = False
    qkv_bias: bool = False
    wo_bias: bool = False
    mlp_bias: bool = False
    gate: str = "silu"
    norm_eps: float = 1e-5
    rope_theta: float = 10000.0
    scaling: Scaling = field(default_factory=Scaling)
    norm_place: str = "before"
    norm_plus_one: bool = False
    qk_norm: str = "none"
    rotary_dim: int = 0  # 0: all of the head
    window: int = 0
    query_scale_positions: int = 0
    embedding_scale: float = 1.0
    score_scale: float = 0.0
    residual_scale: float = 1.0
    logit_divisor: float = 1.0
    score_cap: float = 0.0
    logit_cap: float = 0.0
    query_scale_beta: float = 0.0
    local_theta: float = 0.0
    n_experts: int = 0
    n_active_experts: int = 0
    expert_hidden_dim: int = 0
    experts_normalized: bool = False
    layers: tuple[tuple[bool, str], ...] = ()  # none: no windows, the first RoPE
    plain: tuple[int, ...] = ()  # layers without experts, of a model that has some

    @property
    def rotated(self) -> int:
        return self.rotary_dim or self.head_dim

    @property
    def kinds(self) -> tuple[tuple[bool, str], ...]:
        return self.layers or ((False, "first"),) * self.n_layers

    def mixed(self, layer: int) -> bool:
        """Whether a layer has experts."""
        return bool(self.n_experts) and layer not in self.plain

    @property
    def table_at(self) -> int:
        factors = len(self.scaling.short_factors)
        return BLOCK_END + -(-4 * self.n_layers // 64) * 64 + -(-4 * factors // 64) * 64


def shapes(a: Arch) -> dict[str, tuple[int, ...]]:
    """Names and shapes in the order of the file."""
    q, kv = a.n_heads * a.head_dim, a.n_kv_heads * a.head_dim
    found: dict[str, tuple[int, ...]] = {"tok_embeddings.weight": (a.vocab_size, a.dim)}
    before, after = a.norm_place != "after", a.norm_place != "before"
    of_layer: list[tuple[str, tuple[int, ...], bool]] = [
        ("attention_norm.weight", (a.dim,), before),
        ("attention.wq.weight", (q, a.dim), True),
        ("attention.wq.bias", (q,), a.qkv_bias),
        ("attention.wk.weight", (kv, a.dim), True),
        ("attention.wk.bias", (kv,), a.qkv_bias),
        ("attention.wv.weight", (kv, a.dim), True),
        ("attention.wv.bias", (kv,), a.qkv_bias),
        ("attention.q_norm.weight", (q if a.qk_norm == "whole" else a.head_dim,), a.qk_norm != "none"),
        ("attention.k_norm.weight", (kv if a.qk_norm == "whole" else a.head_dim,), a.qk_norm != "none"),
        ("attention.wo.weight", (a.dim, q), True),
        ("attention.wo.bias", (a.dim,), a.wo_bias),
        ("attention_post_norm.weight", (a.dim,), after),
        ("ffn_norm.weight", (a.dim,), before),
    ]
    feed_forward: list[tuple[str, tuple[int, ...], bool]] = [
        ("w1.weight", (a.hidden_dim, a.dim), True),
        ("w1.bias", (a.hidden_dim,), a.mlp_bias),
        ("w2.weight", (a.dim, a.hidden_dim), True),
        ("w2.bias", (a.dim,), a.mlp_bias),
        ("w3.weight", (a.hidden_dim, a.dim), True),
        ("w3.bias", (a.hidden_dim,), a.mlp_bias),
    ]
    mixture: list[tuple[str, tuple[int, ...], bool]] = [("router.weight", (a.n_experts, a.dim), True)]
    for expert in range(a.n_experts):
        for matrix in ("w1", "w2", "w3"):
            shape = (a.dim, a.expert_hidden_dim) if matrix == "w2" else (a.expert_hidden_dim, a.dim)
            mixture.append((f"experts.{expert}.{matrix}.weight", shape, True))
    for layer in range(a.n_layers):
        found |= {f"layers.{layer}.{name}": shape for name, shape, there in of_layer if there}
        own = mixture if a.mixed(layer) else feed_forward
        found |= {f"layers.{layer}.feed_forward.{name}": shape for name, shape, there in own if there}
        if after:
            found[f"layers.{layer}.ffn_post_norm.weight"] = (a.dim,)
    found["norm.weight"] = (a.dim,)
    if not a.tied:
        found["output.weight"] = (a.vocab_size, a.dim)
    return found


def random_weights(a: Arch, seed: int = 0) -> dict[str, NDArray[np.float32]]:
    """Weights of a size at which every operation matters; norms about 1, or about 0 where 1 is added."""
    rng = np.random.default_rng(seed)
    weights = {}
    for name, shape in shapes(a).items():
        if name.endswith("norm.weight"):
            values = rng.normal(0.0 if a.norm_plus_one else 1.0, 0.3, shape)
        else:
            values = rng.normal(0, 1 if len(shape) == 1 else 1.5 / np.sqrt(shape[-1]), shape)
        weights[name] = values.astype(np.float32)
    return weights


def _aligned(n: int, alignment: int = 64) -> int:
    return -(-n // alignment) * alignment


def _encoded(values: NDArray[np.float32], storage: str, group: int) -> tuple[bytes, bytes, NDArray[np.float32]]:
    """Values and scales as the file has them, and what they stand for."""
    if storage == "q8_0":
        groups = values.reshape(-1, group)
        scale = (np.abs(groups).max(1, keepdims=True) / np.float32(127)).astype(np.float32)
        q = np.rint(groups / np.where(scale == 0, 1, scale)).astype(np.int8)
        return q.tobytes(), scale.tobytes(), (q.astype(np.float32) * scale).reshape(values.shape)
    if storage == "bf16":
        bits = (values.view(np.uint32) >> 16).astype(np.uint16)
        return bits.tobytes(), b"", (bits.astype(np.uint32) << 16).view(np.float32)
    stored = values.astype(np.float16 if storage == "fp16" else np.float32)
    return stored.tobytes(), b"", stored.astype(np.float32)


def architecture(a: Arch) -> bytes:
    """The architecture block, the layer table and RoPE's factors."""
    block = struct.pack(
        "<6I8d4I152x",
        NORM_PLACES.index(a.norm_place),
        a.norm_plus_one,
        QK_NORMS.index(a.qk_norm),
        a.rotated,
        a.window,
        a.query_scale_positions,
        *(a.embedding_scale, a.score_scale, a.residual_scale, a.logit_divisor),
        *(a.score_cap, a.logit_cap, a.query_scale_beta, a.local_theta),
        *(a.n_experts, a.n_active_experts, a.expert_hidden_dim, a.experts_normalized),
    )
    table = b"".join(
        struct.pack("<I", windowed | ROPES.index(rope) << 1 | a.mixed(layer) << 3)
        for layer, (windowed, rope) in enumerate(a.kinds)
    )
    factors = b"".join(struct.pack("<f", factor) for factor in a.scaling.short_factors)
    return block + table.ljust(_aligned(len(table)), b"\0") + factors.ljust(_aligned(len(factors)), b"\0")


def _header(a: Arch, tensors: int, metadata: bytes, count: int, tokenizer: bytes, head: int, size: int) -> bytes:
    s = a.scaling
    counts = (a.dim, a.hidden_dim, a.n_layers, a.n_heads, a.n_kv_heads, a.vocab_size, a.max_seq_len)
    content = struct.pack("<Ii7iI", MAGIC, VERSION, *counts, a.head_dim)
    content += struct.pack("<2I2d", a.tied | a.qkv_bias << 1 | a.wo_bias << 2 | a.mlp_bias << 3, GATES.index(a.gate),
                           a.norm_eps, a.rope_theta)  # fmt: skip
    content += struct.pack("<2I6d", SCALINGS.index(s.type), s.original_max_positions, s.factor, s.low_freq_factor,
                           s.high_freq_factor, s.beta_fast, s.beta_slow, s.attention_factor)  # fmt: skip
    content += struct.pack("<2I2Q4I", s.truncate, 64, size, head, len(metadata), count, tensors, ENTRY)
    return content + bytes(32) + struct.pack("<Q", len(tokenizer)) + bytes(56)


def write(
    path: Path,
    a: Arch,
    weights: Mapping[str, NDArray[np.float32]],
    storage: Callable[[str], tuple[str, int]] = lambda _: ("fp32", 0),
    *,
    metadata: Mapping[str, str] | None = None,
    tokenizer: bytes = b"",
) -> dict[str, NDArray[np.float32]]:
    """Write a file. storage: of a matrix's name, with its group size. Returns what the stored numbers stand for."""
    table, payload, stored = b"", b"", {}
    for name, shape in shapes(a).items():
        how, group = storage(name) if len(shape) == 2 and "router" not in name else ("fp32", 0)
        values, scales, stored[name] = _encoded(weights[name], how, group)
        offset = len(payload)
        payload += values
        payload = payload.ljust(_aligned(len(payload)), b"\0")
        scale_offset = len(payload) if scales else 0
        payload += scales
        payload = payload.ljust(_aligned(len(payload)), b"\0")
        digest = blake3(payload[offset:]).digest()
        places = (offset, len(values), scale_offset, len(scales))
        kind = (len(shape), STORAGES[how][0], *(*shape, 0, 0, 0)[:4], group, 0)
        table += struct.pack("<64s2I4Q2I4Q16x32s", name.encode(), *kind, *places, digest)
    pairs = sorted((metadata or {}).items())
    extra = b"".join(struct.pack("<II", len(k), len(v.encode())) + k.encode() + v.encode() for k, v in pairs)
    behind = a.table_at + len(table) + len(extra) + len(tokenizer)
    size = _aligned(behind + 32)
    header = _header(a, len(table) // ENTRY, extra, len(pairs), tokenizer, size, size + len(payload))
    head = header + architecture(a) + table + extra + tokenizer
    path.write_bytes(signed(head.ljust(size, b"\0") + payload))
    return stored


def signed(content: bytes) -> bytes:
    """The same bytes with both digests of the head made to fit."""
    changed = bytearray(content)
    layers, (size,), (count,) = (
        struct.unpack_from("<i", content, 16)[0],
        struct.unpack_from("<Q", content, 136),
        struct.unpack_from("<I", content, 152),
    )
    kind, rotary_dim = (struct.unpack_from("<I", content, at)[0] for at in (64, 268))
    factors = _aligned(4 * (rotary_dim // 2)) if kind == SCALINGS.index("longrope") else 0
    end = BLOCK_END + _aligned(4 * layers) + factors + count * ENTRY
    changed[160:192] = blake3(content[:128] + content[HEADER:end]).digest()
    changed[size - 32 : size] = blake3(bytes(changed[: size - 32])).digest()
    return bytes(changed)


def patched(content: bytes, *changes: tuple[int, str, float]) -> bytes:
    """Content with numbers replaced, (offset, format of struct, value) each, and signed again."""
    changed = bytearray(content)
    for at, kind, value in changes:
        struct.pack_into(kind, changed, at, value)
    return signed(bytes(changed))


def differing(a: Arch) -> dict[str, Any]:
    """The fields in which a model differs from the Llama of the same sizes, for the names of tests."""
    llama = Arch()
    return {f.name: getattr(a, f.name) for f in fields(a) if getattr(a, f.name) != getattr(llama, f.name)}


def llama_of(a: Arch) -> Arch:
    """The Llama of the same sizes."""
    sizes = ("dim", "hidden_dim", "n_layers", "n_heads", "n_kv_heads", "vocab_size", "max_seq_len", "head_dim")
    return replace(Arch(), **{name: getattr(a, name) for name in sizes})
