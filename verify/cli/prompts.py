"""Prompts that stand in a file or come through standard input."""

from __future__ import annotations

import errno
import sys
from pathlib import Path

from verify.errors import CannotJudgeError
from verify.system.reading import read_given

# What stands for standard input, as a PROMPT and as a file.
STDIN = "-"
# No model takes as much text.
_MOST = 1 << 24
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_OTHER = {errno.EISDIR: "a directory", errno.EINVAL: "a FIFO or a device"}


def prompt_of(text: str, file: Path | None, name: str = "PROMPT") -> str:
    """Return the prompt: the text that was typed, or what a file or standard input holds.

    name: what the command calls the typed text. One line end at the end of a file is omitted, as llama.cpp omits it.
    Raises CannotJudgeError.
    """
    if file is None and text != STDIN:
        return text
    if file is not None and text:
        raise CannotJudgeError(f"{name}: expected none beside --prompt-file, found one: omit one of the two")
    if file is None or str(file) == STDIN:
        where, content = "standard input", _standard_input(name)
    else:
        where, content = str(file), _content(file)
    try:
        prompt = content.removeprefix(_BYTE_ORDER_MARK).decode()
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise CannotJudgeError(
            f"{where}: prompt: expected UTF-8, found byte 0x{byte:02x} at {error.start}: convert it to UTF-8"
        ) from error
    prompt = prompt.removesuffix("\n").removesuffix("\r")
    if not prompt:
        raise CannotJudgeError(f"{where}: prompt: expected a text, found none: write the prompt into it")
    return prompt


def _content(file: Path) -> bytes:
    try:
        return read_given(file, _MOST)
    except OSError as error:
        found = _OTHER.get(error.errno or 0, (error.strerror or "").lower())
        raise CannotJudgeError(f"{file}: prompt: expected a file of text, found {found}") from error


def _standard_input(name: str) -> bytes:
    if sys.stdin is None:
        raise CannotJudgeError("standard input: prompt: expected a text, found it closed: pipe the prompt into it")
    if sys.stdin.isatty():
        raise CannotJudgeError(
            f"standard input: prompt: expected a pipe or a file, found a terminal: type the prompt as {name}"
        )
    content = sys.stdin.buffer.read(_MOST + 1)
    if len(content) > _MOST:
        raise CannotJudgeError(f"standard input: prompt: expected at most {_MOST} bytes, found more")
    return content
