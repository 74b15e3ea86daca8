"""Assert that what an export writes is right, from a path or from a model in memory."""

from __future__ import annotations

import dataclasses
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import exporter
from verify.errors import CannotJudgeError
from verify.report.finding_lines import finding, likely

if TYPE_CHECKING:
    from verify.report.model import Report
    from verify.sources import Source


def assert_roundtrip(
    source: str | os.PathLike[str] | exporter.Checkpoint,
    *,
    format: str = "v3",  # noqa: A002  # as exporter.export() has it
    group_size: int = 64,
    storage: str | Mapping[str, str] = "source",
    policy: str | os.PathLike[str] | None = None,
    depth: str = "quick",
) -> Report:
    """Export source to a temporary file, and verify it.

    Args:
        source: the path of any source, a hub id, or a Checkpoint in memory, as checkpoints() draws it.
        format, group_size, storage: as in exporter.export().
        policy: a TOML file of limits; None for the default.
        depth: quick, standard or full.

    Returns:
        The report, which is a pass.

    Raises:
        AssertionError: the file failed; the message says what and why.
        exporter.ExportError: nothing can be exported.
        CannotJudgeError, reader_c.ReaderError: nothing can be judged.
    """
    __tracebackhide__ = True
    from verify.run.requested import Requested  # noqa: PLC0415
    from verify.verdict import verify  # noqa: PLC0415  # torch is not needed before a file is judged

    judged_by: Source | str | os.PathLike[str]
    if isinstance(source, exporter.Checkpoint):
        checkpoint, judged_by = source, source_of(source)
    else:
        checkpoint, judged_by = exporter.open_checkpoint(source), source
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / ("model" if format == "hf" else "model.bin")
        exporter.export(
            checkpoint,
            path,
            format=format,
            group_size=group_size,
            storage=storage,
            # drawn numbers come from no file that could have a digest
            provenance=bool(checkpoint.files),
        )
        report = verify(judged_by, path, policy, depth=depth, requested=Requested(format, group_size, storage))
    if not report.passed:
        found, names = report.to_dict(), [check.name for check in report.blamed]
        blamed = "\n".join(finding(check) for check in found["checks"] if check["name"] in names) or report.reason
        raise AssertionError(
            f"{checkpoint.where} as {format}: expected a file that passes, found\n{blamed}{likely(found)}"
        )
    return report


def source_of(checkpoint: exporter.Checkpoint) -> Source:
    """Make a source for verify() of a checkpoint in memory.

    The numbers are used as they are, and not through a file. A llama2.c .pt cannot express head sizes, scalings,
    biases or activations, nor a classifier that equals the embedding without being tied to it, and a Hugging Face
    directory cannot express others. A mistake in writing such a file would look like a mistake of the exporter.
    Nothing that the exporter computed is used: only its configuration, and the numbers before it changed them.

    Args:
        checkpoint: one of checkpoints() or Checkpoint.from_arrays().

    Returns:
        A source with the checkpoint's configuration and numbers.

    Raises:
        CannotJudgeError: the checkpoint was read from files.
    """
    from verify.sources import Hyperparameters, LayerKind, RopeScaling  # noqa: PLC0415  # likewise
    from verify.sources.in_memory import MemorySource  # noqa: PLC0415

    if checkpoint.files:
        raise CannotJudgeError(
            f"{checkpoint.where}: expected the source's path, found a checkpoint that the exporter has read: "
            "the verifier reads files by its own code"
        )
    said = dataclasses.asdict(checkpoint.config)
    said["rope_scaling"] = RopeScaling(**said["rope_scaling"])
    said["layers"] = tuple(LayerKind(**layer) for layer in said["layers"])
    return MemorySource(Hyperparameters(**said), checkpoint.load, checkpoint.dtype)
