"""Models by their hub id, through huggingface_hub: its cache, its offline mode, its credentials."""

from __future__ import annotations

from pathlib import Path

from exporter.errors import CheckpointError

_READ = ["config.json", "*.safetensors", "*.safetensors.index.json", "tokenizer.json", "tokenizer.model"]
_PICKLED = ["pytorch_model*.bin", "pytorch_model*.bin.index.json"]


def download(hub_id: str) -> Path:
    """The directory of a model's current revision, downloaded where the cache lacks it. Raises CheckpointError."""
    try:
        from huggingface_hub import snapshot_download  # noqa: PLC0415  # an optional package
    except ImportError as error:
        raise CheckpointError(
            f"{hub_id}: expected a path, or huggingface_hub to fetch it with, found neither: "
            "pip install export-and-verify[huggingface]"
        ) from error
    try:
        directory = Path(snapshot_download(hub_id, allow_patterns=_READ))
        # pickles only where there is nothing else
        if not any(directory.glob("*.safetensors")):
            directory = Path(snapshot_download(hub_id, allow_patterns=[*_READ, *_PICKLED]))
    except Exception as error:  # its errors, and those of what it is built on, have no common class
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise CheckpointError(f"{hub_id}: expected a model on the hub or in its cache, found: {reason}") from error
    return directory
