"""Models without a defect, exported and judged: what must never be blamed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import exporter
from helpers.defects.judging import judge, save_source
from helpers.defects.kinds import GROUP_SIZE
from helpers.defects.outcome import Outcome
from helpers.models import arrays

# Of v3; the last one mixes them within a model.
STORAGES: tuple[Any, ...] = (
    "source",
    "fp32",
    "fp16",
    "bf16",
    "q8_0",
    {"*": "q8_0", "layers.0.*": "fp32", "*.wq.*": "bf16"},
)


def judged(model: exporter.ModelConfig, options: Mapping[str, Any], seed: int, directory: Path) -> Outcome:
    """options: format and storage as export() takes them. directory is written to."""
    weights = arrays(model, seed)
    path = directory / "healthy.bin"
    checkpoint = exporter.Checkpoint.from_arrays(model, weights)
    exporter.export(checkpoint, path, group_size=GROUP_SIZE, overwrite=True, **options)
    return judge(save_source(directory, model, weights), path, min(16, model.max_seq_len - 1))
