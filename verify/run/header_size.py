"""Explain a file whose size does not fit its header, by the header values of its source.

The sizes are the verifier's own arithmetic. Only llama2.c's formats are explained: every value of a v3 header is
covered by a digest.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

import reader_c
from verify.errors import CannotJudgeError
from verify.run.options import StrPath
from verify.sources import Hyperparameters, Source, open_source
from verify.sources.bin_layout import (
    FULL_HEADER,
    HEADER_V1,
    MAGIC,
    model_of,
    parameters,
    size_of_q8,
    size_of_v0,
    v0_model,
)

_COUNTS = ("dim", "hidden_dim", "n_layers", "n_heads", "n_kv_heads", "vocab_size", "max_seq_len")


@dataclass(frozen=True)
class _Header:
    """Holds what a header says. group_size: 0 in v0 and in v1 of float32. has_tables: whether it is v0's."""

    model: Hyperparameters
    group_size: int
    has_tables: bool

    def size(self, model: Hyperparameters) -> int:
        """Return the bytes of a file of this format with another model."""
        if self.has_tables:
            return size_of_v0(model)
        return size_of_q8(model, self.group_size) if self.group_size else FULL_HEADER + 4 * parameters(model)

    def mixed(self, fields: tuple[str, ...], other: Hyperparameters) -> Hyperparameters | None:
        """Return the header's model with these fields from another; None if the format has no such model."""
        counts = tuple(getattr(other if name in fields else self.model, name) for name in _COUNTS)
        return model_of(counts, shared=(other if "tied" in fields else self.model).tied)


def with_explained_size(
    error: reader_c.ReaderError, path: StrPath, source: Callable[[], Source]
) -> reader_c.InvalidFileError | None:
    """Return the reader's error with the reason for the size that it found; None if the source gives none.

    source: opens the source; it is not called for other errors.
    """
    if error.field != "file size" or error.where != os.fspath(path):
        return None
    try:
        with Path(path).open("rb") as file:
            header, size = _header(file.read(FULL_HEADER)), os.fstat(file.fileno()).st_size
        explained = None if header is None else _explanation(header, size, source().hyperparameters)
    except (OSError, CannotJudgeError):  # the reader's error came first
        return None
    if not explained:
        return None
    return reader_c.InvalidFileError(
        error.where, error.field, error.offset, error.expected, f"{error.found}: {explained}"
    )


def explained_by(source: StrPath | Source, **reading: object) -> Callable[[], Source]:
    """Return what opens a source, unless it is open."""
    return lambda: source if isinstance(source, Source) else open_source(source, **reading)  # type: ignore[arg-type]


def _header(beginning: bytes) -> _Header | None:
    if beginning[:4] != MAGIC.to_bytes(4, "little"):
        model = v0_model(beginning)
        return None if model is None else _Header(model, 0, has_tables=True)
    if len(beginning) < HEADER_V1.size:
        return None
    _, version, *counts, shared, group_size = HEADER_V1.unpack_from(beginning)
    model = model_of(tuple(counts), shared=bool(shared))
    return _Header(model, group_size, has_tables=False) if model and version in (1, 2) else None


def _explanation(header: _Header, size: int, source: Hyperparameters) -> str | None:
    """Return why a file has this size: the fewest header values of the source that give it, or a missing part."""
    found = [text for fields, text in _sentences(header, source) if _gives(header, fields, source, size)]
    if found:
        return found[0]
    shared = header.model.tied
    if header.size(replace(header.model, tied=not shared)) == size:
        # the source agrees with the header
        if shared:
            return "this is the size with a classifier of its own, but the source has none: omit output.weight"
        return "this is the size without a classifier, but the source has its own: write output.weight"
    tables = 4 * header.model.max_seq_len * header.model.head_dim if header.has_tables else 0
    if tables and header.size(header.model) - tables == size:
        return "this is the size without RoPE's tables: write freqs_cos and freqs_sin behind norm.weight"
    return None


def _gives(header: _Header, fields: tuple[str, ...], source: Hyperparameters, size: int) -> bool:
    model = header.mixed(fields, source)
    return model is not None and header.size(model) == size


def _sentences(header: _Header, source: Hyperparameters) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield the header's values that may be wrong, few ones first, and the sentence about them."""
    model = header.model
    differing = [name for name in (*_COUNTS, "tied") if getattr(model, name) != getattr(source, name)]
    for count in range(1, len(differing) + 1):
        for fields in combinations(differing, count):
            yield fields, _of_classifier(header, source) if fields == ("tied",) else _of_values(fields, model, source)


def _of_classifier(header: _Header, source: Hyperparameters) -> str:
    kind = "a shared classifier" if source.tied else "a classifier of its own"
    vocabulary = header.model.vocab_size if source.tied else -header.model.vocab_size
    right = (
        f"vocab_size should be {vocabulary}" if header.has_tables else f"shared_classifier should be {source.tied:d}"
    )
    return f"this is the size with {kind}, which the source has: the header's {right}"


def _of_values(fields: tuple[str, ...], header: Hyperparameters, source: Hyperparameters) -> str:
    right = ", ".join(f"{name} = {getattr(source, name)}" for name in fields)
    wrong = ", ".join(str(getattr(header, name)) for name in fields)
    verb = "is" if len(fields) == 1 else "are"
    return f"this is the size with the source's {right}: the header's {wrong} {verb} wrong"
