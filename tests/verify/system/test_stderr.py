"""A block of native code writes nothing to standard error, which works again afterwards."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from verify.system.stderr import silent


def test_only_the_block_is_silent(capfd: pytest.CaptureFixture[str]) -> None:
    os.write(2, b"before ")
    with silent():
        os.write(2, b"within")
    os.write(2, b"after")
    assert capfd.readouterr().err == "before after"


def test_an_exception_ends_the_silence_too(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="mine"), silent():
        raise ValueError("mine")
    os.write(2, b"after")
    assert capfd.readouterr().err == "after"


def test_no_descriptor_is_left_open() -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    with silent():
        pass
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_closed_standard_error_stays_closed() -> None:
    code = """
import os
from verify.system.stderr import silent
os.close(2)
with silent():
    pass
try:
    os.fstat(2)
except OSError:
    print("closed")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "closed\n")
