"""Object files that are kept: who builds the reader again and again, with one source changed, compiles that one."""

from __future__ import annotations

import hashlib
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path


def objects(sources: Sequence[Path], command: Sequence[str | Path], root: Path, kept: Path) -> list[Path]:
    """Of each source, below root, where the command is run as well. kept: a directory, which several processes may
    share; the headers beside a source are all that it depends on."""
    return [_object(source, command, root, kept) for source in sources]


def _object(source: Path, command: Sequence[str | Path], root: Path, kept: Path) -> Path:
    headers = sorted((root / source).parent.glob("*.h"))
    read = [path.read_bytes() for path in (root / source, *headers)]
    parts = [str(source).encode(), *(str(part).encode() for part in command), *read]
    digest = hashlib.sha256(b"\0".join(parts)).hexdigest()
    made = kept / f"{digest}.o"
    if not made.exists():
        with tempfile.TemporaryDirectory(dir=kept) as own:
            part = Path(own) / made.name
            subprocess.run([*command, "-c", source, "-o", part], check=True, cwd=root, capture_output=True, text=True)
            part.replace(made)
    return made
