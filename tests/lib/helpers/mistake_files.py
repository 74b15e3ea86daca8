"""Files of small models, right or with a mistake, compared with their source."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import exporter
import reader_c
from helpers.mistake_tables import GROUP
from helpers.models import Arrays
from verify.diagnosis import Diagnosis, diagnose_tensors
from verify.diagnosis.bit_comparison import BitComparison
from verify.sources import Hyperparameters
from verify.testing import source_of


def hyperparameters(model: exporter.ModelConfig) -> Hyperparameters:
    """The same hyperparameters as the verifier has them."""
    return Hyperparameters(
        **{field.name: getattr(model, field.name) for field in dataclasses.fields(Hyperparameters)}
    )


def written(path: Path, model: exporter.ModelConfig, mine: Arrays, kind: str) -> Path:
    """kind: a format, and after "v3-" a storage."""
    format_name, _, storage = kind.partition("-") if kind.startswith("v3") else (kind, "", "")
    more = {"storage": storage} if storage else {}
    source = exporter.Checkpoint.from_arrays(model, mine)
    exporter.export(source, path, format=format_name, group_size=GROUP, overwrite=True, **more)
    return path


def diagnosed(path: Path, model: exporter.ModelConfig, right: Arrays) -> Diagnosis | None:
    """The diagnosis of a file beside the right arrays."""
    source = source_of(exporter.Checkpoint.from_arrays(model, right))
    with reader_c.open(path) as file:
        names = [name for name in source.hyperparameters.shapes() if name in file.names]
        return diagnose_tensors(file, source, names)


@contextlib.contextmanager
def comparison(path: Path, model: exporter.ModelConfig, right: Arrays) -> Iterator[BitComparison]:
    """A file compared with the right arrays."""
    with reader_c.open(path) as file:
        yield BitComparison(file, source_of(exporter.Checkpoint.from_arrays(model, right)))
