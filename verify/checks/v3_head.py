"""v3's head, put together here a second time: from the source, the storages, and the bytes themselves.

Deliberately shares nothing with the exporter's layout or the reader's: this one joins fields to bytes by name, one
after the other, and takes every digest of the mapped file again.
"""

from __future__ import annotations

import hashlib
import re
import struct
from pathlib import Path

from blake3 import blake3

import reader_c
from verify.sources import Hyperparameters, Source

_ALIGNMENT_AT = 124
_STORAGE_NUMBERS = {"fp32": 1, "fp16": 2, "bf16": 3, "q8_0": 8}
_WIDTHS = {"fp32": 4, "fp16": 2, "bf16": 2, "q8_0": 1}
_SCALING_NUMBERS = {"none": 0, "linear": 1, "dynamic": 2, "llama3": 3, "yarn": 4}
_ACTIVATION_NUMBERS = {"silu": 0, "gelu": 1, "gelu_tanh": 2}


def head_findings(model: reader_c.Model, source: Source, max_seq_len: int) -> list[str]:
    """What is wrong with the head and the digests; empty where nothing is."""
    content = model.content
    alignment = int.from_bytes(content[_ALIGNMENT_AT : _ALIGNMENT_AT + 4], "little")
    names = _order(source.hyperparameters)
    table, end, findings = _table(model, names, alignment)
    metadata = _metadata(model.metadata)
    room = 256 + len(table) + len(metadata) + 32
    head_size = room + -room % alignment
    header = _header(source.hyperparameters, max_seq_len)
    of_model = blake3(header + struct.pack("<I", alignment) + table).digest()
    header += struct.pack("<I", alignment)
    header += struct.pack("<QQ", head_size + end, head_size)
    header += struct.pack("<IIII", len(metadata), len(model.metadata), len(names), 192)
    header += of_model + bytes(64)
    head = header + table + metadata
    head += bytes(head_size - 32 - len(head))
    head += blake3(head).digest()
    found = bytes(content[:head_size])
    if head_size + end != len(content):
        findings.append(f"size: expected {head_size + end} bytes, found {len(content)}")
    if head != found:
        at = next((i for i, (a, b) in enumerate(zip(head, found, strict=False)) if a != b), len(found))
        findings.append(f"head: byte {at} is not what the source, the storages and the tensors make it")
    return findings + _provenance_findings(model.metadata, source)


def _order(hyper: Hyperparameters) -> list[str]:
    """Names in the order of the file: the embedding, the layers in the order of `shapes`, the rest."""
    first, last = ["tok_embeddings.weight"], ["norm.weight", "output.weight"]
    biased = {"qkv": hyper.qkv_bias, "wo": hyper.wo_bias, "mlp": hyper.mlp_bias}

    def with_bias(name: str, group: str) -> list[str]:
        return [f"{name}.weight"] + ([f"{name}.bias"] if biased[group] else [])

    layer = [
        "attention_norm.weight",
        *(part for name in ("wq", "wk", "wv") for part in with_bias(f"attention.{name}", "qkv")),
        *with_bias("attention.wo", "wo"),
        "ffn_norm.weight",
        *(part for name in ("w1", "w2", "w3") for part in with_bias(f"feed_forward.{name}", "mlp")),
    ]
    layers = [f"layers.{number}.{name}" for number in range(hyper.n_layers) for name in layer]
    return first + layers + (last[:1] if hyper.tied else last)


def _table(model: reader_c.Model, names: list[str], alignment: int) -> tuple[bytes, int, list[str]]:
    """(table, bytes of the payload, digests that the file's own table has otherwise)."""
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
            findings.append(f"{name}: digest: expected {digest.hex()}, as its bytes have it, found {how.digest}")
        shape = [*how.shape, 0, 0, 0][:4]
        table += name.encode().ljust(64, b"\0")
        table += struct.pack("<II4Q", len(how.shape), _STORAGE_NUMBERS[how.storage], *shape)
        table += struct.pack("<IIQQQQ", how.group_size, 0, at, values, scales_at, scales)
        table += bytes(16) + digest
        at += extent
    return table, at, findings


def _header(hyper: Hyperparameters, max_seq_len: int) -> bytes:
    """Its first 124 bytes: what decides the logits."""
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


def _metadata(pairs: dict[str, str]) -> bytes:
    encoded = b""
    for key in sorted(pairs, key=str.encode):
        value = pairs[key].encode()
        encoded += len(key.encode()).to_bytes(4, "little") + len(value).to_bytes(4, "little") + key.encode() + value
    return encoded


_KINDS = ("llama2c", "meta", "huggingface", "v3", "bin", "memory")
_LINE = re.compile(r"([0-9a-f]{64})  ([^\n]+)")


def _provenance_findings(metadata: dict[str, str], source: Source) -> list[str]:
    """What the file says of where it comes from and is not so. Of a source of the same kind: exactly its files; of
    another, which may hold the same weights: well-formed lines, and right ones for names that both have."""
    findings: list[str] = []
    kind = metadata.get("source.kind")
    if kind is None:
        stray = sorted(key for key in ("source.sha256", "tokenizer.sha256") if key in metadata)
        return [f"provenance: {key}: expected a source.kind beside it, found none" for key in stray]
    if kind not in _KINDS:
        findings.append(f"provenance: source.kind: expected one of {', '.join(_KINDS)}, found {kind!r}")
    said: dict[str, str] = {}
    *lines, rest = metadata.get("source.sha256", "").split("\n")
    if rest and _LINE.fullmatch(rest):
        findings.append(f"provenance: source.sha256: expected a line break at its end, found {rest!r}")
    for line in [*lines, rest] if rest else lines:
        match = _LINE.fullmatch(line)
        if match is None:
            findings.append(f"provenance: source.sha256: expected digest, two spaces and a name, found {line!r}")
        elif match[2] in said:
            findings.append(f"provenance: source.sha256: expected {match[2]!r} once, found it again")
        else:
            said[match[2]] = match[1]
    names = source.files.keys() | said.keys() if kind == source.kind else source.files.keys() & said.keys()
    for name in sorted(names):
        expected, found = source.files.get(name, "no such file"), said.get(name, "none")
        if expected != found:
            shown = name if name.isprintable() else repr(name)
            findings.append(f"provenance: {shown}: expected {expected}, found {found}")
    if kind == source.kind and "tokenizer.sha256" in metadata:
        findings += _tokenizer_findings(metadata["tokenizer.sha256"], source.tokenizer_path)
    return findings


def _tokenizer_findings(said: str, tokenizer: Path) -> list[str]:
    if not tokenizer.is_file():
        return []
    expected = f"{hashlib.sha256(tokenizer.read_bytes()).hexdigest()}  {tokenizer.name}\n"
    return [] if said == expected else [f"provenance: tokenizer.sha256: expected {expected!r}, found {said!r}"]
