"""Find by which code the functions of a module that is imported already become those of a mutant."""

from __future__ import annotations

import gc
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FrameType, FunctionType

# What decides what a code object does. Nested ones are compared beside it, and positions in the text do not count.
_DECIDES = (
    *("co_name", "co_code", "co_names", "co_varnames", "co_freevars", "co_cellvars", "co_flags", "co_exceptiontable"),
    *("co_argcount", "co_posonlyargcount", "co_kwonlyargcount"),
)
Places = dict[tuple[str, int], list[FunctionType]]


class NotExchangeableError(Exception):
    """Raised where a mutant changes what was computed when the module was imported."""


def functions_of(path: Path) -> Places:
    """Find all functions that a module's text made, by qualified name and line."""
    found: Places = {}
    for one in gc.get_objects():
        if type(one) is FunctionType and one.__code__.co_filename == str(path):
            found.setdefault((one.__code__.co_qualname, one.__code__.co_firstlineno), []).append(one)
    return found


def changes(functions: Places, old: str, new: str) -> list[tuple[FunctionType, CodeType]]:
    """Return the functions of one text that another changes, with their new code. Raises NotExchangeableError."""
    before, after = (compile(text, "", "exec", dont_inherit=True) for text in (old, new))
    found = []
    for one, other in _differing(before, after):
        own = functions.get((one.co_qualname, one.co_firstlineno), [])
        if not own or len(one.co_freevars) != len(other.co_freevars):
            raise NotExchangeableError
        found += [(function, other) for function in own]
    return found


class Called:
    """Notes which code of a file is called, from now on."""

    def __init__(self, path: Path) -> None:
        self._path = str(path)
        self.codes: set[CodeType] = set()
        sys.setprofile(self._note)

    def _note(self, frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_filename == self._path:
            self.codes.add(frame.f_code)

    def end(self) -> None:
        sys.setprofile(None)


def _differing(old: CodeType, new: CodeType) -> Iterator[tuple[CodeType, CodeType]]:
    """Yield the outermost functions that differ, in both texts."""
    if _same(old, new):
        return
    if old.co_flags & inspect.CO_OPTIMIZED:
        yield old, new
        return
    if not _same_itself(old, new):
        raise NotExchangeableError
    for one, other in zip(_nested(old), _nested(new), strict=True):
        yield from _differing(one, other)


def _same(old: CodeType, new: CodeType) -> bool:
    return _same_itself(old, new) and all(map(_same, _nested(old), _nested(new)))


def _same_itself(old: CodeType, new: CodeType) -> bool:
    return all(getattr(old, name) == getattr(new, name) for name in _DECIDES) and _plain(old) == _plain(new)


def _plain(code: CodeType) -> list[str]:
    """Return the constants, of which 1, 1.0 and True are equal, as texts."""
    return ["code" if isinstance(one, CodeType) else repr(one) for one in code.co_consts]


def _nested(code: CodeType) -> list[CodeType]:
    return [one for one in code.co_consts if isinstance(one, CodeType)]
