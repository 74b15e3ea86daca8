"""Reads .bin files of llama2.c (v0, v1 and v2) and of qwen3.c (ajc1) as sources, to convert them to other formats."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch

from verify.errors import CannotJudgeError
from verify.sources.ajc1 import is_ajc1, layout_ajc1
from verify.sources.bin_layout import (
    FULL_HEADER,
    HEADER_V0,
    HEADER_V1,
    MAGIC,
    Layout,
    layout_v0,
    layout_v1,
    layout_v2,
    model_of,
    parameters,
    size_of_q8,
    size_of_v0,
    v0_model,
)
from verify.sources.directory import expect_no_pointer
from verify.sources.finite import expect_finite
from verify.sources.old_buffers import check_rotations
from verify.sources.refusal import refusal
from verify.sources.row_order import heads_in, paired
from verify.sources.source import Source
from verify.sources.tokenizer_place import tokenizer_beside
from verify.sources.torch_files import sha256
from verify.sources.unchanged_files import UnchangedFiles

_COUNTS = "dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size, max_seq_len"


class BinSource(Source):
    """One file. Its weights are read when asked for; those of Q8_0 are q * scale, rounded once to float32."""

    kind = "bin"

    def __init__(self, path: Path) -> None:
        self.path = path
        self._opened = UnchangedFiles(path)
        expect_no_pointer(path)
        self.files = {path.name: sha256(path)}
        self._layout = _layout(path)
        self.hyperparameters = self._layout.model
        for name in self._layout.tables:
            self._check_table(name)
        if self._layout.group_size:
            self.notes = (f"the source is itself quantized (Q8_0, groups of {self._layout.group_size})",)
        self.expect_unchanged()

    def expect_unchanged(self) -> None:
        self._opened.expect_unchanged()

    @property
    def tokenizer_path(self) -> Path:
        return tokenizer_beside(self.path.parent)

    def dtype(self, name: str) -> str:  # noqa: ARG002  # of every tensor
        return "fp32"

    def tensor(self, name: str) -> torch.Tensor:
        self.expect_unchanged()
        held = "tok_embeddings.weight" if name == "output.weight" and self.hyperparameters.tied else name
        shape = self.hyperparameters.shapes()[held]
        elements, at = math.prod(shape), self._layout.numbers[held]
        if held not in self._layout.scales:
            tensor = self._read(at, elements, np.dtype("<f4"))
            expect_finite(self.path, held, tensor.view(shape))
            return self._in_pairs(held, tensor.view(shape))
        scales = self._read(self._layout.scales[held], elements // self._layout.group_size, np.dtype("<f4"))
        expect_finite(self.path, f"{held}: scales", scales)
        steps = self._read(at, elements, np.dtype("i1")).to(torch.float32)
        return self._in_pairs(held, (steps.view(len(scales), -1) * scales.unsqueeze(1)).view(shape))

    def _in_pairs(self, name: str, tensor: torch.Tensor) -> torch.Tensor:
        hyper = self.hyperparameters
        heads = heads_in(name, hyper.n_heads, hyper.n_kv_heads) if self._layout.halved else 0
        return tensor[paired(heads, hyper.head_dim)] if heads else tensor

    def _read(self, offset: int, count: int, dtype: np.dtype[np.generic]) -> torch.Tensor:
        found = np.fromfile(self.path, dtype, count, offset=offset)
        if len(found) != count:
            raise CannotJudgeError(f"{self.path}: changed while it was being read")
        return torch.from_numpy(found)

    def _check_table(self, name: str) -> None:
        model = self.hyperparameters
        count = model.max_seq_len * (model.head_dim // 2)
        table = self._read(self._layout.tables[name], count, np.dtype("<f4"))
        check_rotations(self.path, name, table.view(model.max_seq_len, -1), model)


def _layout(path: Path) -> Layout:
    with path.open("rb") as file:
        header = file.read(FULL_HEADER)
    size = path.stat().st_size
    if is_ajc1(header):
        return layout_ajc1(path, header, size)
    if header[:4] != MAGIC.to_bytes(4, "little"):
        model = v0_model(header)
        if model is None:
            found = str(HEADER_V0.unpack_from(header)) if len(header) >= HEADER_V0.size else f"{len(header)} bytes"
            raise refusal(path, "header", f"the counts of a Llama ({_COUNTS})", found)
        _check_file_size(path, size_of_v0(model), size)
        return layout_v0(model)
    if len(header) < FULL_HEADER:
        raise refusal(path, "header", f"{FULL_HEADER} bytes", len(header))
    _, version, *counts, shared, group_size = HEADER_V1.unpack_from(header)
    if version not in (1, 2):
        raise refusal(path, "version", "1 or 2", version)
    if shared not in (0, 1):
        raise refusal(path, "shared_classifier", "0 or 1", shared)
    if any(header[HEADER_V1.size :]):
        raise refusal(path, "header", "zeros behind its fields", "other bytes")
    model = model_of(tuple(counts), shared=bool(shared))
    if model is None:
        raise refusal(path, "header", f"the counts of a Llama ({_COUNTS})", tuple(counts))
    if version == 1 and group_size == 0:
        _check_file_size(path, FULL_HEADER + 4 * parameters(model), size)
        return layout_v1(model, 0)
    if group_size < 1 or model.dim % group_size or model.hidden_dim % group_size:
        raise refusal(path, "group_size", f"a divisor of {model.dim} and {model.hidden_dim}", group_size)
    _check_file_size(path, size_of_q8(model, group_size), size)
    return layout_v1(model, group_size) if version == 1 else layout_v2(model, group_size)


def _check_file_size(path: Path, expected: int, found: int) -> None:
    if expected != found:
        raise refusal(path, "size", f"{expected} bytes, by its header", f"{found} bytes")
