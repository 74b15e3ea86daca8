"""Evidence on disk, so that an interrupted run continues where it stopped.

Each batch has a file of its own, named by a digest of everything that the evidence depends on: other inputs find
nothing. The files hold plain arrays and JSON, and nothing in them is executed. They are trusted like the program: a
user who can write to the directory can change the report.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_origin

import numpy as np

import reader_c
from verify.errors import CannotJudgeError
from verify.report.document import plain

Found = TypeVar("Found")


class EvidenceStore:
    """The evidence of one run, in a directory that other runs may share. directory None: nothing is stored."""

    def __init__(self, directory: Path | None, depends_on: Mapping[str, Any]) -> None:
        self._directory = directory
        text = json.dumps(plain(depends_on), sort_keys=True)
        self._key = hashlib.sha256(text.encode()).hexdigest()[:32]

    def get(self, name: str, kind: type[Found]) -> Found | None:
        """Return stored evidence; None if there is none, or if it is damaged."""
        if self._directory is None:
            return None
        try:
            # read as a whole: numpy leaves a file open if it does not understand it
            content = io.BytesIO(self._path(name).read_bytes())
            with np.load(content, allow_pickle=False) as stored:
                arrays = {key: stored[key] for key in stored.files}
            return _decode(json.loads(arrays.pop("said").tobytes()), arrays, kind)
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, ExceptionGroup):
            return None

    def put(self, name: str, found: object) -> None:
        """Store evidence, whole or not at all. Raises CannotJudgeError if the directory cannot be written to."""
        if self._directory is None:
            return
        said, arrays = _encode(found)
        content = io.BytesIO()
        arrays["said"] = np.frombuffer(json.dumps(said).encode(), np.uint8)
        np.savez(content, **arrays)  # type: ignore[arg-type]  # its own flag has another name
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            descriptor, temporary = tempfile.mkstemp(dir=self._directory, suffix=".partial")
            with os.fdopen(descriptor, "wb") as file:
                file.write(content.getvalue())
            Path(temporary).replace(self._path(name))
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            what = "expected a directory to keep evidence in"
            raise CannotJudgeError(f"{self._directory}: {what}, found: {reason}") from error

    def each(
        self, names: Sequence[str], kind: type[Found], compute: Callable[[list[int]], Iterator[Found]]
    ) -> Iterator[Found]:
        """Yield the evidence of each name in order; what an earlier run stored is not computed again.

        compute: yields that of the given places in names.
        """
        stored = {place: self.get(name, kind) for place, name in enumerate(names)}
        fresh = compute([place for place, found in stored.items() if found is None])
        for place, name in enumerate(names):
            found = stored.pop(place)
            if found is None:
                found = next(fresh)
                self.put(name, found)
            yield found

    def _path(self, name: str) -> Path:
        assert self._directory is not None
        return self._directory / f"{self._key}-{name}.npz"


def program() -> str:
    """Return the sha256 of the verifier's and the reader's own files."""
    packages = [Path(reader_c.__file__ or "").parent, Path(__file__).parents[1]]
    files = (path for package in packages for path in sorted(package.rglob("*")) if path.suffix in (".py", ".so"))
    return hashlib.sha256(b"".join(hashlib.sha256(path.read_bytes()).digest() for path in files)).hexdigest()


def _encode(found: object) -> tuple[Any, dict[str, np.ndarray[Any, Any]]]:
    """Return JSON, in which an array is a reference by name, and the arrays."""
    arrays: dict[str, np.ndarray[Any, Any]] = {}

    def encode(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            name = f"array{len(arrays)}"
            arrays[name] = value
            return {"array": name}
        if dataclasses.is_dataclass(value):
            return {field.name: encode(getattr(value, field.name)) for field in dataclasses.fields(value)}
        if isinstance(value, (list, tuple)):
            return [encode(one) for one in value]
        # the findings of a check hold nothing but numbers and text
        return value

    return encode(found), arrays


def _decode(said: Any, arrays: Mapping[str, np.ndarray[Any, Any]], kind: type[Found]) -> Found:
    from cattrs import Converter  # noqa: PLC0415  # only needed here

    converter = Converter(forbid_extra_keys=True)
    converter.register_structure_hook_func(_is_array, lambda value, _kind: arrays[value["array"]])
    return converter.structure(said, kind)


def _is_array(kind: Any) -> bool:
    """Whether a field's type is a numpy array."""
    return bool(get_origin(kind) is np.ndarray)
