"""Arguments that are not what a command takes: swapped, of another kind, or damaged; with what to type instead."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from verify.cli.usage import PROGRAM
from verify.errors import CannotJudgeError

if TYPE_CHECKING:
    from reader_c import ReaderError

_MAGICS = (b"24ka", b"1cja")
# the parameters of the reader that are options of a command
_OPTIONS = ("temperature", "top_p", "seed", "steps", "threads")
# what the reader misses where a file has no Q8_0 tensors
_OF_Q8 = "group_size (q8 "
_CHECKPOINTS = {b"PK\x03\x04": "a checkpoint of torch.save", b"\x80\x02": "a checkpoint of torch.save"}


def expect_order(source: str, file: Path, command: str = "verify") -> None:
    """Raise CannotJudgeError if SOURCE is a .bin file and FILE is a checkpoint: the two were swapped in a command."""
    found = _checkpoint(file)
    if found is not None and _is_bin(Path(source)):
        swapped = shlex.join([PROGRAM, command, str(file), source])
        raise CannotJudgeError(
            f"{source} {file}: expected SOURCE, then FILE, found a .bin file, then {found}: swapped? type `{swapped}`"
        )


@contextmanager
def explaining(path: Path, by_source: Callable[[ReaderError], ReaderError | None] | None = None) -> Iterator[None]:
    """Say what a file is that the reader refuses in the block, where that is known, and what to do.

    by_source: explains an error by the file's source, where that is at hand.
    """
    import reader_c  # noqa: PLC0415

    try:
        yield
    except reader_c.ReaderError as error:
        if error.where != str(path):
            raise
        if found := _other_kind(path):
            raise CannotJudgeError(f"{path}: FILE: expected a .bin file, found {found}") from error
        if explained := by_source and by_source(error):
            raise explained from error
        if error.field == "file size":
            raise CannotJudgeError(f"{error}: copy or export it again") from error
        raise


@contextmanager
def naming_options() -> Iterator[None]:
    """Name the option where the reader refuses its value in the block; the reader knows it as a parameter."""
    import reader_c  # noqa: PLC0415

    try:
        yield
    except reader_c.ArgumentError as error:
        if error.field.startswith(_OF_Q8):
            raise CannotJudgeError(
                f"{error.where}: --activations: expected fp32, because FILE has no Q8_0 tensors, found q8"
            ) from error
        if error.field not in _OPTIONS:
            raise
        option = f"--{error.field.replace('_', '-')}"
        raise CannotJudgeError(f"{option}: expected {error.expected}, found {error.found}") from error


def _other_kind(path: Path) -> str | None:
    """Say what a file is that is no .bin file, and what to do with it."""
    if path.is_dir() and (path / "config.json").is_file():
        return f"a directory: {_exporting(path)}"
    if not path.is_file() or _begin(path) in _MAGICS:
        return None
    if kind := _checkpoint(path):
        return f"{kind}: {_exporting(path)}"
    # PyTorch comes with it, so it is imported only now
    from verify.sources.known_files import BEGINNING, other_file  # noqa: PLC0415

    with path.open("rb") as file:
        known = other_file(path, file.read(BEGINNING), path.stat().st_size)
    return None if known is None or path.suffix == ".bin" else f"{known[0]}: give the file that was exported"


def _exporting(path: Path) -> str:
    export = shlex.join([PROGRAM, "export", str(path), "model.bin", "--format", "v3"])
    return f"export it first: `{export}`"


def _begin(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(4)
    except OSError:
        return b""


def _is_bin(path: Path) -> bool:
    # v0 has no magic: its name has to do
    return path.is_file() and (_begin(path) in _MAGICS or (path.suffix == ".bin" and _checkpoint(path) is None))


def _checkpoint(path: Path) -> str | None:
    """Say which checkpoint stands at path; None for what may be judged."""
    if path.is_dir():
        of_meta = (path / "params.json").is_file() and not (path / "config.json").is_file()
        return "Meta's directory" if of_meta else None
    begin = _begin(path)
    return next((name for magic, name in _CHECKPOINTS.items() if begin.startswith(magic)), None)
