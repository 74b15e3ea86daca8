"""A report says where it was made."""

from __future__ import annotations

import platform
import re

import pytest
import torch

import reader_c
from verify.errors import CannotJudgeError
from verify.report.environment import date, environment


@pytest.mark.parametrize(
    ("arithmetic", "path"),
    [("fast", reader_c.best_path()), ("mirror", reader_c.best_path()), ("transformers", "transformers")],
)
def test_versions_processor_threads_and_path(arithmetic: str, path: str) -> None:
    found = environment({"transformers": "5.0"}, arithmetic)
    assert found["versions"]["python"] == platform.python_version()
    assert found["versions"]["torch"] == torch.__version__
    assert found["versions"]["transformers"] == "5.0"
    assert found["cpu"]
    assert (found["threads"], found["arithmetic"], found["path"]) == (torch.get_num_threads(), arithmetic, path)


def test_the_date_is_now_or_what_reproducible_builds_ask_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1795879212")
    assert date() == "2026-11-28T15:20:12Z"
    monkeypatch.delenv("SOURCE_DATE_EPOCH")
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", date())


@pytest.mark.parametrize("told", ["", "yesterday", "1.5", "9" * 30])
def test_a_date_that_is_none_is_refused(told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", told)
    with pytest.raises(CannotJudgeError) as error:
        date()
    assert str(error.value) == (
        f"SOURCE_DATE_EPOCH: expected seconds since 1970, found {told!r}: correct the variable or unset it"
    )
