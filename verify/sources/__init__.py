"""Sources as the verifier reads them: with its own code, never the exporter's."""

from __future__ import annotations

import os
from pathlib import Path

from verify.errors import CannotJudgeError
from verify.sources.source import Hyperparameters, RopeScaling, Source

__all__ = ["KINDS", "Hyperparameters", "RopeScaling", "Source", "open_source"]

KINDS = ("llama2c", "meta", "huggingface", "v3")


def open_source(path: str | os.PathLike[str], kind: str | None = None, *, max_seq_len: int | None = None) -> Source:
    """Open a source of any known kind. max_seq_len: for Meta's, whose params.json need not say it.
    Raises CannotJudgeError."""
    if kind is not None and kind not in KINDS:
        raise CannotJudgeError(f"source kind: expected one of {', '.join(KINDS)}, found {kind!r}")
    text, path = os.fspath(path), Path(path)
    is_id = not path.exists() and text.count("/") == 1 and not text.startswith((".", "/", "~")) and text[-1] != "/"
    if is_id and kind in (None, "huggingface"):
        from verify.sources.hub import snapshot  # noqa: PLC0415

        path, kind = snapshot(text), "huggingface"
    match kind or _recognise(path):
        case "meta":
            from verify.sources.meta import MetaSource  # noqa: PLC0415

            return MetaSource(path, max_seq_len)
        case "huggingface":
            from verify.sources.huggingface import HuggingFaceSource  # noqa: PLC0415

            return HuggingFaceSource(path)
        case "v3":
            from verify.sources.v3 import V3Source  # noqa: PLC0415

            return V3Source(path)
    from verify.sources.llama2c import Llama2cSource  # noqa: PLC0415

    return Llama2cSource(path)


def _recognise(path: Path) -> str:
    """By what stands in a directory, or how a file begins."""
    if path.is_dir():
        kinds = {(True, False): "meta", (False, True): "huggingface"}
        telling = (path / "params.json").is_file(), (path / "config.json").is_file()
        if telling not in kinds:
            raise CannotJudgeError(f"{path}: expected one of params.json and config.json, found {sum(telling)}")
        return kinds[telling]
    if not path.is_file():
        raise CannotJudgeError(f"{path}: expected a checkpoint, a directory of one, or a hub id, found no such file")
    try:
        with path.open("rb") as file:
            return "v3" if file.read(4)[::-1] == b"ak42" else "llama2c"
    except OSError as error:
        raise CannotJudgeError(f"{path}: {(error.strerror or str(error)).lower()}") from error
