"""Archives of torch.save before PyTorch reads them, and what becomes of its errors. Quick: most are made by hand."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import exporter
from exporter.sources import torch_files
from exporter.sources.torch_files import (
    _first_line,
    _is_followed_soon,
    buffer_rows,
    checked_tensor,
    load_mapped,
    to_float32,
)


def followed_soon(value: object, protocol: int) -> bool:
    _is_followed_soon.cache_clear()
    return _is_followed_soon(pickle.dumps(value, protocol))


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
        (lambda one: [[0], {"a": 1}, (one, one)], 4_999),
    ],
)
def test_a_tuple_that_is_repeated_counts_each_time(
    protocol: int, around: Callable[[tuple[int, ...]], object], most: int
) -> None:
    assert followed_soon(around(tuple(range(most))), protocol)
    assert not followed_soon(around(tuple(range(most + 1))), protocol)


def test_what_a_list_holds_is_not_counted() -> None:
    one = tuple(range(9_999))
    assert followed_soon([one, one, {"a": one}], 2)
    assert followed_soon(tuple([0, 0] for _ in range(5_000)), 2)
    assert followed_soon(tuple({"a": 0, "b": 0} for _ in range(5_000)), 2)


class Loaded:
    """torch.load replaced: what it was given, and what it raises instead of reading anything."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, error: Exception | None = None) -> None:
        self.given: list[Any] = []

        def load(*positional: Any, **named: Any) -> str:
            self.given.append((positional, named))
            if error:
                raise error
            return "loaded"

        monkeypatch.setattr(torch_files.torch, "load", load)


def refused(path: Path) -> str:
    with pytest.raises(exporter.CheckpointError) as caught:
        load_mapped(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    return text.removeprefix(f"{path}: ")


def archive(path: Path, *members: tuple[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as made:
        for name, content in members:
            made.writestr(name, content)
    return path


def test_tensors_stay_in_the_file_and_nothing_that_is_pickled_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded, path = Loaded(monkeypatch), archive(tmp_path / "m.pt", ("m/data.pkl", b"N."))
    assert load_mapped(path) == "loaded"
    assert loaded.given == [((str(path),), {"map_location": "cpu", "mmap": True, "weights_only": True})]


ECHO = pickle.dumps(((0,) * 10_000, 1), 2)
EXPECTED = "expected torch.save's zip archive,"


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("members", "message"),
    [
        ((("m/data.pkl", b"N."), ("m/byteorder", b"little")), None),
        ((("m/a", b""), ("m/b", b""), ("m/a", b"")), f"{EXPECTED} each entry once, found 'm/a'"),
        ((("m/constants.pkl", b""),), f"{EXPECTED} no TorchScript, found 'm/constants.pkl'"),
        ((("constants.pkl", b""),), None),
        ((("m/byteorder", b"big"),), f"{EXPECTED} little-endian, found b'big'"),
        ((("m/a", b""), ("m/byteorder", b"")), f"{EXPECTED} little-endian, found b''"),
        ((("m/byteorder", b"x" * 15),), f"{EXPECTED} little-endian, found {b'x' * 15!r}"),
        ((("m/byteorder", b"x" * 16),), None),
        ((("m/byteorder", b"little"), ("n/byteorder", b"little")), None),
        (
            (("m/data.pkl", ECHO),),
            f"{EXPECTED} tuples of at most 10000 values, found 'one that holds others over and over'",
        ),
        (
            (("m/a", b""), ("m/DATA.PKL", ECHO)),
            f"{EXPECTED} tuples of at most 10000 values, found 'one that holds others over and over'",
        ),
        ((("m/other.pkl", ECHO),), None),
    ],
)
def test_archives_of_tricks_are_refused_before_torch_sees_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, members: tuple[tuple[str, bytes], ...], message: str | None
) -> None:
    loaded, path = Loaded(monkeypatch), archive(tmp_path / "m.pt", *members)
    if message is None:
        assert load_mapped(path) == "loaded"
    else:
        assert (refused(path), loaded.given) == (message, [])


def test_a_compressed_entry_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Loaded(monkeypatch)
    path = archive(tmp_path / "m.pt", ("m/a", b"a" * 99), compression=zipfile.ZIP_DEFLATED)
    assert refused(path) == f"{EXPECTED} nothing compressed, found 'm/a'"


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
    assert refused(path) == f"{EXPECTED} nothing compressed, found 'm/a'"


def test_entries_that_share_bytes_of_the_file_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three entries point to the bytes of the first, and the other bytes are gone."""
    Loaded(monkeypatch)
    path = archive(tmp_path / "m.pt", *((f"m/{name}", b"a" * 400) for name in "abc"))
    content = path.read_bytes()
    entries = content.index(b"PK\1\2")
    directory = bytearray(content[entries:])
    for at in range(0, 3 * 49, 49):
        directory[at + 42 : at + 46] = bytes(4)
    end = directory.index(b"PK\5\6")
    directory[end + 16 : end + 20] = (entries // 3).to_bytes(4, "little")
    path.write_bytes(content[: entries // 3] + bytes(directory))
    assert refused(path) == f"{EXPECTED} entries that are within it, found 'larger ones'"


def test_a_damaged_archive_is_refused_and_no_archive_is_left_to_torch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded, path = Loaded(monkeypatch), archive(tmp_path / "m.pt", ("m/data.pkl", b"N."))
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\1\2")] = 0
    path.write_bytes(content)
    assert refused(path).startswith("expected torch.save's zip archive, found a damaged one: ")
    assert loaded.given == []
    path.write_bytes(b"no archive")
    assert load_mapped(path) == "loaded"


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "an empty file"),
        (b"PK\3", "a file of another kind"),
        (b"PK\3\4 and more", "one whose end is missing"),
        (b"abc", "a file of another kind"),
        (None, "one that is cut or damaged"),
    ],
)
@pytest.mark.parametrize(
    "error",
    [RuntimeError("a"), ValueError(), OSError(), EOFError(), KeyError(), TypeError(), AttributeError(), IndexError()],
)
def test_whatever_torch_raises_is_told_by_what_the_file_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None, found: str, error: Exception
) -> None:
    Loaded(monkeypatch, error)
    path = archive(tmp_path / "m.pt", ("m/data.pkl", b"N."))
    if content is not None:
        path.write_bytes(content)
    assert refused(path) == f"expected a checkpoint in torch.save's zip format, found {found}"


def test_a_pickle_that_asks_for_more_is_refused_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Loaded(monkeypatch, pickle.UnpicklingError("many words\n  GLOBAL os.system is not allowed\nmore"))
    assert refused(archive(tmp_path / "m.pt", ("m/data.pkl", b"N."))) == (
        "refused: expected tensors and plain data alone, found GLOBAL os.system is not allowed: save it again where "
        "it was made, as tensors in plain dicts and lists (vars(args) where args is an object)"
    )


def test_a_name_that_is_no_utf_8_is_refused(tmp_path: Path) -> None:
    assert refused(tmp_path / "\udc80") == "expected a name in UTF-8, as PyTorch opens no other, found bytes"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("\n a \nb", "a"),
        ("a\nUnsupported b\nGLOBAL c", "Unsupported b"),
        ("", "ValueError"),
        ("x" * 300, "x" * 200),
    ],
)
def test_the_telling_line_of_an_error(text: str, line: str) -> None:
    assert _first_line(ValueError(text)) == line


def test_rows_of_a_buffer_are_read_as_they_are() -> None:
    shape, rows = buffer_rows("here", torch.arange(24.0).reshape(2, 3, 4))
    assert (shape, rows(range(1, 3)).tolist()) == ((2, 3, 4), [[4, 5, 6, 7], [8, 9, 10, 11]])
    shape, rows = buffer_rows("here", torch.tensor(5.0))
    assert (shape, rows(range(1)).tolist()) == ((), [[5.0]])
    halves = torch.tensor([[1.5, -2.0]]).bfloat16()
    found = buffer_rows("here", halves)[1](range(1))
    assert (found.dtype.name, found.astype(np.float32).tolist()) == ("bfloat16", [[1.5, -2.0]])
    complex_numbers = torch.tensor([[1 + 2j, 3 - 4j]])
    assert buffer_rows("here", complex_numbers)[1](range(1)).tolist() == [[1 + 2j, 3 - 4j]]
    assert buffer_rows("here", complex_numbers.to(torch.complex128))[0] == (1, 2)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (torch.tensor([1 + 2j]).conj(), "expected a floating-point tensor, found torch.complex64"),
        (torch.tensor([1 + 2j]).to_sparse(), "expected a dense tensor, found Tensor"),
        (torch.tensor([1]), "expected a floating-point tensor, found torch.int64"),
        ("text", "expected a dense tensor, found str"),
    ],
)
def test_other_buffers_are_refused(value: object, found: str) -> None:
    with pytest.raises(exporter.CheckpointError, match=rf"^here: {found}$"):
        buffer_rows("here", value)


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
def test_a_quantized_tensor_is_not_dense() -> None:
    quantized = torch.quantize_per_tensor(torch.ones(2), 0.5, 0, torch.qint8)
    with pytest.raises(exporter.CheckpointError, match=r"^here: expected a dense tensor, found Tensor$"):
        checked_tensor("here", quantized)


def test_an_element_that_float32_cannot_hold_is_named_in_the_whole_tensor() -> None:
    wide = torch.tensor([[1.0, 2.0], [3.0, 1 + 2.0**-24]], dtype=torch.float64)
    for start, index in (((), (1, 1)), ((5, 0), (6, 1)), ((5, 7), (6, 8))):
        with pytest.raises(exporter.WeightError) as caught:
            to_float32("here", wide, start)
        assert str(caught.value) == (
            f"here{list(index)}: expected a value that float32 can hold, found 1.0000000596046448"
        )
        assert caught.value.index == index
    assert to_float32("here", wide[:1]).tolist() == [[1.0, 2.0]]
    # of several, the first
    with pytest.raises(exporter.WeightError, match=r"^here\[0\]: "):
        to_float32("here", torch.full((3,), 1 + 2.0**-24, dtype=torch.float64))
