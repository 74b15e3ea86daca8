"""exporter writes llama2.c-style .bin files from PyTorch checkpoints.

    checkpoint = exporter.open_checkpoint("model.pt")
    summary = exporter.export(checkpoint, "model.bin", format="v2", group_size=64)

It imports nothing of reader_c or verify: a verifier that shares code with the exporter would share its mistakes.
"""

from __future__ import annotations

from exporter.checkpoint import Checkpoint
from exporter.config import ModelConfig, RopeScaling
from exporter.errors import (
    CheckpointError,
    ExportError,
    FormatError,
    NotLastingError,
    WeightError,
    WriteError,
)
from exporter.formats.v3_storage import CHOICES as STORAGES
from exporter.quantize import Quantized, quantize_q80
from exporter.sources import KINDS as SOURCE_KINDS
from exporter.sources import open_checkpoint
from exporter.summary import ExportSummary, TensorSummary
from exporter.write import FORMATS, export

__all__ = [
    "FORMATS",
    "SOURCE_KINDS",
    "STORAGES",
    "Checkpoint",
    "CheckpointError",
    "ExportError",
    "ExportSummary",
    "FormatError",
    "ModelConfig",
    "NotLastingError",
    "Quantized",
    "RopeScaling",
    "TensorSummary",
    "WeightError",
    "WriteError",
    "export",
    "open_checkpoint",
    "quantize_q80",
]
