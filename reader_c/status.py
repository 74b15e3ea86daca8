"""Turn C's status into an exception. No other module does."""

from __future__ import annotations

from typing import Any

from reader_c import errors
from reader_c._reader import ffi, lib


def check(path: str, code: int, status: Any, *, remark: str | None = None) -> None:
    """Raise the exception for a failed call of C. path: the file. code: the call's result; RC_OK raises nothing.

    remark: what to add where the file is at fault; by default, which kind of file it seems to be instead of a .bin.
    """
    if code == lib.RC_OK:
        return
    field = ffi.string(status.field).decode()
    if code == lib.RC_SYSTEM:
        raise errors.ReaderSystemError(path, field, status.system_error)
    offset = None if status.offset < 0 else status.offset
    if code == lib.RC_MEMORY:
        raise errors.ReaderMemoryError(path, field, offset, f"{status.expected} bytes of memory", "fewer")
    expected, found = _expected_and_found(status)
    if code == lib.RC_ARGUMENT:
        raise errors.ArgumentError(path, field, offset, expected, found)
    raise errors.InvalidFileError(
        path, field, offset, expected, found + (errors.remark_on_kind(path) if remark is None else remark)
    )


def _expected_and_found(status: Any) -> tuple[str, str]:
    """What a status says was expected and found: whole numbers, unless it has a real number, a text or a name."""
    rule = ffi.string(status.rule).decode()
    if status.is_real:
        return rule, repr(status.found_real)
    if status.found_text != ffi.NULL:
        return rule, ffi.string(status.found_text).decode()
    if status.is_name:
        name = ffi.string(status.expected_name).decode()
        return f"{rule} {name!r}".strip() if name else rule, repr(ffi.string(status.found_name).decode())
    return f"{rule} {status.expected}", str(status.found)
