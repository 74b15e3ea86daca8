"""Hugging Face directories of Llama's family: config.json beside safetensors, or torch.save's .bin, in shards or one.

Two things differ from llama2.c besides the names. RoPE turns the first half of a head against the second, where
llama2.c turns neighbours, so the rows of wq and wk are put back in pairs. And config.json leaves out what
transformers has a default for.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.checkpoint import Checkpoint, Weights, check_names_and_shapes
from exporter.companions import find_companions
from exporter.config import ModelConfig, tensor_shapes
from exporter.errors import CheckpointError, WeightError
from exporter.file_identity import identity
from exporter.huggingface_names import hugging_face_name
from exporter.sources.huggingface_config import read_config
from exporter.sources.huggingface_files import WeightFiles

_EMBEDDING, _CLASSIFIER = "model.embed_tokens.weight", "lm_head.weight"

# RoPE's frequencies, which follow from the config; older versions of transformers saved them.
_BUFFER = re.compile(r"model\.layers\.(\d{1,9})\.self_attn\.rotary_emb\.inv_freq")

# What two tensors are compared by at a time.
_CHUNK_BYTES = 2**25


def open_huggingface(path: Path) -> Checkpoint:
    """Open a directory with config.json without reading a weight, except where a tied classifier must be compared.

    Raises CheckpointError.
    """
    try:
        return _open(path)
    except OSError as error:
        raise CheckpointError(f"{error.filename or path}: {(error.strerror or str(error)).lower()}") from error


def _open(path: Path) -> Checkpoint:
    config_path = path / "config.json"
    opened = identity(config_path)
    config = read_config(config_path)
    weights = WeightFiles(path)
    stored = {name: t.shape for name, t in weights.tensors.items() if not _is_buffer(name, config.n_layers)}
    if config.n_layers > len(stored):  # before as many names are made
        raise CheckpointError(
            f"{config_path}: num_hidden_layers: expected at most as many as there are tensors, "
            f"{len(stored)}, found {config.n_layers}"
        )
    if config.tied:
        _check_tied(path, weights, stored)
    elif _CLASSIFIER not in stored:
        raise CheckpointError(
            f"{path}: missing {_CLASSIFIER}, which config.json's tie_word_embeddings = false expects"
        )
    shapes = tensor_shapes(config)
    names = {canonical: hugging_face_name(canonical) for canonical in shapes}
    check_names_and_shapes(str(path), {names[canonical]: shape for canonical, shape in shapes.items()}, stored)

    def load(canonical: str) -> Weights:
        name = names[canonical]
        where = f"{weights.tensors[name].file}: {name}"
        return _in_pairs(canonical, _to_float32(where, weights.read(name)), config)

    tokenizers = [path / name for name in ("tokenizer.json", "tokenizer.model") if (path / name).is_file()]
    return Checkpoint(
        config,
        {canonical: stored[name] for canonical, name in names.items()},
        load,
        where=str(path),
        kind="huggingface",
        files=(config_path, *weights.files),
        opened={config_path: opened, **weights.opened},
        dtypes={canonical: weights.dtype(name) for canonical, name in names.items()},
        tokenizer=tokenizers[0] if tokenizers else None,
        companions=find_companions(path),
    )


def _is_buffer(name: str, n_layers: int) -> bool:
    match = _BUFFER.fullmatch(name)
    return match is not None and int(match[1]) < n_layers


def _in_pairs(canonical: str, array: Weights, config: ModelConfig) -> Weights:
    """wq and wk, weight and bias: in each head row 2i is row i of the first half, row 2i + 1 of the second."""
    heads = {"attention.wq": config.n_heads, "attention.wk": config.n_kv_heads}
    for module, count in heads.items():
        if f".{module}." in canonical:
            return array.reshape(count, 2, config.head_dim // 2, -1).swapaxes(1, 2).reshape(array.shape)
    return array


def _check_tied(path: Path, weights: WeightFiles, stored: dict[str, tuple[int, ...]]) -> None:
    """Where a tied classifier is stored all the same it is the embedding, bit by bit; it is taken out of stored."""
    shape = stored.pop(_CLASSIFIER, None)
    if shape is None or _EMBEDDING not in stored:
        return
    where = f"{path}: {_CLASSIFIER}: expected {_EMBEDDING} again, as config.json's tie_word_embeddings = true says"
    kind, found = (shape, weights.dtype(_CLASSIFIER)), (stored[_EMBEDDING], weights.dtype(_EMBEDDING))
    if kind != found or len(shape) != 2:
        raise CheckpointError(f"{where}, {found[0]} in {found[1]}, found {kind[0]} in {kind[1]}")
    step = max(1, _CHUNK_BYTES // (8 * max(1, shape[1])))
    for start in range(0, shape[0], step):
        a, b = (weights.read(name, slice(start, min(start + step, shape[0]))) for name in (_EMBEDDING, _CLASSIFIER))
        if a.tobytes() != b.tobytes():
            size = a.shape[1] * a.itemsize
            x, y = (np.ascontiguousarray(each).view(np.uint8).reshape(len(each), size) for each in (a, b))
            row = start + int(np.argwhere((x != y).any(axis=1))[0][0])
            raise CheckpointError(f"{where}, found other bits, in row {row} first")


def _to_float32(where: str, array: NDArray[Any]) -> Weights:
    """Exactly the same numbers as float32."""
    with np.errstate(over="ignore", invalid="ignore"):  # told below, and a NaN where it is written
        weights: Weights = np.ascontiguousarray(array, dtype=np.float32)
    if array.dtype == np.float64:
        differs = (weights != array) & ~np.isnan(array)
        if differs.any():
            index = tuple(int(i) for i in np.argwhere(differs)[0])
            raise WeightError(
                f"{where}{list(index)}: expected a value that float32 can hold, found {float(array[index])!r}", index
            )
    return weights
