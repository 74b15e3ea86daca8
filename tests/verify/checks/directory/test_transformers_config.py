"""transformers' own reading of a config.json: from the directory alone, without running code, or a refusal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from verify.checks.directory import target
from verify.errors import CannotJudgeError


def transformers_that(answers: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace transformers by a module whose AutoConfig.from_pretrained is a function."""

    @contextmanager
    def quiet() -> Iterator[Any]:
        yield SimpleNamespace(AutoConfig=SimpleNamespace(from_pretrained=answers))

    monkeypatch.setattr(target, "quiet_transformers", quiet)


def test_nothing_is_downloaded_and_no_code_of_the_directory_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    transformers_that(lambda path, **given: (path, given), monkeypatch)
    found = target.transformers_config(Path("d"))
    assert found == ("d", {"local_files_only": True, "trust_remote_code": False})


def test_what_transformers_does_not_accept_is_a_refusal_of_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_path: str, **_given: Any) -> Any:
        raise RuntimeError("no such\nmodel")

    transformers_that(refuse, monkeypatch)
    with pytest.raises(CannotJudgeError) as caught:
        target.transformers_config(Path("d"))
    assert str(caught.value) == "d/config.json: expected a config that transformers accepts, found: no such model"
