"""Files of a directory with their digests, and whether they are still the same when a verdict ends."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path

from verify.errors import CannotJudgeError
from verify.sources.links import expect_followable

Identity = tuple[int, int, int, int, int]


class FileSet:
    """Some files of a directory. digests: name -> sha256. bytes: of all files together. Raises CannotJudgeError."""

    def __init__(self, directory: Path, names: Iterable[str] | None = None) -> None:
        """names: the files that count, of which some may be missing; None for all but hidden ones."""
        self.directory = directory
        self._counts: Callable[[str], bool] = _is_visible if names is None else set(names).__contains__
        self._identities = self._look()
        self.digests = {name: _sha256(directory / name) for name in self._identities}

    @property
    def bytes(self) -> int:
        return sum(size for _, _, size, _, _ in self._identities.values())

    @property
    def sha256(self) -> str:
        """Return the sha256 of the text that has "digest  name\\n" for each file, sorted by name."""
        lines = "".join(f"{digest}  {name}\n" for name, digest in self.digests.items())
        return hashlib.sha256(lines.encode()).hexdigest()

    def expect_unchanged(self) -> None:
        """Raise CannotJudgeError if a file was added, removed, replaced or written to."""
        now = self._look()
        for name in sorted(now.keys() | self._identities.keys()):
            same = now.get(name) == self._identities.get(name)
            # a clock's tick is long enough for two writes, so the bytes count as well
            if not same or _sha256(self.directory / name) != self.digests[name]:
                raise CannotJudgeError(f"{self.directory / name}: changed while it was being judged")

    def _look(self) -> dict[str, Identity]:
        try:
            with os.scandir(self.directory) as entries:
                found = sorted(entry.name for entry in entries if self._counts(entry.name) and not entry.is_dir())
            return {name: _identity(self.directory / name) for name in found}
        except OSError as error:
            where = error.filename or self.directory
            raise CannotJudgeError(f"{where}: {(error.strerror or str(error)).lower()}") from error


def _is_visible(name: str) -> bool:
    return not name.startswith(".")


def _identity(path: Path) -> Identity:
    """Return what changes when a file is written to or replaced. Raises CannotJudgeError for an odd one."""
    if not path.name.isprintable():
        raise CannotJudgeError(f"{path.parent}: expected printable names of files, found {path.name[:80]!a}")
    try:
        # a directory that somebody else made could otherwise have any file of the user's read
        expect_followable(path, follow_links=False)
    except CannotJudgeError:
        raise CannotJudgeError(
            f"{path}: expected a file in its directory, found a link out of it: replace the link by the file"
        ) from None
    found = path.stat()
    # a FIFO would be waited for, a device read without end
    if not path.is_file():
        raise CannotJudgeError(f"{path}: expected a file, found no regular file")
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise CannotJudgeError(f"{path}: {(error.strerror or str(error)).lower()}") from error
