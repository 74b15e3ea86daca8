"""Files beside a Hugging Face source's weights that an export to a directory carries along, byte for byte.

Without them the directory would have the model and neither its tokenizer nor the tokens at which it stops.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from exporter.file_identity import Identity, refuse_changed

TOKEN_IDS = ("bos_token_id", "eos_token_id", "pad_token_id")
_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class Companions:
    """What a directory gets besides the model.

    files: with the identity of each before it was read. token_ids: the fields of config.json that no
    weight depends on and that text generation reads; a missing one has the default of transformers.
    """

    files: Mapping[Path, Identity] = field(default_factory=dict)
    token_ids: Mapping[str, object] = field(default_factory=lambda: dict.fromkeys(TOKEN_IDS))

    @property
    def bytes(self) -> int:
        """Return the size of all files together."""
        return sum(size for _, _, size, _, _ in self.files.values())


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
