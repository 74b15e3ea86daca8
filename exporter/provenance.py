"""Where a file's weights come from: digests of the source's files, taken while the payload is written."""

from __future__ import annotations

import hashlib
from concurrent.futures import Future, ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from types import TracebackType

from exporter.checkpoint import Checkpoint
from exporter.errors import CheckpointError

_UNKNOWN = "0" * 64


class Provenance:
    """Metadata of a v3 file. The text's length is known before the digests are, so that the layout need not wait.

    Use as a context manager: leaving it ends the thread that hashes.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._kind, self._files, self._tokenizer = checkpoint.kind, checkpoint.files, checkpoint.tokenizer
        self._pool = ThreadPoolExecutor(max_workers=1)
        for path in self._files:
            if not path.name.isprintable() or path.name.encode(errors="replace").decode() != path.name:
                raise CheckpointError(
                    f"{path!r}: expected a printable name to write into the file's provenance, found another; "
                    "--no-provenance (provenance=False) leaves it out"
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
        """As metadata() will be, with zeros for digests."""
        return self._text(dict.fromkeys(self._digests, _UNKNOWN))

    def metadata(self) -> dict[str, str]:
        """Waits for the digests. Raises CheckpointError where a file cannot be read."""
        return self._text({path: future.result() for path, future in self._digests.items()})

    def _text(self, digests: dict[Path, str]) -> dict[str, str]:
        text = {"exporter": f"export-and-verify {metadata.version('export-and-verify')}", "source.kind": self._kind}
        if self._files:
            text["source.sha256"] = "".join(f"{digests[path]}  {path.name}\n" for path in self._files)
        if self._tokenizer:
            text["tokenizer.sha256"] = f"{digests[self._tokenizer]}  {self._tokenizer.name}\n"
        return text


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise CheckpointError(f"{path}: {(error.strerror or str(error)).lower()}") from error
