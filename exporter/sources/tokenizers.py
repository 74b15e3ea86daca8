"""Where the tokenizer of a source is."""

from __future__ import annotations

from pathlib import Path

from exporter.sources.source_files import check_file

# In the order in which they are preferred where there are several.
_FORMATS = (("tokenizer.json",), ("tokenizer.model",), ("vocab.json", "merges.txt"))


def tokenizer_in(directory: Path) -> Path | None:
    """Return the file of a directory's tokenizer, the first one of a format of several; None where there is none."""
    files = _files(directory)
    return files[0] if files else None


def checked_tokenizer_in(directory: Path, *, follow_links: bool) -> Path | None:
    """Return the same. Raises CheckpointError where a file of the tokenizer is a link out of the directory."""
    for path in _files(directory):
        check_file(path, follow_links=follow_links)
    return tokenizer_in(directory)


def _files(directory: Path) -> list[Path]:
    for names in _FORMATS:
        paths = [directory / name for name in names]
        if all(path.is_file() for path in paths):
            return paths
    return []
