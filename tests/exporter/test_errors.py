"""Errors: one root, and system errors with the path and the reason."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from exporter import errors


def test_every_error_has_the_root_and_says_which_side_is_at_fault() -> None:
    for kind in (errors.CheckpointError, errors.FormatError, errors.WeightError):
        assert issubclass(kind, errors.ExportError)
        assert issubclass(kind, ValueError)
    for kind in (errors.WriteError, errors.NotLastingError):
        assert issubclass(kind, errors.ExportError)
        assert issubclass(kind, OSError)


def test_a_system_error_becomes_a_write_error_with_its_reason() -> None:
    cause = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(errors.WriteError) as caught, errors.as_write_error(Path("a/b")):
        raise cause
    assert str(caught.value) == "a/b: cannot be written: no space left on device"
    assert caught.value.__cause__ is cause
    assert errors.reason(OSError("Odd")) == "odd"


@pytest.mark.parametrize("error", [errors.NotLastingError("kept"), ValueError("kept"), KeyboardInterrupt()])
def test_other_errors_pass_through(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught, errors.as_write_error(Path("a")):
        raise error
    assert caught.value is error
