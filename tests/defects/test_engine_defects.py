"""Mistakes of an engine on healthy files: each is built into a copy of the C reader, and caught where it computes
wrong."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.broken_engines import Judge, build
from helpers.defects import ENGINE_DEFECTS, Defect
from helpers.defects.engine import Patch
from helpers.defects.judging import seeded
from helpers.defects.kinds import TOYS, spread
from helpers.reader_source import ROOT

pytestmark = pytest.mark.slow

# Of the formats that a defect is in, so many, each with a model of its own; make defects takes all.
MODELS = 2


@pytest.fixture(scope="module")
def judge() -> Iterator[Judge]:
    with Judge() as judge:
        yield judge


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Objects of what has no mistake."""
    return tmp_path_factory.mktemp("objects")


@pytest.mark.parametrize("defect", ENGINE_DEFECTS, ids=str)
def test_a_wrong_engine_is_caught_by_every_check_that_is_meant_to(
    tmp_path: Path, judge: Judge, kept: Path, defect: Defect
) -> None:
    engine = build(defect.seed, tmp_path / "engine", kept)
    cases = spread(defect, TOYS)[:MODELS]
    jobs = []
    for number, case in enumerate(cases):
        directory = tmp_path / str(number)
        directory.mkdir()
        jobs.append((*seeded(case, directory), case.window))
    for case, found in zip(cases, judge.judge(engine, jobs), strict=True):
        assert found.caught(defect) == list(defect.caught_by), (case, found)
        assert found.misplaced(defect) == [], (case, found)
        assert found.diagnosis == defect.diagnosis, case
        # the file is healthy
        assert found.strays(defect) == [], case
        if not defect.caught_by:
            assert found.blamed == [], (case, found)
        elif "execution" in defect.caught_by and found.finding("execution").use is not None:
            # far beyond, so that the limit is no matter of taste
            assert found.finding("execution").use > 4, (case, found)


def test_a_patch_that_fits_nowhere_or_twice_is_an_error(tmp_path: Path, kept: Path) -> None:
    for number, text in enumerate(("no such text", "return RC_OK;")):
        with pytest.raises(ValueError, match="once"):
            build(Patch(((text, ""),)), tmp_path / str(number), kept)


def test_an_engine_that_ends_its_process_is_told(tmp_path: Path, judge: Judge, kept: Path) -> None:
    patch = Patch(((ROOT, "key_lanes, *(volatile float *)0"),))
    engine = build(patch, tmp_path / "engine", kept)
    directory = tmp_path / "case"
    directory.mkdir()
    case = spread(ENGINE_DEFECTS[0], TOYS)[0]
    with pytest.raises(RuntimeError, match="ended its process"):
        judge.judge(engine, [(*seeded(case, directory), case.window)])
