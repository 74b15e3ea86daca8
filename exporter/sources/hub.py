"""Hugging Face's hub: a repository's files by its id, through huggingface_hub and its cache."""

from __future__ import annotations

from pathlib import Path

from exporter.errors import CheckpointError

# the model's config, and what a directory that is exported carries along
_ALWAYS = [
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
_SAFETENSORS = ["*.safetensors", "*.safetensors.index.json"]
_PICKLED = ["pytorch_model*.bin", "pytorch_model.bin.index.json"]
# A pattern's * crosses directories. consolidated.safetensors are the same weights again, in another layout.
_NEVER = ["*/*", "consolidated*"]


def download(hub_id: str) -> Path:
    """The directory of a model's newest revision, downloaded or from the cache. Raises CheckpointError.

    Offline where HF_HUB_OFFLINE says so. torch.save's .bin are only asked for where there are no safetensors.
    """
    try:
        import huggingface_hub  # noqa: PLC0415 - optional, and slow to load
        from huggingface_hub import errors  # noqa: PLC0415
    except ImportError as error:
        raise CheckpointError(
            f"{hub_id}: no such file or directory here, and no huggingface_hub to fetch it with: "
            "pip install 'export-and-verify[huggingface]'"
        ) from error

    def fetch(revision: str | None, patterns: list[str]) -> Path:
        return Path(
            huggingface_hub.snapshot_download(
                hub_id, revision=revision, allow_patterns=patterns, ignore_patterns=_NEVER
            )
        )

    try:
        path = fetch(None, _ALWAYS + _SAFETENSORS)
        if not any(file.suffix == ".safetensors" for file in path.iterdir()):
            # of the same revision, whatever has been pushed meanwhile
            path = fetch(path.name, _ALWAYS + _PICKLED)
    except errors.LocalEntryNotFoundError as error:
        why = "HF_HUB_OFFLINE is set" if huggingface_hub.constants.HF_HUB_OFFLINE else "the hub is out of reach"
        raise CheckpointError(
            f"{hub_id}: no such file or directory here: expected all of its files in the hub's cache, since {why}, "
            "found some missing or none there"
        ) from error
    except errors.GatedRepoError as error:
        raise CheckpointError(
            f"{hub_id}: no such file or directory here: expected access to the hub's, found a gated repository: "
            "hf auth login"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise CheckpointError(
            f"{hub_id}: no such file or directory here: expected a hub id, found no such repository, or a private one"
        ) from error
    except Exception as error:  # whatever the network is made of
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        raise CheckpointError(
            f"{hub_id}: no such file or directory here, and could not be fetched from the hub: {lines[0][:200]}"
        ) from error
    return path
