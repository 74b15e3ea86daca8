"""Imports of large packages, which take seconds: a pulse for each of their modules."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

from verify.system.pulse import IMPORTED, pulse


class _Counter(MetaPathFinder):
    """Finds no module, but is asked for each."""

    def find_spec(
        self, _name: str, _path: Sequence[str] | None, _target: ModuleType | None = None, /
    ) -> ModuleSpec | None:
        pulse(IMPORTED)
        return None


@contextmanager
def counted_imports() -> Iterator[None]:
    """Send a pulse for each module that this thread imports in the block."""
    counter = _Counter()
    sys.meta_path.insert(0, counter)
    try:
        yield
    finally:
        sys.meta_path.remove(counter)
