"""Sources as the verifier reads them: with its own code, never the exporter's."""

from __future__ import annotations

import os
from pathlib import Path

from verify.errors import CannotJudgeError
from verify.sources.llama2c import Llama2cSource
from verify.sources.source import Hyperparameters, Source

__all__ = ["Hyperparameters", "Source", "open_source"]


def open_source(path: str | os.PathLike[str]) -> Source:
    """Open a source of any known kind: today a llama2.c .pt. Raises CannotJudgeError."""
    path = Path(path)
    if not path.is_file():
        raise CannotJudgeError(f"{path}: expected a llama2.c checkpoint (.pt), found no such file")
    return Llama2cSource(path)
