"""Publish two files, both or neither: the first one's name is taken back where the second gets none."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from exporter.disk.publish import publish
from exporter.errors import NotLastingError, as_write_error


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
