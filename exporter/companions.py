"""Files beside a Hugging Face source's weights that an export to a directory carries along, byte for byte.

Without them the directory would have the model and neither its tokenizer nor the tokens at which it stops.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from exporter.errors import CheckpointError
from exporter.file_identity import Identity, identity, refuse_changed
from exporter.strict_json import read_object

_NAMES = (
    *("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.json", "merges.txt", "generation_config.json"),
)
_PATTERN = "chat_template.*"
_TOKEN_IDS = ("bos_token_id", "eos_token_id", "pad_token_id")
_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class Companions:
    """What a directory gets besides the model.

    files: with the identity that each had when the source was opened. token_ids: the fields of config.json that no
    weight depends on and that text generation reads; a missing one has the default of transformers.
    """

    files: Mapping[Path, Identity] = field(default_factory=dict)
    token_ids: Mapping[str, object] = field(default_factory=lambda: dict.fromkeys(_TOKEN_IDS))

    @property
    def bytes(self) -> int:
        """Return the size of all files together."""
        return sum(size for _, _, size, _, _ in self.files.values())


def find_companions(directory: Path) -> Companions:
    """Return the companions of a Hugging Face directory. Raises CheckpointError for a link that leads out of it."""
    paths = sorted({*(directory / name for name in _NAMES), *directory.glob(_PATTERN)})
    files = {}
    for path in paths:
        if path.is_file():
            _refuse_link_out(path)
            files[path] = identity(path)
    config = read_object(directory / "config.json")
    return Companions(files, {name: config[name] for name in _TOKEN_IDS if name in config})


def copy_companion(path: Path, opened: Identity, out: Path) -> str:
    """Copy one file, synced, and return its SHA-256. Raises CheckpointError where it was changed since."""
    digest = hashlib.sha256()
    refuse_changed(path, opened)
    with path.open("rb") as source, out.open("xb") as copy:
        while block := source.read(_BLOCK_BYTES):
            digest.update(block)
            copy.write(block)
        copy.flush()
        os.fsync(copy.fileno())
    refuse_changed(path, opened)
    return digest.hexdigest()


def _refuse_link_out(path: Path) -> None:
    """Refuse a link to a file elsewhere, which the export would publish; a hub's cache links to its own blobs."""
    root, target = path.parent.resolve(), path.resolve()
    if root.parent.name == "snapshots" and root.parent.parent.name.startswith("models--"):
        root = root.parent.parent
    if not target.is_relative_to(root):
        raise CheckpointError(
            f"{path}: expected a file in this directory, found a link out of it; replace the link by the file"
        )
