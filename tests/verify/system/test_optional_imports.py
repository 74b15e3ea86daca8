"""A missing Hugging Face package is refused with the command that installs it; an installed one keeps quiet."""

from __future__ import annotations

import importlib
import sys
import types

import pytest

from verify.errors import CannotJudgeError
from verify.system.optional_imports import one_line, quiet_hub, quiet_transformers, wanted


@pytest.mark.parametrize("module", ["transformers", "tokenizers", "huggingface_hub"])
def test_a_missing_package_is_refused_with_the_command_that_installs_it(
    module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(CannotJudgeError, match=rf"^{module}: .*: pip install 'export-and-verify\[huggingface\]'$"):
        wanted(module)


def test_an_installed_package_is_imported() -> None:
    assert wanted("json") is sys.modules["json"]


def test_transformers_is_quiet_in_the_block_and_as_before_after_it() -> None:
    log = importlib.import_module("transformers.utils.logging")
    before = log.get_verbosity(), log.is_progress_bar_enabled()
    with pytest.raises(ValueError, match="mine"), quiet_transformers() as transformers:
        assert transformers.__name__ == "transformers"
        assert log.get_verbosity() > log.CRITICAL
        assert not log.is_progress_bar_enabled()
        raise ValueError("mine")
    assert (log.get_verbosity(), log.is_progress_bar_enabled()) == before


@pytest.mark.parametrize(("is_terminal", "shown_within"), [(False, False), (True, True)])
def test_the_hub_shows_its_bars_on_a_terminal_only(
    is_terminal: bool, shown_within: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    bars = importlib.import_module("huggingface_hub.utils")
    monkeypatch.setattr(sys, "stderr", types.SimpleNamespace(isatty=lambda: is_terminal, write=len, flush=len))
    bars.enable_progress_bars()
    with quiet_hub() as hub:
        assert hub.__name__ == "huggingface_hub"
        assert bars.are_progress_bars_disabled() is not shown_within
    assert not bars.are_progress_bars_disabled()


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("one\n  two"), "one two"),
        (KeyError(), "KeyError"),
        (ValueError(" \n"), "ValueError"),
        (ValueError("x" * 300), "x" * 200),
    ],
)
def test_an_error_becomes_one_short_line(error: BaseException, line: str) -> None:
    assert one_line(error) == line
