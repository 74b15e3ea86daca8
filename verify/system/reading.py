"""Reading files that a user names: without waiting, within a limit, and JSON without ambiguity."""

from __future__ import annotations

import errno
import hashlib
import json
import stat
from collections import Counter
from pathlib import Path
from typing import Any

from verify.errors import CannotJudgeError

# where <(...) of the shell and a pipe into standard input have their names: a process holds the other end
_PIPES = tuple(map(Path, ("/dev/fd", "/proc/self/fd")))


def read_given(path: Path, most: int) -> bytes:
    """Return all bytes of a file or of a pipe of the shell. Raises OSError, also for more than `most` bytes."""
    check_given(path)
    with path.open("rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"more than {most} bytes", str(path))
    return content


def check_given(path: Path) -> None:
    """Raise OSError for a file that is neither regular nor a pipe of the shell."""
    if path != Path("/dev/stdin") and path.parent not in _PIPES:
        check_regular(path)


def check_regular(path: Path) -> None:
    """Raise OSError for a file that is not regular: a FIFO may have no writer, and a device no end."""
    mode = path.stat().st_mode
    # opening a directory raises the system's own error
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise OSError(errno.EINVAL, "no regular file", str(path))


def read_object(path: Path, most: int, what: str = "a JSON object") -> dict[str, Any]:
    """Return a file's JSON object of at most `most` bytes. what: the word for it in error messages.

    Raises CannotJudgeError for a repeated key, NaN, another kind of value, too deep nesting, and an unreadable file.
    """
    return read_hashed(path, most, what)[0]


def read_hashed(path: Path, most: int, what: str = "a JSON object") -> tuple[dict[str, Any], str]:
    """Return the JSON object as read_object() does, and the sha256 of the bytes it was read from."""
    try:
        content = read_given(path, most)
        said = json.loads(content.decode("utf-8"), object_pairs_hook=_each_once, parse_constant=_no_number)
    except (OSError, ValueError, RecursionError) as error:
        reason = (error.strerror or "").lower() if isinstance(error, OSError) else str(error).splitlines()[0]
        if isinstance(error, UnicodeDecodeError):
            reason = f"no JSON: byte {error.start} is not UTF-8"
        if path.is_dir() and what.endswith(".json"):
            reason = f"a directory: give {path / what.rsplit(maxsplit=1)[-1]}"
        raise CannotJudgeError(f"{path}: expected {what}, found: {reason[:200]}") from error
    if not isinstance(said, dict):
        raise CannotJudgeError(f"{path}: expected {what}, found: a {type(said).__name__}")
    return said, hashlib.sha256(content).hexdigest()


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    [(key, times)] = Counter(key for key, _ in pairs).most_common(1) or [("", 0)]
    if times > 1:
        raise ValueError(f"{key[:80]!r} {times} times")
    return dict(pairs)


def _no_number(word: str) -> None:
    raise ValueError(f"{word}, which is not a JSON number")
