"""Check `file`: header and tensors cover the file to the byte.

The header is decoded here a second time, and the size is computed from the model's parameters instead of its tensors,
so that this check also judges the reader's own parser.
"""

from __future__ import annotations

import struct

import reader_c
from verify.checks.provenance import describe_not_judged, not_judged
from verify.checks.result import CheckResult, exact
from verify.checks.v3_head import head_findings
from verify.sources import Hyperparameters, Source
from verify.tokenizers.block import BlockError, parse_block

_MAGIC = 0x616B3432
_AJC1_MAGIC = 0x616A6331


def check_file(model: reader_c.Model, source: Source, max_seq_len: int) -> CheckResult:
    """Check the layout; any finding fails."""
    if model.format == "v3":
        findings = head_findings(model, source, max_seq_len) + _block_findings(model)
        unproven = not_judged(model.metadata, source)
        if findings:
            return exact("file", len(findings), "; ".join(findings))
        detail = f"{len(model.names)} tensors cover {model.file_size} bytes, every bit covered by a correct digest"
        where = {"not_judged": unproven} if unproven else {}
        return exact("file", 0, detail + describe_not_judged(unproven), where)
    findings = _header_findings(model) + _size_findings(model, source.hyperparameters) + _gap_findings(model)
    if findings:
        return exact("file", len(findings), "; ".join(findings))
    return exact("file", 0, f"{len(model.names)} tensors cover {model.file_size} bytes without gap or overlap")


def _block_findings(model: reader_c.Model) -> list[str]:
    """Return the first rule of its format that a tokenizer block violates."""
    try:
        if model.tokenizer_block:
            parse_block(model.tokenizer_block, model.config.vocab_size)
    except BlockError as error:
        return [f"tokenizer block: {error}"]
    return []


def _header_bytes(model: reader_c.Model) -> int:
    return 28 if model.format == "v0" else 256


def _header_findings(model: reader_c.Model) -> list[str]:
    header = bytes(model.content[: _header_bytes(model)])
    c = model.config
    shape = [c.dim, c.hidden_dim, c.n_layers, c.n_heads, c.n_kv_heads, c.vocab_size, c.max_seq_len]
    if model.format == "ajc1":
        rest = c.head_dim, c.shared_classifier, c.group_size
        expected = struct.pack("<Ii10i", _AJC1_MAGIC, 1, *shape, *rest) + bytes(208)
    elif model.format == "v0":
        shape[5] = shape[5] if c.shared_classifier else -shape[5]
        expected = struct.pack("<7i", *shape)
    else:
        version = 2 if model.format == "v2" else 1
        expected = struct.pack("<Ii7i?i", _MAGIC, version, *shape, c.shared_classifier, c.group_size) + bytes(215)
    wrong = [at for at, (a, b) in enumerate(zip(expected, header, strict=False)) if a != b]
    if len(header) != len(expected) or wrong:
        return [f"header: byte {wrong[0] if wrong else len(header)} differs from what was read from it"]
    return []


def _size_findings(model: reader_c.Model, hyper: Hyperparameters) -> list[str]:
    s = hyper
    a_layer = 2 * s.dim * s.head_dim * (s.n_heads + s.n_kv_heads) + 3 * s.dim * s.hidden_dim
    matrices = s.n_layers * a_layer + s.vocab_size * s.dim * (1 if s.tied else 2)
    norms = (2 * s.n_layers + 1) * s.dim
    if model.format == "ajc1":
        norms += 2 * s.n_layers * s.head_dim
    group = model.config.group_size
    expected = _header_bytes(model) + 4 * norms + (matrices + 4 * matrices // group if group else 4 * matrices)
    if model.format == "v0":
        expected += 4 * model.config.max_seq_len * (s.dim // s.n_heads)
    found = len(model.content)
    return [] if expected == found else [f"size: expected {expected} bytes, found {found}"]


def _gap_findings(model: reader_c.Model) -> list[str]:
    at = _header_bytes(model)
    for span in sorted((s for name in model.names for s in model.spans(name)), key=lambda s: s.offset):
        if span.offset != at:
            return [f"{span.name} ({span.part}): expected at byte {at}, found at {span.offset}"]
        at += span.nbytes
    return [] if at == model.file_size else [f"last tensor: expected to end at byte {model.file_size}, found {at}"]
