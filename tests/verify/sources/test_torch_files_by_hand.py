"""Files of torch.save before and after PyTorch reads them. Quick, because most are archives made by hand."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from verify.errors import CannotJudgeError
from verify.sources import torch_files
from verify.sources.torch_files import _refuse_echoes, mapped, refusing, sha256, shown


def refused_echo(value: object, protocol: int) -> bool:
    _refuse_echoes.cache_clear()
    try:
        _refuse_echoes(pickle.dumps(value, protocol))
    except ValueError as error:
        assert str(error) == "a tuple of more than 10000 values, written out"  # noqa: PT017
        return True
    return False


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize(
    ("around", "most"),
    [
        (lambda one: (one,), 9_999),
        (lambda one: (one, one), 4_999),
        (lambda one: (one, one, one, one), 2_499),
        (lambda one: (0, one, one, one), 3_332),
        (lambda one: ((1,), one, one), 4_998),
        (lambda one: ((one, one), (one, one)), 2_498),
    ],
)
def test_a_tuple_that_is_repeated_counts_each_time(
    protocol: int, around: Callable[[tuple[int, ...]], object], most: int
) -> None:
    """By a name that the pickle gives it, or by its number; with a mark before its parts, or without."""
    assert not refused_echo(around(tuple(range(most))), protocol)
    assert refused_echo(around(tuple(range(most + 1))), protocol)


@pytest.mark.parametrize("protocol", [2, 4])
def test_a_tuple_of_two_and_a_number_is_counted_to_the_last(protocol: int) -> None:
    assert refused_echo((0, *(tuple(range(4_999)),) * 2), protocol)
    assert not refused_echo((0, *(tuple(range(4_998)),) * 2), protocol)


def test_what_a_list_holds_is_not_written_out() -> None:
    one = tuple(range(9_999))
    assert not refused_echo([one, one, {"a": one}], 2)
    assert not refused_echo(tuple([0, 0] for _ in range(5_000)), 2)
    assert not refused_echo(tuple({"a": 0, "b": 0} for _ in range(5_000)), 2)


class Loaded:
    """torch.load replaced: what it was given, and nothing read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.given: list[Any] = []

        def load(*positional: Any, **named: Any) -> str:
            self.given.append((positional, named))
            return "loaded"

        monkeypatch.setattr(torch_files, "torch", SimpleNamespace(load=load))


def test_tensors_stay_in_the_file_and_nothing_that_is_pickled_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded, path = Loaded(monkeypatch), tmp_path / "m.pt"
    path.write_bytes(b"no archive")
    assert mapped(path) == "loaded"
    assert loaded.given == [((str(path),), {"map_location": "cpu", "mmap": True, "weights_only": True})]


def archive(path: Path, *members: tuple[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as made:
        for name, content in members:
            made.writestr(name, content)
    return path


BYTE_ORDER = ("m/byteorder", b"little")
ECHO = pickle.dumps(((0,) * 10_000, 1), 2)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("members", "message"),
    [
        ((("m/data.pkl", b"N."), BYTE_ORDER), None),
        ((("m/a", b""), ("m/a", b"")), "'m/a' twice"),
        ((("m/constants.pkl", b""),), "TorchScript, which is a program"),
        ((("constants.pkl", b""),), None),
        ((("m/byteorder", b"big"),), "numbers that are not little-endian"),
        ((("m/a", b""), ("m/byteorder", b"")), "numbers that are not little-endian"),
        ((("m/data.pkl", ECHO),), "a tuple of more than 10000 values, written out"),
        ((BYTE_ORDER, ("m/DATA.PKL", ECHO)), "a tuple of more than 10000 values, written out"),
        ((("m/other.pkl", ECHO),), None),
    ],
)
def test_archives_of_tricks_are_refused_before_torch_sees_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, members: tuple[tuple[str, bytes], ...], message: str | None
) -> None:
    loaded, path = Loaded(monkeypatch), archive(tmp_path / "m.pt", *members)
    if message is None:
        assert mapped(path) == "loaded"
        return
    with pytest.raises(ValueError) as caught:  # noqa: PT011  # its whole text is compared
        mapped(path)
    assert (str(caught.value), loaded.given) == (message, [])


def test_a_compressed_entry_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Loaded(monkeypatch)
    path = archive(tmp_path / "m.pt", ("m/a", b"a" * 99), compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(ValueError, match=r"^'m/a' compressed, which torch would map as it is$"):
        mapped(path)


@pytest.mark.parametrize(("at", "value"), [(10, 8), (24, 98)])
def test_an_entry_is_stored_by_its_method_and_by_its_sizes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int, value: int
) -> None:
    """Of an entry of 99 bytes, the archive's directory says that it is deflated to 99 bytes, or that it has 98."""
    Loaded(monkeypatch)
    path = archive(tmp_path / "m.pt", ("m/a", b"a" * 99))
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\1\2") + at] = value
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"^'m/a' compressed, which torch would map as it is$"):
        mapped(path)


def test_entries_that_share_bytes_of_the_file_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One entry's name is given to its bytes a second and third time."""
    Loaded(monkeypatch)
    path = archive(tmp_path / "m.pt", *((f"m/{name}", b"a" * 400) for name in "abc"))
    content = path.read_bytes()
    mapped(path)
    # the directory at the end stays; of the three entries, two point to the first
    entries = content.index(b"PK\1\2")
    directory = bytearray(content[entries:])
    for at in range(0, 3 * 49, 49):
        assert directory[at : at + 4] == b"PK\1\2"
        directory[at + 42 : at + 46] = bytes(4)
    end = directory.index(b"PK\5\6")
    directory[end + 16 : end + 20] = (entries // 3).to_bytes(4, "little")
    path.write_bytes(content[: entries // 3] + bytes(directory))
    with pytest.raises(ValueError, match=r"^entries that are larger than the file$"):
        mapped(path)


def test_a_name_that_is_no_utf_8_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^a name that is not UTF-8, and PyTorch opens no other$"):
        mapped(tmp_path / "\udc80")


@pytest.mark.parametrize(
    ("error", "found"), [(OSError("Odd Text"), "odd text"), (OSError(2, "No Such File"), "no such file")]
)
def test_a_file_that_cannot_be_read_has_no_digest(
    monkeypatch: pytest.MonkeyPatch, error: OSError, found: str
) -> None:
    def fail(_path: Path) -> str:
        raise error

    monkeypatch.setattr(torch_files, "sha256_of_file", fail)
    with pytest.raises(CannotJudgeError) as caught:
        sha256(Path("m.pt"))
    assert str(caught.value) == f"m.pt: expected a readable checkpoint, found: {found}"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (RuntimeError("one\ntwo\nthree"), "expected a checkpoint, found: one"),
        (RuntimeError(), "expected a checkpoint, found: RuntimeError"),
        (RuntimeError("x" * 300), f"expected a checkpoint, found: {'x' * 200}"),
        (
            pickle.UnpicklingError("a\nb"),
            "expected plain tensors, found a pickle that asks for more: load it where you trust it, and torch.save "
            "only dicts, lists, numbers, strings and tensors",
        ),
    ],
)
def test_what_torch_raises_becomes_one_line(error: Exception, message: str) -> None:
    with pytest.raises(CannotJudgeError) as caught, refusing(Path("m.pt"), "a checkpoint"):
        raise error
    assert str(caught.value) == f"m.pt: {message}"


def test_a_refusal_stays_as_it_is() -> None:
    with pytest.raises(CannotJudgeError, match=r"^as it is$"), refusing(Path("m.pt"), "a checkpoint"):
        raise CannotJudgeError("as it is")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "None"),
        ("x" * 300, "x" * 200),
        (5, "5"),
        (1.5, "1.5"),
        (True, "True"),
        ([1], "a list"),
        ((), "a tuple"),
        (torch.ones(1), "a Tensor"),
    ],
)
def test_of_values_with_parts_only_the_type_is_shown(value: object, text: str) -> None:
    assert shown(value) == text
