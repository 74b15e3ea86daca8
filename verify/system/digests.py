"""SHA-256 of files and of bytes in memory; a pulse for each block says how far it is."""

from __future__ import annotations

import hashlib
from pathlib import Path

from verify.system.pulse import HASHED, pulse

# Bytes hashed at a time.
_BLOCK = 1 << 20


def sha256_of_file(path: Path) -> str:
    """Return the digest of a file's bytes. Raises OSError."""
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while block := file.read(_BLOCK):
            digest.update(block)
            pulse(HASHED * len(block))
    return digest.hexdigest()


def sha256_of(content: memoryview) -> str:
    """Return the digest of bytes in memory."""
    digest = hashlib.sha256()
    for first in range(0, len(content), _BLOCK):
        block = content[first : first + _BLOCK]
        digest.update(block)
        pulse(HASHED * len(block))
    return digest.hexdigest()
