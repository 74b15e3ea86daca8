"""What a verdict judges: a .bin file, which the C reader runs, or a directory, which transformers runs."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, cast

import reader_c
from verify.checks.config import same_shapes
from verify.checks.directory.config import implied, report_config
from verify.checks.directory.target import Directory
from verify.checks.policy import policy_section
from verify.errors import CannotJudgeError
from verify.evidence import Window
from verify.evidence.depth import DEPTHS
from verify.run.check_findings import CheckFindings
from verify.run.compared_windows import ARITHMETICS
from verify.run.cost import Cost, cost_of, cost_of_directory
from verify.run.directory_ladder import DirectoryLadder, directory_versions
from verify.run.ladder import Ladder
from verify.run.memory import mapped
from verify.run.options import Options, StrPath
from verify.run.other_ways import CALLS, THREADS
from verify.run.path_conflicts import refuse_conflicts, refuse_directory_conflicts
from verify.run.reference_logits import same_numbers, versions_of
from verify.run.resume import EvidenceStore
from verify.run.worker import Job
from verify.sources import Source
from verify.sources.unchanged_files import Identity, identity
from verify.system.digests import sha256_of


class Subject(Protocol):
    """A file or a directory that is judged.

    path: as it was given. sha256: of the bytes that were read, whatever the path names by now. arithmetic: of the
    engine. model: the open file; None for a directory.
    """

    path: StrPath
    sha256: str
    arithmetic: str
    model: reader_c.Model | None

    def section(self, source: Source) -> str:
        """Return the policy's table."""
        ...

    def refuse_conflicts(self, source: Source, options: Options) -> None:
        """Raise CannotJudgeError for paths that conflict."""
        ...

    def cost(self, source: Source, windows: Sequence[Window], options: Options) -> Cost | None:
        """Predict the cost; None if the shape differs from the source's, as little is judged."""
        ...

    def run(self, source: Source, job: Job, length: int, options: Options, store: EvidenceStore) -> CheckFindings:
        """Run the checks. length: positions that the subject should state."""
        ...

    def versions(self, source: Source) -> dict[str, str]:
        """Return the versions of the libraries that judge, besides the verifier's own code."""
        ...

    def described(self) -> Mapping[str, Any]:
        """Return the report's `file`."""
        ...

    def coverage(self, depth: str) -> Mapping[str, Any]:
        """Return the fields of Coverage that say how it was run."""
        ...

    def config(self) -> Mapping[str, Any]:
        """Return the report's `config`."""
        ...

    def expect_unchanged(self) -> None:
        """Raise CannotJudgeError if it is no longer what was judged."""
        ...


@contextmanager
def open_subject(path: StrPath, options: Options) -> Iterator[Subject]:
    """Open what is judged. Raises reader_c.ReaderError or CannotJudgeError."""
    if os.path.isdir(path):  # noqa: PTH112  # a path of any bytes
        yield DirectorySubject(Path(path), options)
        return
    at_first = _identity(path)
    with reader_c.open(path, mapped=mapped(path, options.memory)) as model:
        yield FileSubject(model, path, at_first)


class FileSubject:
    """A .bin file. at_first: its identity before it was opened."""

    arithmetic: str = "mirror"

    def __init__(self, model: reader_c.Model, path: StrPath, at_first: Identity | None) -> None:
        self._model, self.path, self._at_first = model, path, at_first
        self.model: reader_c.Model | None = model
        self.sha256 = sha256_of(model.content)

    def section(self, source: Source) -> str:
        return policy_section(self._model, source)

    def refuse_conflicts(self, source: Source, options: Options) -> None:
        refuse_conflicts(self.path, source, options.report_dir, options.files_read)

    def cost(self, source: Source, windows: Sequence[Window], options: Options) -> Cost | None:
        if not same_shapes(self._model, source.hyperparameters):
            return None
        engine = options.engine
        int8 = engine is not None and engine.activations == "q8" and bool(self._model.config.group_size)
        return cost_of(self._model, source, windows, options.evidence.depth, options.memory, int8_engine=int8)

    def run(self, source: Source, job: Job, length: int, options: Options, store: EvidenceStore) -> CheckFindings:
        return Ladder(self._model, source, job, length, options, store).run()

    def versions(self, source: Source) -> dict[str, str]:
        return versions_of(source)

    def described(self) -> Mapping[str, Any]:
        model = self._model
        return {"path": model.path, "format": model.format, "bytes": model.file_size, "sha256": self.sha256}

    def coverage(self, depth: str) -> Mapping[str, Any]:
        paths = reader_c.paths() if DEPTHS[depth].every_path else (reader_c.best_path(),)
        return {"arithmetics": ARITHMETICS, "paths": paths, "threads": THREADS, "calls": CALLS}

    def config(self) -> Mapping[str, Any]:
        # the header's fields, and what the format implies
        return dataclasses.asdict(self._model.config)

    def expect_unchanged(self) -> None:
        # the reader may have copied the file, so its path must still lead to the same bytes
        same_bytes = self.sha256 == sha256_of(self._model.content)
        if not same_bytes or _identity(self.path) != self._at_first:
            raise CannotJudgeError(f"{self.path}: changed while it was being judged")


class DirectorySubject:
    """A Hugging Face directory. Raises CannotJudgeError for one without a config.json that transformers reads, and
    for options that only a file has."""

    arithmetic: str = "transformers"
    model: reader_c.Model | None = None

    def __init__(self, path: Path, options: Options) -> None:
        for name, given in (
            ("engine", options.engine),
            ("cluster", options.cluster),
            ("tokenizer-file", options.tokenizer_file),
            ("prompt", options.evidence.prompts or None),
        ):
            if given is not None:
                raise CannotJudgeError(f"{name}: expected a .bin file to judge, found a directory: omit --{name}")
        self.path: StrPath = path
        self._directory = Directory(path)
        implied(self._directory)  # refuses models of other families
        self.sha256 = self._directory.files.sha256

    def section(self, source: Source) -> str:  # noqa: ARG002  # a file's table depends on it
        return self._directory.format

    def refuse_conflicts(self, source: Source, options: Options) -> None:
        names = self._directory.files.digests
        refuse_directory_conflicts(self._directory.path, names, source, options.report_dir, options.files_read)

    def cost(self, source: Source, windows: Sequence[Window], options: Options) -> Cost | None:
        directory, hyper = self._directory, source.hyperparameters
        if directory.weights.findings or implied(directory).shapes() != hyper.shapes():
            return None
        directory.of_model(hyper)
        if not directory.is_complete:
            return None
        lossless = same_numbers(source, cast("reader_c.Model", directory))
        size = directory.files.bytes
        return cost_of_directory(source, size, windows, options.evidence.depth, options.memory, lossless=lossless)

    def run(self, source: Source, job: Job, length: int, options: Options, store: EvidenceStore) -> CheckFindings:
        return DirectoryLadder(self._directory, source, job, length, options, store).run()

    def versions(self, source: Source) -> dict[str, str]:  # noqa: ARG002  # a file's depend on it
        return directory_versions()

    def described(self) -> Mapping[str, Any]:
        files = self._directory.files
        return {
            "path": os.fspath(self.path),
            "format": self._directory.format,
            "bytes": files.bytes,
            "sha256": self.sha256,
            "files": files.digests,
        }

    def coverage(self, depth: str) -> Mapping[str, Any]:  # noqa: ARG002  # a file's depends on it
        return {"arithmetics": (self.arithmetic,), "calls": ("whole",)}

    def config(self) -> Mapping[str, Any]:
        return report_config(self._directory)

    def expect_unchanged(self) -> None:
        self._directory.files.expect_unchanged()


def _identity(path: StrPath) -> Identity | None:
    """Return a file's identity; None if there is no file, which the reader then reports."""
    try:
        return identity(path)
    except (OSError, ValueError):
        return None
