"""Ctrl-C and SIGTERM, so that neither gets lost.

The handler raises an exception. Python drops an exception that is raised in a destructor or a callback, and an import
may turn it into another error. So the signal is also recorded, and raised again at the next step and at the end.
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
    """The state of the process. heard: numbers of the signals that arrived."""

    heard: list[int] = field(default_factory=list)
    postponing: bool = False


_state = _State()


class Interrupted(SystemExit):
    """Ends the process with the exit status that shells use for the signal.

    It is not a KeyboardInterrupt: if that passes through exec(), which dataclasses use, the interpreter ends by
    SIGINT, whatever exit status it was given.
    """


@contextmanager
def listening() -> Iterator[None]:
    """Raise Interrupted in the block for SIGINT and SIGTERM, at its end at the latest.

    A signal that the process ignores, as a background job does, stays ignored. Main thread only.
    """
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
    """Delay interrupts to the end of the block, whose steps belong together; an interrupt that was lost before is
    raised first."""
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
    """Raise Interrupted if a signal has arrived. Call it between steps."""
    if _state.heard:
        raise Interrupted(128 + _state.heard[0])
