"""What the commands show while they work."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from verify.report.console import Display
    from verify.run.options import Options


def shown(options: Options, progress: Display, *, verbose: bool) -> Options:
    """Show progress, and the cost where a limit was given or the display announces it. verbose: report times, too."""
    from verify.run.progress import Stopwatch  # noqa: PLC0415  # --help does not wait for it

    announce = progress.tell if options.memory is not None or progress.announces else None
    return replace(options, announce=announce, progress=Stopwatch(progress), forecast=progress.plan, timed=verbose)


@contextlib.contextmanager
def watched(progress: Display, *, wanted: bool) -> Iterator[None]:
    """Report the measured cost beside the prediction."""
    if not wanted:
        yield
        return
    from verify.run.memory import Watch  # noqa: PLC0415  # as above

    watch = Watch()
    with watch.watching():
        yield
        progress.tell(watch.taken.describe())
