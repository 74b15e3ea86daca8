"""Turn C's status into an exception. No other module does."""

from __future__ import annotations

from typing import Any

from reader_c import errors
from reader_c._reader import ffi, lib


def check(path: str, code: int, status: Any) -> None:
    """Raise the exception for a failed call of C. path: the file. code: the call's result; RC_OK raises nothing."""
    if code == lib.RC_OK:
        return
    field = ffi.string(status.field).decode()
    rule = ffi.string(status.rule).decode()
    if code == lib.RC_SYSTEM:
        raise errors.ReaderSystemError(path, field, status.system_error)
    offset = None if status.offset < 0 else status.offset
    if code == lib.RC_MEMORY:
        raise errors.ReaderMemoryError(path, field, offset, f"{status.expected} bytes of memory", "fewer")
    expected, found = f"{rule} {status.expected}", str(status.found)
    if status.is_real:
        expected, found = rule, repr(status.found_real)
    elif status.expected_name[0] != b"\0":
        names = (ffi.string(name).decode() for name in (status.expected_name, status.found_name))
        expected, found = (repr(name) for name in names)
    if code == lib.RC_ARGUMENT:
        raise errors.ArgumentError(path, field, offset, expected, found)
    raise errors.InvalidFileError(path, field, offset, expected, found + errors.remark_on_kind(path))
