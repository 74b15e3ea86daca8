"""Digests are hashlib's, with a pulse for each block."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from verify.system.digests import sha256_of, sha256_of_file
from verify.system.pulse import HASHED, heard_by


@pytest.mark.parametrize("size", [0, 1, 6, 7, 8, 100])
def test_every_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr("verify.system.digests._BLOCK", 7)
    content = bytes(range(size))
    (tmp_path / "file").write_bytes(content)
    for digest, given in ((sha256_of, memoryview(content)), (sha256_of_file, tmp_path / "file")):
        heard = list[float]()
        with heard_by(heard.append):
            assert digest(given) == hashlib.sha256(content).hexdigest()  # type: ignore[operator]
        assert sum(heard) == HASHED * size
        assert len(heard) == -(-size // 7)
