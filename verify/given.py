"""Files that a user names: never waited for, and never read without end."""

from __future__ import annotations

import errno
import stat
from pathlib import Path

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
