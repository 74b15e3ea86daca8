"""Ctrl-C and SIGTERM, neither of which gets lost.

The handler raises KeyboardInterrupt. Where that meets a destructor or a callback, Python drops it; an import may turn
it into an error of its own. So it is also written down, and raised again at the next step and at the end.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_heard: list[int] = []


@contextmanager
def listening() -> Iterator[None]:
    """Raises KeyboardInterrupt in the block for SIGINT and SIGTERM; at its end at the latest, whatever else came of
    it. Whoever was told to ignore one of them, as a job in the background is, goes on doing so. Main thread only."""
    _heard.clear()
    hook = sys.unraisablehook
    sys.unraisablehook = lambda dropped: None if dropped.exc_type is KeyboardInterrupt else hook(dropped)
    before = {
        number: signal.signal(number, _hear)
        for number in (signal.SIGINT, signal.SIGTERM)
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        sys.unraisablehook = hook
        heed()


def _hear(number: int, _frame: FrameType | None) -> None:
    _heard.append(number)
    raise KeyboardInterrupt


def heed() -> None:
    """Raise KeyboardInterrupt where one was heard. Called between steps."""
    if _heard:
        raise KeyboardInterrupt


def heard() -> int:
    """The signal that interrupted first."""
    return _heard[0] if _heard else signal.SIGINT
