"""Signs of life from inside long work: code that computes says how much it has done, and code that shows progress
listens.

A pulse counts work in multiplications of float32 matrices that take as long. The counts are rough: they say how far
a pass is, and they predict how long one takes beside another. Nobody listens on other threads and in other processes,
and a pulse costs nothing there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Listener = Callable[[float], None]

# Work for each weight: to read it as float32, to derive what the file stores of it, to compare the two.
READ, DERIVED, CHECKED = 300.0, 500.0, 500.0
# Work for each module that is imported; modules of PyTorch, and of transformers beside it.
IMPORTED, OF_PYTORCH, OF_TRANSFORMERS = 1e7, 1100, 1900
# Work for each byte of which the SHA-256 is computed.
HASHED = 8.0
# Work for each logit that is compared with another.
COMPARED = 1500.0
# Work for each multiplication: in float64, with noise in it, recomputed with its bound.
WIDE, NOISY, BOUNDED = 2.0, 1.8, 10.0

_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)


def pulse(work: float) -> None:
    """Say that this much more is done. The listener may raise Interrupted."""
    listener = _listener.get()
    if listener is not None:
        listener(work)


@contextmanager
def heard_by(listener: Listener) -> Iterator[None]:
    """Send the pulses of this thread to the listener."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)
