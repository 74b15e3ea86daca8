"""Small models: configs, weights, and the files made of them. Needs no torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import exporter
from verify.testing import random_arrays as arrays

if TYPE_CHECKING:
    from verify.sources import Hyperparameters

Arrays = dict[str, np.ndarray]

LEGACY_FORMATS = ("v0", "v1", "v1-fp32", "v2")
BIN_FORMATS = (*LEGACY_FORMATS, "v3")

LLAMA_2_7B = exporter.ModelConfig(
    dim=4096,
    hidden_dim=11008,
    n_layers=32,
    n_heads=32,
    n_kv_heads=32,
    vocab_size=32000,
    max_seq_len=4096,
    tied=False,
)


def config(**changes: object) -> exporter.ModelConfig:
    """A toy whose counts all differ, so that a mix-up of two shows: three kv heads under six heads, a hidden
    width that 8 divides and 16 does not."""
    fields: dict[str, object] = {
        "dim": 48,
        "hidden_dim": 40,
        "n_layers": 2,
        "n_heads": 6,
        "n_kv_heads": 3,
        "vocab_size": 29,
        "max_seq_len": 33,
        "tied": False,
    }
    return exporter.ModelConfig(**{**fields, **changes})  # type: ignore[arg-type]


def hyperparameters(model: exporter.ModelConfig) -> Hyperparameters:
    """The verifier's description of the same model; its fields have the exporter's names."""
    from verify.sources import Hyperparameters, LayerKind, RopeScaling

    fields = {name: getattr(model, name) for name in Hyperparameters.__dataclass_fields__}
    fields["layers"] = tuple(LayerKind(**vars(layer)) for layer in model.layers)
    return Hyperparameters(**{**fields, "rope_scaling": RopeScaling(**vars(model.rope_scaling))})


def checkpoint(model: exporter.ModelConfig | None = None, seed: int = 0) -> exporter.Checkpoint:
    model = model or config()
    return exporter.Checkpoint.from_arrays(model, arrays(model, seed))


def toy_file(directory: Path, format_name: str, seed: int = 0, **changes: object) -> Path:
    """A small healthy file: group size 8."""
    path = directory / f"{format_name}.bin"
    exporter.export(checkpoint(config(**changes), seed), path, format=format_name, group_size=8, overwrite=True)
    return path


def same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    """Equal shape, type and bytes: 0.0 and -0.0 differ, a NaN equals itself."""
    return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()
