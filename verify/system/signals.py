"""Ctrl-C and SIGTERM, neither of which gets lost.

The handler raises. Where that meets a destructor or a callback, Python drops it; an import may turn it into an error
of its own. So it is also written down, and raised again at the next step and at the end.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType


@dataclass
class _State:
    """Of the process, as its signals are. heard: their numbers."""

    heard: list[int] = field(default_factory=list)
    postponing: bool = False


_state = _State()


class Interrupted(SystemExit):
    """Carries the status that shells have for a process which the signal ended. Not KeyboardInterrupt: where that
    passes an exec, as dataclasses have one, the interpreter ends by SIGINT whatever status it was given."""


@contextmanager
def listening() -> Iterator[None]:
    """Raises Interrupted in the block for SIGINT and SIGTERM; at its end at the latest, whatever else came of it.
    Whoever was told to ignore one of them, as a job in the background is, goes on doing so. Main thread only."""
    hook = sys.unraisablehook
    sys.unraisablehook = lambda dropped: None if dropped.exc_type is Interrupted else hook(dropped)
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
        try:
            heed()
        finally:
            _state.heard.clear()


@contextmanager
def postponed() -> Iterator[None]:
    """What listening() raises waits for the end of the block, whose steps belong together; what came before, and got
    lost, is raised before it."""
    heed()
    _state.postponing = True
    try:
        yield
    finally:
        _state.postponing = False
        heed()


def _hear(number: int, _frame: FrameType | None) -> None:
    _state.heard.append(number)
    if not _state.postponing:
        heed()


def heed() -> None:
    """Raise Interrupted where a signal was heard, by the first. Called between steps."""
    if _state.heard:
        raise Interrupted(128 + _state.heard[0])
