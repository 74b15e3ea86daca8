"""Forty mistakes, and 26 that were held out, get the diagnosis that was written down before it was tried on them."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.defects.forty import Answer, of_engine, of_file, report_of_engine
from helpers.defects.forty_engines import ENGINE_MISTAKES, EngineMistake
from helpers.defects.forty_files import FILE_MISTAKES, FileMistake
from helpers.defects.held_out import MORE_ENGINES, MORE_FILES
from helpers.toy_engine import Healthy
from hypothesis import settings

from verify.engine import hint_general


@pytest.mark.parametrize("mistake", [*FILE_MISTAKES, *MORE_FILES], ids=str)
def test_a_file_gets_its_diagnosis(tmp_path: Path, mistake: FileMistake) -> None:
    answer = of_file(mistake, tmp_path)
    assert answer.score == "right", answer


_ENGINES = [*ENGINE_MISTAKES, *MORE_ENGINES]


# every second one, unless the profile is `deep`: each takes seconds
@pytest.mark.slow
@pytest.mark.parametrize("mistake", _ENGINES if settings().max_examples > 100 else _ENGINES[::2], ids=str)
def test_an_engine_gets_its_hint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mistake: EngineMistake) -> None:
    # the search through every operation takes seconds, and test_hints_of_toys.py has engines without a name for it
    if not mistake.expected.startswith("stage-"):
        monkeypatch.setattr(hint_general, "_MOST_WORK", 1e8)
    answer = of_engine(mistake, tmp_path)
    assert answer.score == "right", answer


@pytest.mark.slow
def test_the_engine_that_carries_the_mistakes_is_healthy_without_them(tmp_path: Path) -> None:
    report = report_of_engine(Healthy, tmp_path)
    assert report.verdict == "pass"
    assert report.engine is not None
    assert report.engine.hint_name == report.engine.hint == ""


def test_the_lists_have_as_many_mistakes_as_their_pages_say() -> None:
    assert (len(FILE_MISTAKES), len(ENGINE_MISTAKES)) == (24, 16)
    assert len(MORE_FILES) + len(MORE_ENGINES) == 26
    names = [str(mistake) for mistake in (*FILE_MISTAKES, *ENGINE_MISTAKES, *MORE_FILES, *MORE_ENGINES)]
    assert len(set(names)) == len(names)


def test_an_answer_is_right_only_with_its_name_and_its_words() -> None:
    mistake = FileMistake("x", lambda _: None, "scaled", ("sqrt(dim)",))
    assert Answer(mistake, "scaled", "by sqrt(dim)").score == "right"
    assert Answer(mistake, "scaled", "by 8").score == "wrong"
    assert Answer(mistake, "offset", "by sqrt(dim)").score == "wrong"
    assert Answer(mistake, "no-known-mistake", "").score == Answer(mistake, "", "").score == "unknown"
