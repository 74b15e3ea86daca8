"""Object files that are kept: who builds the reader again and again, with one source changed, compiles that one."""

from __future__ import annotations

import hashlib
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path


def objects(
    sources: Sequence[Path], include: Path, command: Sequence[str | Path], root: Path, kept: Path
) -> list[Path]:
    """Of each source. root: what they and the directory of their headers are below, where the command is run. kept: a
    directory, which several processes may share."""
    headers = [path.read_bytes() for path in sorted((root / include).glob("*.h"))]
    return [_object(source, headers, [*command, f"-I{include}"], root, kept) for source in sources]


def _object(source: Path, headers: list[bytes], command: list[str | Path], root: Path, kept: Path) -> Path:
    parts = [str(source).encode(), *(str(part).encode() for part in command), (root / source).read_bytes(), *headers]
    digest = hashlib.sha256(b"\0".join(parts)).hexdigest()
    made = kept / f"{digest}.o"
    if not made.exists():
        with tempfile.TemporaryDirectory(dir=kept) as own:
            part = Path(own) / made.name
            subprocess.run([*command, "-c", source, "-o", part], check=True, cwd=root)
            part.replace(made)
    return made
