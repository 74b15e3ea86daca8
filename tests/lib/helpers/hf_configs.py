"""A config.json of a few keys, as the exporter reads it."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

import exporter
from exporter.sources.huggingface_config import read_config

SIZES = {
    "hidden_size": 64,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 32,
    "vocab_size": 29,
}


def read(kind: str = "llama", *, asked: int | None = None, **changes: Any) -> exporter.ModelConfig:
    """A config.json with the sizes alone, and changes."""
    return noted(kind, asked=asked, **changes)[0]


def noted(kind: str = "llama", *, asked: int | None = None, **changes: Any) -> tuple[exporter.ModelConfig, list[str]]:
    """The same, and what was noted."""
    silent = {"sliding_window": None} if kind == "mistral" else {}
    return _read(json.dumps({"model_type": kind, **SIZES, **silent, **changes}), asked)


def read_text(text: str | bytes) -> exporter.ModelConfig:
    return _read(text, None)[0]


def _read(text: str | bytes, asked: int | None) -> tuple[exporter.ModelConfig, list[str]]:
    with TemporaryDirectory() as directory:
        path = Path(directory) / "config.json"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        config, notes = read_config(path, asked)
        assert all(note.startswith("config.json: ") and "\n" not in note for note in notes)
        return config, [note.removeprefix("config.json: ") for note in notes]


def refused(message: str, kind: str = "llama", *, asked: int | None = None, **changes: Any) -> None:
    with pytest.raises(exporter.CheckpointError, match=message) as caught:
        read(kind, asked=asked, **changes)
    assert "\n" not in str(caught.value)
    assert "config.json: " in str(caught.value)
