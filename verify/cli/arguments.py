"""Arguments that were given in the wrong order, recognised by how their files begin."""

from __future__ import annotations

import shlex
from pathlib import Path

from verify.cli.usage import PROGRAM
from verify.errors import CannotJudgeError

_MAGIC = b"24ka"
_CHECKPOINTS = {b"PK\x03\x04": "a checkpoint of torch.save", b"\x80\x02": "a checkpoint of torch.save"}


def expect_order(source: str, file: Path) -> None:
    """Raise CannotJudgeError if SOURCE is a .bin file and FILE is a checkpoint: the two were swapped."""
    found = _checkpoint(file)
    if found is not None and _is_bin(Path(source)):
        swapped = shlex.join([PROGRAM, "verify", str(file), source])
        raise CannotJudgeError(
            f"{source} {file}: expected SOURCE, then FILE, found a .bin file, then {found}: swapped? type `{swapped}`"
        )


def _begin(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(4)
    except OSError:
        return b""


def _is_bin(path: Path) -> bool:
    # v0 has no magic: its name has to do
    return path.is_file() and (_begin(path) == _MAGIC or (path.suffix == ".bin" and _checkpoint(path) is None))


def _checkpoint(path: Path) -> str | None:
    """Say which checkpoint stands at path; None for what may be judged."""
    if path.is_dir():
        return (
            "Meta's directory" if (path / "params.json").is_file() and not (path / "config.json").is_file() else None
        )
    begin = _begin(path)
    return next((name for magic, name in _CHECKPOINTS.items() if begin.startswith(magic)), None)
