"""exporter writes llama2.c-style .bin files from PyTorch checkpoints.

    summary = exporter.export("model.pt", "model.bin", format="v2", group_size=64)

It imports nothing of reader_c or verify: a verifier that shares code with the exporter would share its mistakes.
"""

from __future__ import annotations

from importlib import metadata
from typing import TYPE_CHECKING

from exporter.checkpoint import Checkpoint
from exporter.config import ModelConfig
from exporter.errors import (
    CheckpointError,
    ExportError,
    FormatError,
    NotLastingError,
    UnknownTensorError,
    WeightError,
    WriteError,
)
from exporter.formats.v3_storage import CHOICES as STORAGES
from exporter.quantize import Quantized, quantize_q80
from exporter.rope_scaling import RopeScaling
from exporter.sources import KINDS as SOURCE_KINDS
from exporter.sources import open_checkpoint
from exporter.summary import ExportSummary, TensorSummary
from exporter.switches import LayerKind
from exporter.tokenizers.export import FORMATS as TOKENIZER_FORMATS
from exporter.tokenizers.export import TokenizerSummary, export_tokenizer
from exporter.write import FORMATS, export

if TYPE_CHECKING:
    __version__: str

__all__ = [
    "FORMATS",
    "SOURCE_KINDS",
    "STORAGES",
    "TOKENIZER_FORMATS",
    "Checkpoint",
    "CheckpointError",
    "ExportError",
    "ExportSummary",
    "FormatError",
    "LayerKind",
    "ModelConfig",
    "NotLastingError",
    "Quantized",
    "RopeScaling",
    "TensorSummary",
    "TokenizerSummary",
    "UnknownTensorError",
    "WeightError",
    "WriteError",
    "__version__",
    "export",
    "export_tokenizer",
    "open_checkpoint",
    "quantize_q80",
]


def __getattr__(name: str) -> str:
    """Look the version up where somebody asks for it."""
    if name == "__version__":
        return metadata.version("export-and-verify")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
