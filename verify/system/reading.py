"""Files that a user names: never waited for, never read without end, and JSON that says one thing only."""

from __future__ import annotations

import errno
import hashlib
import json
import stat
from collections import Counter
from pathlib import Path
from typing import Any

from verify.errors import CannotJudgeError

# where the shell's <(...) and a pipe into standard input have their names: somebody holds their other end
_PIPES = tuple(map(Path, ("/dev/fd", "/proc/self/fd")))


def read_given(path: Path, most: int) -> bytes:
    """All bytes of a file or of the shell's pipe. Raises OSError, also where there are more than so many."""
    if path != Path("/dev/stdin") and path.parent not in _PIPES:
        check_regular(path)
    with path.open("rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"more than {most} bytes", str(path))
    return content


def check_regular(path: Path) -> None:
    """Raises OSError for what is there and no regular file: a FIFO may have nobody who writes to it, a device no
    end."""
    mode = path.stat().st_mode
    # a directory's error is the system's
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise OSError(errno.EINVAL, "no regular file", str(path))


def read_object(path: Path, most: int, what: str = "a JSON object") -> dict[str, Any]:
    """A file's JSON object of at most so many bytes; what: is expected there. Raises CannotJudgeError for a key that
    stands twice, NaN, another kind of value, nesting too deep to follow, and what cannot be read."""
    return read_hashed(path, most, what)[0]


def read_hashed(path: Path, most: int, what: str = "a JSON object") -> tuple[dict[str, Any], str]:
    """Likewise, with the sha256 of the very bytes that it was made of."""
    try:
        content = read_given(path, most)
        said = json.loads(content.decode("utf-8"), object_pairs_hook=_each_once, parse_constant=_no_number)
    except (OSError, ValueError, RecursionError) as error:
        reason = (error.strerror or "").lower() if isinstance(error, OSError) else str(error).splitlines()[0]
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
    raise ValueError(f"{word}, which is no number of JSON")
