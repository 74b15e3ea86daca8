"""C's status becomes an exception: by its code, with its values as text."""

from __future__ import annotations

import errno
from typing import Any

import pytest
from reader_c._reader import ffi, lib

import reader_c
from reader_c.status import check

# kept here, because C's status holds no more than pointers to them
FIELD, RULE = ffi.new("char[]", b"dim"), ffi.new("char[]", b"at least")


@pytest.fixture
def status() -> Any:
    found = ffi.new("rc_status *")
    found.field, found.rule = FIELD, RULE
    found.offset, found.expected, found.found = 8, 1, -5
    return found


def test_success_raises_nothing(status: Any) -> None:
    check("f.bin", lib.RC_OK, status)


@pytest.mark.parametrize(
    ("code", "kind", "message"),
    [
        ("RC_ARGUMENT", reader_c.ArgumentError, "f.bin: dim at 8: expected at least 1, found -5"),
        ("RC_MEMORY", reader_c.ReaderMemoryError, "f.bin: dim at 8: expected 1 bytes of memory, found fewer"),
    ],
)
def test_each_code_has_its_exception(status: Any, code: str, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind) as caught:
        check("f.bin", getattr(lib, code), status)
    assert type(caught.value) is kind
    assert str(caught.value) == message


def test_no_offset_is_none(status: Any) -> None:
    status.offset = -1
    with pytest.raises(reader_c.ArgumentError) as caught:
        check("f.bin", lib.RC_ARGUMENT, status)
    assert caught.value.offset is None
    assert str(caught.value) == "f.bin: dim: expected at least 1, found -5"


def test_real_numbers_and_names_are_said_as_such(status: Any) -> None:
    status.is_real, status.found_real = 1, 0.5
    with pytest.raises(reader_c.ArgumentError) as caught:
        check("f.bin", lib.RC_ARGUMENT, status)
    assert str(caught.value) == "f.bin: dim at 8: expected at least, found 0.5"
    status.is_real, status.is_name = 0, 1
    status.expected_name, status.found_name = b"norm.weight", b"x"
    with pytest.raises(reader_c.ArgumentError) as caught:
        check("f.bin", lib.RC_ARGUMENT, status)
    assert str(caught.value) == "f.bin: dim at 8: expected at least 'norm.weight', found 'x'"


def test_a_system_error_keeps_its_number(status: Any) -> None:
    status.system_error = errno.EMFILE
    with pytest.raises(reader_c.ReaderSystemError) as caught:
        check("f.bin", lib.RC_SYSTEM, status)
    assert caught.value.errno == errno.EMFILE
