"""Assemble v3's head a second time, from the source, the storages and the bytes of the tensors.

This module shares nothing with the layouts of the exporter and the reader, on purpose: it packs the fields by name,
one after the other, and computes every digest of the mapped file again.
"""

from __future__ import annotations

import struct

from blake3 import blake3

import reader_c
from verify.checks.provenance import provenance_findings
from verify.sources import Hyperparameters, LayerKind, Source

_ALIGNMENT_AT = 124
_STORAGE_NUMBERS = {"fp32": 1, "fp16": 2, "bf16": 3, "q8_0": 8}
_WIDTHS = {"fp32": 4, "fp16": 2, "bf16": 2, "q8_0": 1}
_SCALING_NUMBERS = {"none": 0, "linear": 1, "dynamic": 2, "llama3": 3, "yarn": 4, "longrope": 5}
_ACTIVATION_NUMBERS = {"silu": 0, "gelu": 1, "gelu_tanh": 2}


def head_findings(model: reader_c.Model, source: Source, max_seq_len: int) -> list[str]:
    """Return what is wrong with the head and the digests; empty if nothing is."""
    content = model.content
    alignment = int.from_bytes(content[_ALIGNMENT_AT : _ALIGNMENT_AT + 4], "little")
    names = _order(source.hyperparameters)
    table, end, findings = _table(model, names, alignment)
    metadata, tokenizer = _metadata(model.metadata), model.tokenizer_block
    switches = _switches(source.hyperparameters)
    room = 256 + len(switches) + len(table) + len(metadata) + len(tokenizer) + 32
    head_size = room + -room % alignment
    header = _header(source.hyperparameters, max_seq_len)
    of_model = blake3(header + struct.pack("<I", alignment) + switches + table).digest()
    header += struct.pack("<I", alignment)
    header += struct.pack("<QQ", head_size + end, head_size)
    header += struct.pack("<IIII", len(metadata), len(model.metadata), len(names), 192)
    header += of_model + struct.pack("<Q", len(tokenizer)) + bytes(56)
    head = header + switches + table + metadata + tokenizer
    head += bytes(head_size - 32 - len(head))
    head += blake3(head).digest()
    found = bytes(content[:head_size])
    if head_size + end != len(content):
        findings.append(f"size: expected {head_size + end} bytes, found {len(content)}")
    if head != found:
        at = next((i for i, (a, b) in enumerate(zip(head, found, strict=False)) if a != b), len(found))
        findings.append(f"head: byte {at} differs from what the source, the storages and the tensors require")
    return findings + provenance_findings(model.metadata, source)


def _order(hyper: Hyperparameters) -> list[str]:
    """Return names in the order of the file: the embedding, the layers in the order of `shapes`, the rest."""
    first, last = ["tok_embeddings.weight"], ["norm.weight", "output.weight"]
    biased = {"qkv": hyper.qkv_bias, "wo": hyper.wo_bias, "mlp": hyper.mlp_bias}

    def with_bias(name: str, group: str) -> list[str]:
        return [f"{name}.weight"] + ([f"{name}.bias"] if biased[group] else [])

    def feed_forward(kind: LayerKind) -> list[str]:
        if not kind.experts:
            return [part for name in ("w1", "w2", "w3") for part in with_bias(f"feed_forward.{name}", "mlp")]
        experts = [
            f"feed_forward.experts.{expert}.{matrix}.weight"
            for expert in range(hyper.n_experts)
            for matrix in ("w1", "w2", "w3")
        ]
        return ["feed_forward.router.weight", *experts]

    before, after = hyper.norm_place in ("before", "both"), hyper.norm_place in ("after", "both")
    attention = [
        *(["attention_norm.weight"] if before else []),
        *(part for name in ("wq", "wk", "wv") for part in with_bias(f"attention.{name}", "qkv")),
        *([] if hyper.qk_norm == "none" else ["attention.q_norm.weight", "attention.k_norm.weight"]),
        *with_bias("attention.wo", "wo"),
        *(["attention_post_norm.weight"] if after else []),
        *(["ffn_norm.weight"] if before else []),
    ]
    end = ["ffn_post_norm.weight"] if after else []
    layers = [
        f"layers.{number}.{name}"
        for number in range(hyper.n_layers)
        for name in (*attention, *feed_forward(hyper.layer(number)), *end)
    ]
    return first + layers + (last[:1] if hyper.tied else last)


def _table(model: reader_c.Model, names: list[str], alignment: int) -> tuple[bytes, int, list[str]]:
    """Return (table, bytes of the payload, digests that differ in the file's own table)."""
    table, at, findings = b"", 0, []
    for name in names:
        how = model.storage(name)
        elements = 1
        for width in how.shape:
            elements *= width
        values = elements * _WIDTHS[how.storage]
        scales = 4 * elements // how.group_size if how.group_size else 0
        scales_at = at + values + -(at + values) % alignment if scales else 0
        last = scales_at + scales if scales else at + values
        extent = last + -last % alignment - at
        start = model.head_size + at
        digest = blake3(model.content[start : start + extent], max_threads=blake3.AUTO).digest()
        if digest.hex() != how.digest:
            findings.append(f"{name}: digest: expected {digest.hex()}, computed from its bytes, found {how.digest}")
        shape = [*how.shape, 0, 0, 0][:4]
        table += name.encode().ljust(64, b"\0")
        table += struct.pack("<II4Q", len(how.shape), _STORAGE_NUMBERS[how.storage], *shape)
        table += struct.pack("<IIQQQQ", how.group_size, 0, at, values, scales_at, scales)
        table += bytes(16) + digest
        at += extent
    return table, at, findings


def _header(hyper: Hyperparameters, max_seq_len: int) -> bytes:
    """Pack its first 124 bytes, which determine the logits."""
    h, s = hyper, hyper.rope_scaling
    flags = sum(bit for bit, is_set in ((1, h.tied), (2, h.qkv_bias), (4, h.wo_bias), (8, h.mlp_bias)) if is_set)
    return b"".join(
        (
            b"24ka",
            struct.pack("<i", 3),
            struct.pack("<4i", h.dim, h.hidden_dim, h.n_layers, h.n_heads),
            struct.pack("<3i", h.n_kv_heads, h.vocab_size, max_seq_len),
            struct.pack("<III", h.head_dim, flags, _ACTIVATION_NUMBERS[h.activation]),
            struct.pack("<dd", h.norm_eps, h.rope_theta),
            struct.pack("<IId", _SCALING_NUMBERS[s.type], s.original_max_positions, s.factor),
            struct.pack("<dd", s.low_freq_factor, s.high_freq_factor),
            struct.pack("<dd", s.beta_fast, s.beta_slow),
            struct.pack("<dI", s.attention_factor, int(s.truncate)),
        )
    )


def _switches(hyper: Hyperparameters) -> bytes:
    """Pack the architecture block, the layer table and RoPE's factors, bytes 256 up to the table of tensors."""
    h = hyper
    block = struct.pack(
        "<6I8d",
        {"before": 0, "after": 1, "both": 2}[h.norm_place],
        int(h.norm_plus_one),
        {"none": 0, "head": 1, "whole": 2}[h.qk_norm],
        h.rotary_dim or h.head_dim,
        h.window,
        h.query_scale_positions,
        h.embedding_scale,
        h.score_scale,
        h.residual_scale,
        h.logit_divisor,
        h.score_cap,
        h.logit_cap,
        h.query_scale_beta,
        h.local_theta,
    )
    block += struct.pack("<4I", h.n_experts, h.n_active_experts, h.expert_hidden_dim, int(h.experts_normalized))
    block += bytes(256 - len(block))
    for number in range(h.n_layers):
        kind = h.layer(number)
        of_rope = {"none": 0, "first": 1, "second": 2}[kind.rope]
        block += (kind.windowed + 2 * of_rope + 8 * kind.experts).to_bytes(4, "little")
    block += bytes(-len(block) % 64)
    for factor in h.rope_scaling.short_factors:
        block += struct.pack("<f", factor)
    return block + bytes(-len(block) % 64)


def _metadata(pairs: dict[str, str]) -> bytes:
    encoded = b""
    for key in sorted(pairs, key=str.encode):
        value = pairs[key].encode()
        encoded += len(key.encode()).to_bytes(4, "little") + len(value).to_bytes(4, "little") + key.encode() + value
    return encoded
