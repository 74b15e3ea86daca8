"""Sources: one file a kind, and the function that tells them apart."""

from __future__ import annotations

import os
import re
from pathlib import Path

from exporter.checkpoint import Checkpoint
from exporter.errors import CheckpointError

KINDS = ("llama2c", "meta", "huggingface", "v3")

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_EXPECTED = "a llama2.c .pt, a v3 .bin, a directory of Meta's or Hugging Face's, or a hub id (org/name)"


def open_checkpoint(
    path: str | os.PathLike[str], kind: str | None = None, *, max_seq_len: int | None = None
) -> Checkpoint:
    """Open a checkpoint of any known kind; none of its weights is read yet.

    path: a llama2.c .pt, a v3 file, a directory with Meta's params.json or Hugging Face's config.json, or a hub id.
    kind: one of KINDS, found out by default. max_seq_len: for Meta's directories, whose params.json need not say it.
    Raises CheckpointError.
    """
    if kind is not None and kind not in KINDS:
        raise CheckpointError(f"source kind: expected one of {', '.join(KINDS)}, found {kind!r}")
    name, where = os.fspath(path), Path(path)
    # imported late: what a source is read with takes seconds to load
    if not where.exists() and kind in (None, "huggingface") and _HUB_ID.fullmatch(name):
        from exporter.sources.hub import download  # noqa: PLC0415

        where, kind = download(name), "huggingface"
    kind = kind or _detect(where)
    if kind == "meta":
        from exporter.sources.meta import open_meta  # noqa: PLC0415

        return open_meta(where, max_seq_len)
    if kind == "huggingface":
        from exporter.sources.huggingface import open_huggingface  # noqa: PLC0415

        return open_huggingface(where)
    if kind == "v3":
        from exporter.sources.v3 import open_v3  # noqa: PLC0415

        return open_v3(where)
    from exporter.sources.llama2c import open_llama2c  # noqa: PLC0415

    return open_llama2c(where)


def _detect(path: Path) -> str:
    if not path.exists():
        raise CheckpointError(f"{path}: expected {_EXPECTED}, found nothing there")
    if path.is_dir():
        telling = {"meta": "params.json", "huggingface": "config.json"}
        found = [kind for kind, name in telling.items() if (path / name).is_file()]
        if len(found) != 1:
            what = "both" if found else "neither"
            raise CheckpointError(f"{path}: expected either params.json or config.json in it, found {what}")
        return found[0]
    if not path.is_file():
        raise CheckpointError(f"{path}: expected {_EXPECTED}, found no regular file")
    try:
        with path.open("rb") as file:
            start = file.read(4)
    except OSError as error:
        raise CheckpointError(f"{path}: {(error.strerror or str(error)).lower()}") from error
    return "v3" if start == b"24ka" else "llama2c"
