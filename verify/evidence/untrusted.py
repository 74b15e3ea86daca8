"""Turns what a tokenizer library raises into one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from verify.errors import CannotJudgeError
from verify.system.optional_imports import one_line
from verify.system.stderr import silent


@contextmanager
def untrusted(path: Path, expected: str) -> Iterator[None]:
    """Raise CannotJudgeError for whatever a library raises on the tokenizer at path.

    A panic in Rust is not an Exception, and prints to standard error before it is raised.
    """
    try:
        with silent():
            yield
    except (KeyboardInterrupt, SystemExit, GeneratorExit, CannotJudgeError):
        raise
    except BaseException as error:
        raise CannotJudgeError(f"{path}: expected {expected}: {one_line(error)}") from error
