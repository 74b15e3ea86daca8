"""Find and read the files of a tokenizer, within bounds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from exporter.errors import CheckpointError, reason
from exporter.sources.source_files import check_file, check_named_file
from exporter.sources.tokenizers import checked_tokenizer_in
from exporter.strict_json import Json, read_object

# Gemma's tokenizer.json has 34 MB.
MOST_BYTES = 1 << 26
_BESIDE = ("qwen.tiktoken", "tokenizer.bin")


@dataclass(frozen=True)
class Files:
    """The tokenizer's own file, and access to those beside it.

    follow_links: also open links that lead out of the directory.
    """

    path: Path
    follow_links: bool = False

    def content(self) -> bytes:
        """Return the tokenizer's own bytes. Raises CheckpointError."""
        return _read(self.path)

    def object(self) -> Json:
        """Return the tokenizer's own JSON object. Raises CheckpointError."""
        return read_object(self.path, MOST_BYTES)

    def beside(self, name: str) -> Path | None:
        """Return the path of a file beside it, None where there is none. Raises CheckpointError for a wrong link."""
        path = self.path.with_name(name)
        if not path.exists():
            return None
        check_file(path, follow_links=self.follow_links)
        return path

    def object_beside(self, name: str) -> Json:
        """Return the JSON object of a file beside it, empty where there is no file. Raises CheckpointError."""
        path = self.beside(name)
        return {} if path is None else read_object(path, MOST_BYTES)

    def content_beside(self, name: str) -> bytes | None:
        """Return the bytes of a file beside it, None where there is no file. Raises CheckpointError."""
        path = self.beside(name)
        return None if path is None else _read(path)


def find(source: Path, *, follow_links: bool = False) -> Files:
    """Return the tokenizer that source is, or that stands in the directory source or beside the file of a model.

    Raises CheckpointError where there is none.
    """
    if source.is_dir():
        found = checked_tokenizer_in(source, follow_links=follow_links)
        beside = (source / name for name in _BESIDE if (source / name).is_file())
        path = found or next(beside, None)
        if path is None:
            raise CheckpointError(
                f"{source}: expected a tokenizer, found none of tokenizer.json, tokenizer.model, vocab.json with "
                "merges.txt, qwen.tiktoken and tokenizer.bin: give the tokenizer's file itself"
            )
        check_file(path, follow_links=follow_links)
        return Files(path, follow_links)
    if not source.exists():
        raise CheckpointError(f"{source}: no such file or directory")
    check_named_file(source)
    return Files(source, follow_links)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise CheckpointError(f"{path}: {reason(error)}") from error
    if len(content) > MOST_BYTES:
        raise CheckpointError(f"{path}: expected at most {MOST_BYTES} bytes, found more")
    return content
