"""Fetches a model by its id on the Hugging Face hub, as a directory of the local cache."""

from __future__ import annotations

from pathlib import Path

from verify.errors import CannotJudgeError
from verify.system.optional_imports import one_line, quiet_hub

# What says how the model and its text are read, and what a Hugging Face directory made of it must have too.
_SETTINGS = [
    *(
        "config.json",
        "tokenizer.json",
        "tokenizer.model",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "added_tokens.json",
    ),
    *("vocab.json", "merges.txt", "tekken.json", "*.tiktoken", "generation_config.json", "chat_template.*"),
]
_SAFETENSORS = ["model*.safetensors", "model.safetensors.index.json"]
_PICKLED = ["pytorch_model*.bin", "pytorch_model.bin.index.json"]


def snapshot(hub_id: str) -> Path:
    """Return the directory of a model "owner/name", downloaded unless it is in the cache or HF_HUB_OFFLINE is set.
    Pickled weights are only asked for where there are no safetensors. Raises CannotJudgeError."""
    with quiet_hub() as hub:
        try:
            directory = Path(hub.snapshot_download(hub_id, allow_patterns=_SETTINGS + _SAFETENSORS))
            if not any(directory.glob("model*.safetensors")):
                directory = Path(hub.snapshot_download(hub_id, allow_patterns=_SETTINGS + _PICKLED))
        except Exception as error:  # of the hub, of the network, of the cache's file system
            raise CannotJudgeError(
                f"{hub_id}: expected a path or a model on the Hugging Face hub, found no such file or directory "
                f"here, and on the hub: {one_line(error)}"
            ) from error
    return directory
