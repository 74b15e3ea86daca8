"""Whatever a library raises becomes one line; what is no answer of it stays."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from verify.errors import CannotJudgeError
from verify.evidence.untrusted import untrusted


class Panic(BaseException):
    """As Rust's panics are: no Exception."""


@pytest.mark.parametrize("error", [ValueError("a\nb"), Panic("a b")])
def test_an_error_of_a_library_becomes_one_line_and_its_words_are_not_shown(
    capfd: pytest.CaptureFixture[str], error: BaseException
) -> None:
    with pytest.raises(CannotJudgeError) as caught, untrusted(Path("t"), "a tokenizer, found none"):
        os.write(2, b"panicked")
        raise error
    assert str(caught.value) == "t: expected a tokenizer, found none: a b"
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3), GeneratorExit(), CannotJudgeError("as it is")])
def test_interrupts_and_refusals_stay_as_they_are(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught, untrusted(Path("t"), "a tokenizer, found none"):
        raise error
    assert caught.value is error
