"""Publish two files, both or neither: the first one's name is taken back where the second gets none."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

from exporter.disk.publish import publish
from exporter.disk.workspace import workspace
from exporter.errors import NotLastingError, as_write_error

# called when the other file is published, around it
Publish = Callable[[], AbstractContextManager[None]]


@contextlib.contextmanager
def staged_beside(content: bytes, target: Path, *, overwrite: bool) -> Iterator[tuple[Publish, Path]]:
    """Write content beside target; yield what publishes it with another file, and where it is until then."""
    with workspace(target) as room:
        temporary = room / target.name
        with as_write_error(target), temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        yield partial(published_with, temporary, target, overwrite=overwrite), temporary


@contextlib.contextmanager
def published_with(temporary: Path, target: Path, *, overwrite: bool) -> Iterator[None]:
    """Give a complete, synced file its name before the block, and take it back where the block fails.

    The block publishes the other file; NotLastingError from it means that the other file has its name. temporary lies
    in target's workspace and has target's name. A file that stood at target stands there again after a failure.
    Raises WriteError.
    """
    # a name that the workspace does not use itself
    earlier = temporary.with_name("previous" if "earlier".startswith(target.name) else "earlier")
    with as_write_error(target):
        made = temporary.stat()
        if overwrite and target.exists():
            earlier.hardlink_to(target)
        try:
            publish(temporary, target, overwrite=overwrite)
        except NotLastingError:
            _take_back(target, earlier)
            raise
    try:
        yield
    except NotLastingError:
        raise
    except BaseException:
        # somebody else's file stays
        if target.exists() and (found := target.stat()).st_ino == made.st_ino and found.st_dev == made.st_dev:
            _take_back(target, earlier)
        raise


def _take_back(target: Path, earlier: Path) -> None:
    """Give the earlier file its name again, or remove the name."""
    if earlier.exists():
        earlier.replace(target)
    else:
        target.unlink()
