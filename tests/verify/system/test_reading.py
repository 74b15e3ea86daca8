"""A file that a user names is read to a limit, and its JSON has one meaning or is refused."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verify.errors import CannotJudgeError
from verify.system.reading import check_regular, read_given, read_hashed, read_object

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("given") / "given.json"


@given(st.dictionaries(st.text(), VALUES))
def test_an_object_comes_back_with_the_digest_of_its_bytes(path: Path, value: dict[str, object]) -> None:
    content = json.dumps(value).encode()
    path.write_bytes(content)
    assert read_hashed(path, len(content)) == (value, hashlib.sha256(content).hexdigest())
    assert read_object(path, len(content)) == value


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b'{"a": 1, "a": 1}', "'a' 2 times"),
        (b'{"b": {"a": 1, "a": 2, "a": 3}}', "'a' 3 times"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": -Infinity}', "-Infinity"),
        (b"[1]", "a list"),
        (b"1", "a int"),
        (b'{"a": 1', "Expecting"),
        (b'{"a": "\xff"}', "no JSON: byte 7 is not UTF-8"),
        (b'{"a": ' + b"[" * 100_000, "recursion"),
        (b'{"a": "%s"}' % (b"x" * 200_000), "more than 150000 bytes"),
        (b"", "Expecting value"),
    ],
)
def test_json_that_says_no_one_thing_is_refused(tmp_path: Path, content: bytes, found: str) -> None:
    path = tmp_path / "given.json"
    path.write_bytes(content)
    with pytest.raises(CannotJudgeError) as refused:
        read_object(path, 150_000, "a policy")
    message = str(refused.value)
    assert message.startswith(f"{path}: expected a policy, found: ")
    assert found in message
    assert len(message.splitlines()) == 1


def test_a_file_may_have_as_many_bytes_as_the_limit_and_not_one_more(tmp_path: Path) -> None:
    path = tmp_path / "given"
    path.write_bytes(b"12345")
    assert read_given(path, 5) == b"12345"
    with pytest.raises(OSError, match="more than 4 bytes") as refused:
        read_given(path, 4)
    assert refused.value.errno == errno.EFBIG


def test_what_could_wait_or_never_end_is_not_opened(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for path in (fifo, Path("/dev/zero"), Path("/dev/null")):
        with pytest.raises(OSError, match="no regular file"):
            read_given(path, 5)
        with pytest.raises(OSError, match="no regular file"):
            check_regular(path)
    with pytest.raises(IsADirectoryError):
        read_given(tmp_path, 5)
    with pytest.raises(CannotJudgeError, match=r"found: no such file or directory$"):
        read_object(tmp_path / "none", 5)


def test_a_pipe_of_the_shell_is_read() -> None:
    reading, writing = os.pipe()
    try:
        os.write(writing, b'{"a": 1}')
        os.close(writing)
        assert read_object(Path(f"/dev/fd/{reading}"), 100) == {"a": 1}
    finally:
        os.close(reading)
