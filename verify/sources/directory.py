"""Opens the files of a source's directory, and of a source that is one file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from verify.errors import CannotJudgeError
from verify.sources.links import expect_followable
from verify.sources.tokenizer_place import names_read_with, tokenizer_beside
from verify.sources.torch_files import sha256
from verify.sources.unchanged_files import UnchangedFiles
from verify.system.reading import read_hashed

# Of JSON. Indexes of the largest models have some hundred thousand entries of a hundred bytes.
_MOST_BYTES = 10 * 1000 * 1000

_LFS_POINTER = b"version https://git-lfs.github.com/spec/"
_LONGEST_POINTER = 1024


class SourceDirectory:
    """Reads files beside each other. digests: name -> sha256 of each file that was read. Every error is a
    CannotJudgeError."""

    def __init__(self, path: Path, *, follow_links: bool = False) -> None:
        self.path, self.follow_links = path, follow_links
        self.digests: dict[str, str] = {}
        self._opened = UnchangedFiles()

    def has(self, name: str) -> bool:
        """Whether a file of that name is there, or a link that leads to one."""
        return (self.path / name).is_file()

    def followable(self, name: str) -> Path:
        """Return the path of a file that is read elsewhere, and that need not exist; refuse a link out of here."""
        path = self.path / name
        expect_followable(path, follow_links=self.follow_links)
        return path

    def tokenizer(self) -> Path:
        """Return where the tokenizer is; refuse a link out of here for any file that is read with it."""
        tokenizer = tokenizer_beside(self.path)
        for name in names_read_with(tokenizer):
            self.followable(name)
        return tokenizer

    def note(self, name: str) -> Path:
        """Return a file's path once it is known to be a regular file that may be read, and remember which one."""
        path = self.path / name
        # a FIFO would be waited for, a device read without end
        if path.exists() and not path.is_file():
            raise CannotJudgeError(f"{path}: expected a file, found no regular file")
        expect_followable(path, follow_links=self.follow_links)
        self._opened.note(path)
        expect_no_pointer(path)
        return path

    def read_json(self, name: str) -> dict[str, Any]:
        """Return the object in a JSON file that decides what the weights mean."""
        said, self.digests[name] = read_hashed(self.note(name), _MOST_BYTES)
        return said

    def take(self, name: str) -> Path:
        """Note a file of weights, and digest it."""
        path = self.note(name)
        self.digests[name] = sha256(path)
        return path

    def expect_unchanged(self) -> None:
        """Raise where a file that was noted has changed since."""
        self._opened.expect_unchanged()


def expect_no_pointer(path: Path) -> None:
    """Raise CannotJudgeError where Git LFS left its pointer in place of a file."""
    try:
        with path.open("rb") as file:
            beginning = file.read(_LONGEST_POINTER)
    except OSError as error:
        raise CannotJudgeError(f"{path}: {(error.strerror or str(error)).lower()}") from error
    if beginning.startswith(_LFS_POINTER):
        raise CannotJudgeError(f"{path}: expected the file itself, found a Git LFS pointer to it: run git lfs pull")
