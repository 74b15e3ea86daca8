"""Record which source a v3 file comes from: digests of its files, computed while the payload is written."""

from __future__ import annotations

import hashlib
from concurrent.futures import Future, ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from types import TracebackType

from exporter.checkpoint import Checkpoint
from exporter.errors import CheckpointError, reason

_UNKNOWN = "0" * 64


class Provenance:
    """The metadata of a v3 file that names its source. Use it as a context manager, which ends the hashing thread.

    The length of the metadata is known before the digests, so that the layout does not wait for them. Raises
    CheckpointError where a file's name is not printable.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._kind, self._files, self._tokenizer = checkpoint.kind, checkpoint.files, checkpoint.tokenizer
        self._pool = ThreadPoolExecutor(max_workers=1)
        for path in self._files:
            if not path.name.isprintable() or path.name.encode(errors="replace").decode() != path.name:
                raise CheckpointError(
                    f"{path!r}: expected a printable name to write into the file's provenance, found another; "
                    "--no-provenance (provenance=False) omits it"
                )
        paths = [*self._files, *([self._tokenizer] if self._tokenizer else [])]
        self._digests: dict[Path, Future[str]] = {path: self._pool.submit(_sha256, path) for path in paths}

    def __enter__(self) -> Provenance:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=error is None, cancel_futures=True)

    def placeholder(self) -> dict[str, str]:
        """Return metadata of the same length as metadata(), with zeros as digests."""
        return self._text(dict.fromkeys(self._digests, _UNKNOWN))

    def metadata(self) -> dict[str, str]:
        """Wait for the digests and return the metadata, key to value. Raises CheckpointError."""
        return self._text({path: future.result() for path, future in self._digests.items()})

    def _text(self, digests: dict[Path, str]) -> dict[str, str]:
        text = {"exporter": f"export-and-verify {metadata.version('export-and-verify')}", "source.kind": self._kind}
        if self._files:
            text["source.sha256"] = "".join(f"{digests[path]}  {self._name(path)}\n" for path in self._files)
        if self._tokenizer:
            text["tokenizer.sha256"] = f"{digests[self._tokenizer]}  {self._tokenizer.name}\n"
        return text

    def _name(self, path: Path) -> str:
        """Return a file's name, which tells the files of an adapter from those of its base model."""
        return path.name if path.parent == self._files[0].parent else f"adapter/{path.name}"


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise CheckpointError(f"{path}: {reason(error)}") from error
