"""This program judges the forty mistakes of forty_files.py and forty_engines.py, and scores their diagnoses.

    PYTHONPATH=.:tests/lib python -m helpers.defects.forty
    PYTHONPATH=.:tests/lib python -m helpers.defects.forty held-out     and those of held_out.py

A diagnosis is right if it has the expected name and its sentence says what it must. It is unknown if there is none,
or if it says that no known mistake explains the numbers; otherwise it is wrong.
"""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import exporter
import exporter.encode
import verify
from helpers.defects.drafts import Draft
from helpers.defects.forty_engines import ENGINE_MISTAKES, EngineMistake
from helpers.defects.forty_files import FILE_MISTAKES, MODEL, SMALL_SOURCES, UNKNOWN, FileMistake
from helpers.defects.held_out import MORE_ENGINES, MORE_FILES
from helpers.defects.kinds import GROUP_SIZE
from helpers.models import arrays
from helpers.toy_engine import Healthy
from verify.engine.command import Engine
from verify.evidence import Evidence
from verify.report.model import Report


@dataclass(frozen=True)
class Answer:
    """What the verifier says of one mistake. name, sentence: empty if it says nothing."""

    mistake: FileMistake | EngineMistake
    name: str
    sentence: str

    @property
    def score(self) -> str:
        said = all(text in self.sentence for text in self.mistake.says)
        if self.name == self.mistake.expected and said:
            return "right"
        return "unknown" if self.name in ("", UNKNOWN) else "wrong"

    def row(self) -> str:
        return f"| {self.mistake} | {self.mistake.expected or 'unknown'} | {self.name or 'none'} | {self.score} |"


def of_file(mistake: FileMistake, directory: Path) -> Answer:
    """Write a file with the mistake and judge it. directory is written to."""
    model = MODEL if not mistake.needs else exporter.ModelConfig(**{**vars(MODEL), **mistake.needs})
    draft = Draft(model, arrays(model))
    if mistake.name in SMALL_SOURCES:
        SMALL_SOURCES[mistake.name](draft)
    source = directory / "source.bin"
    checkpoint = exporter.Checkpoint.from_arrays(model, draft.arrays)
    exporter.export(checkpoint, source, format="v3", overwrite=True)
    draft = Draft(model, dict(draft.arrays))
    mistake.seed(draft)
    path = directory / "file.bin"
    asked = {"storage": mistake.storage} if mistake.format == "v3" else {}
    with mock.patch.object(exporter.encode, "quantize_q80", draft.quantize):
        checkpoint = exporter.Checkpoint.from_arrays(draft.model, draft.arrays)
        exporter.export(checkpoint, path, format=mistake.format, group_size=GROUP_SIZE, overwrite=True, **asked)
    if mistake.damage is not None:
        mistake.damage(path, model)
    report = verify.verify(source, path, evidence=Evidence(depth="quick", windows=1, length=16))
    assert report.verdict == "fail", mistake
    found = report.diagnosis
    return Answer(mistake, found.signature if found else "", found.sentence if found else "")


def of_engine(mistake: EngineMistake, directory: Path) -> Answer:
    """Judge an engine with the mistake. directory is written to."""
    report = report_of_engine(mistake.engine, directory)
    assert report.verdict == "fail", mistake
    found = report.engine
    assert found is not None
    assert found.windows > 0, report.checks  # an engine that does not run has no mistake to be named
    return Answer(mistake, found.hint_name, found.hint)


def report_of_engine(engine: type[Healthy], directory: Path) -> Report:
    """Let an engine run a healthy file, and judge it. directory is written to."""
    source, path = directory / "source.bin", directory / "file.bin"
    checkpoint = exporter.Checkpoint.from_arrays(MODEL, arrays(MODEL))
    exporter.export(checkpoint, source, format="v3", overwrite=True)
    exporter.export(checkpoint, path, format="v3", storage="fp32", overwrite=True)
    library = Path(__file__).parents[2]
    command = (
        f"env PYTHONPATH={library}:{library.parents[1]} {sys.executable} -m helpers.toy_engine "
        f"{engine.__name__} {{file}} {{tokens}} {{logits}}"
    )
    evidence = Evidence(depth="quick", windows=2, length=100)
    return verify.verify(source, path, evidence=evidence, engine=Engine(command=command))


def answers(files: Sequence[FileMistake], engines: Sequence[EngineMistake]) -> Iterator[Answer]:
    with tempfile.TemporaryDirectory() as made:
        for mistake in files:
            yield of_file(mistake, Path(made))
        for of in engines:
            yield of_engine(of, Path(made))


def main() -> None:
    answered = []
    sys.stdout.write("| mistake | expected | found | score |\n|---|---|---|---|\n")
    lists = (MORE_FILES, MORE_ENGINES) if "held-out" in sys.argv else (FILE_MISTAKES, ENGINE_MISTAKES)
    for answer in answers(*lists):
        answered.append(answer)
        sys.stdout.write(f"{answer.row()}\n")
        sys.stdout.flush()
        if answer.score != "right":
            sys.stderr.write(f"{answer.mistake}: {answer.sentence}\n")
    scores = Counter(answer.score for answer in answered)
    sys.stdout.write("\n" + ", ".join(f"{scores[score]} {score}" for score in ("right", "unknown", "wrong")) + "\n")


if __name__ == "__main__":
    main()
