"""Weight files made by hand: what is whole is read, and what is not is refused to the word."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from verify.checks.directory import containers
from verify.checks.directory.containers import StoredTensor, read_headers
from verify.errors import CannotJudgeError


def entry(dtype: object = "F32", shape: object = (2,), ends: object = (0, 8)) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": ends}


def written(directory: Path, header: object, payload: bytes = b"", *, length: int | None = None) -> Path:
    """A safetensors file. length: what it says of its header, if not the truth."""
    path = directory / "model.safetensors"
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes((len(text) if length is None else length).to_bytes(8, "little") + text + payload)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(ValueError, match=": ") as caught:
        read_headers(path)
    return str(caught.value)


def test_tensors_of_every_type_are_read_as_they_are_stored(tmp_path: Path) -> None:
    arrays = {
        "a": (np.array([[1.5, -0.0], [np.inf, 3.0]], np.float32), "F32", "fp32"),
        "b": (np.array([1.5, 2.5, -3.0], np.float16), "F16", "fp16"),
        "c": (np.array([0x3FC0, 0x8000], np.uint16), "BF16", "bf16"),
        "d": (np.array(7.0, np.float32), "F32", "fp32"),
    }
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    payload = b""
    for name, (array, kind, _) in arrays.items():
        header[name] = entry(kind, array.shape, (len(payload), len(payload) + array.nbytes))
        payload += array.tobytes()
    path = written(tmp_path, header, payload)
    start, held = path.stat().st_size - len(payload), read_headers(path)
    assert held.keys() == arrays.keys()
    at = start
    for name, (array, _, storage) in arrays.items():
        found = held[name]
        assert found == StoredTensor(path, name, storage, array.shape, at)
        assert found.nbytes == array.nbytes
        assert (found.read().dtype, found.read().shape) == (array.dtype, array.shape)
        assert found.read().tobytes() == array.tobytes()
        at += array.nbytes


def test_a_file_without_tensors_or_with_empty_ones_is_whole(tmp_path: Path) -> None:
    assert read_headers(written(tmp_path, {})) == {}
    held = read_headers(written(tmp_path, {"b": entry(), "a": entry(shape=[0, 3], ends=[0, 0])}, bytes(8)))
    assert (held["a"].nbytes, held["a"].read().shape) == (0, (0, 3))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "header: expected 0 bytes after the first 8, found 0"),
        (b"\1\0\0", "header: expected 1 bytes after the first 8, found 0"),
        (b"\3\0\0\0\0\0\0\0{}", "header: expected 3 bytes after the first 8, found 2"),
    ],
)
def test_a_file_that_ends_in_its_header_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    assert refusal(path) == message


def test_a_header_may_be_as_long_as_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = b'{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}'
    path = written(tmp_path, text, bytes(8))
    monkeypatch.setattr(containers, "_MOST_BYTES", len(text))
    assert list(read_headers(path)) == ["a"]
    monkeypatch.setattr(containers, "_MOST_BYTES", len(text) - 1)
    assert refusal(path) == f"header: expected {len(text)} bytes after the first 8, found {len(text) + 8}"


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (b"[]", "header: expected an object, found list"),
        (b"{", "header: expected JSON with each key once, found: "),
        (b"\xff\xff", "header: expected JSON with each key once, found: "),
        (b'{"a": 1, "a": 2}', "header: expected JSON with each key once, found: 'a' twice"),
        (b'{"a": {"dtype": 1, "dtype": 2}}', "header: expected JSON with each key once, found: 'dtype' twice"),
        (b"[" * 100_000, "header: expected JSON with each key once, found: "),
    ],
)
def test_a_header_that_is_no_object_is_refused(tmp_path: Path, header: bytes, message: str) -> None:
    assert refusal(written(tmp_path, header, bytes(8))).startswith(message)


NO_TYPE = "w: dtype: expected F32, F16, BF16, found "


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (entry("F64"), f"{NO_TYPE}'F64'"),
        (entry([]), f"{NO_TYPE}[]"),
        (entry({}), f"{NO_TYPE}{{}}"),
        (entry(None), f"{NO_TYPE}None"),
        (5, f"{NO_TYPE}None"),
        (entry("x" * 100), f"{NO_TYPE}'{'x' * 79}"),
        (entry(shape=2), "w: shape: expected sizes, found 2"),
        (entry(shape=[-1]), "w: shape: expected sizes, found [-1]"),
        (entry(shape=[True]), "w: shape: expected sizes, found [True]"),
        (entry(shape=[2.0]), "w: shape: expected sizes, found [2.0]"),
        (entry(ends=[8]), "w: data_offsets: expected two offsets, found [8]"),
        (entry(ends=[0, 4, 8]), "w: data_offsets: expected two offsets, found [0, 4, 8]"),
        (entry(ends=None), "w: data_offsets: expected two offsets, found None"),
        (entry(ends=[0, "8"]), "w: data_offsets: expected two offsets, found [0, '8']"),
        (entry(ends=[0, 4]), "w: data_offsets: expected 8 bytes of F32 [2], found [0, 4]"),
        (entry("F16", [3], [0, 12]), "w: data_offsets: expected 6 bytes of F16 [3], found [0, 12]"),
        (entry("BF16", [3], [8, 2]), "w: data_offsets: expected 6 bytes of BF16 [3], found [8, 2]"),
    ],
)
def test_an_entry_that_is_none_is_refused(tmp_path: Path, said: object, message: str) -> None:
    assert refusal(written(tmp_path, {"w": said}, bytes(8))) == message


@pytest.mark.parametrize(
    ("name", "shown"),
    [("a\nb", "'a\\nb'"), ("\n" * 90, "'" + "\\n" * 80 + "'"), ("n" * 300, "n" * 200)],
    ids=["break", "many breaks", "long"],
)
def test_a_name_is_shown_on_one_line(tmp_path: Path, name: str, shown: str) -> None:
    assert refusal(written(tmp_path, {name: entry("F64")}, bytes(8))).startswith(f"{shown}: dtype: ")


@pytest.mark.parametrize(
    ("ends", "size", "message"),
    [
        (((4, 12), (12, 20)), 20, "a: expected to begin at byte {0}, where the header ends, found {4}"),
        (((0, 8), (12, 20)), 20, "b: expected to begin at byte {8}, where a ends, found {12}"),
        (((0, 8), (4, 12)), 12, "b: expected to begin at byte {8}, where a ends, found {4}"),
        (((0, 8), (8, 16)), 17, "size: expected {16} bytes, where b ends, found {17}"),
        (((0, 8), (8, 16)), 15, "size: expected {16} bytes, where b ends, found {15}"),
        (((8, 16), (0, 8)), 20, "size: expected {16} bytes, where a ends, found {20}"),
    ],
)
def test_tensors_cover_the_file_without_gap_or_overlap(
    tmp_path: Path, ends: tuple[tuple[int, int], tuple[int, int]], size: int, message: str
) -> None:
    path = written(tmp_path, {"a": entry(ends=ends[0]), "b": entry(ends=ends[1])}, bytes(size))
    start = path.stat().st_size - size
    assert refusal(path) == message.format(*range(start, start + 30))


def test_a_file_that_changes_meanwhile_is_named(tmp_path: Path) -> None:
    path = written(tmp_path, {"a": entry()}, bytes(8))
    (held,) = read_headers(path).values()
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CannotJudgeError) as caught:
        held.read()
    assert str(caught.value) == f"{path}: changed while it was being judged"
    path.unlink()
    with pytest.raises(CannotJudgeError) as caught:
        held.read()
    assert str(caught.value) == f"{path}: no such file or directory"


def pickled(directory: Path, state: object) -> Path:
    path = directory / "pytorch_model.bin"
    torch.save(state, path)
    return path


def test_a_state_dict_is_read_as_it_is_stored(tmp_path: Path) -> None:
    state = {
        "a": torch.tensor([[1.5, -0.0, 2.0], [3.0, 4.0, 5.0]]),
        "b": torch.tensor([1.5, -2.0], dtype=torch.float16),
        "c": torch.tensor([1.5, -0.0, 3.0], dtype=torch.bfloat16),
        "turned": torch.arange(6.0).reshape(2, 3).T,
    }
    path = pickled(tmp_path, state)
    held = read_headers(path)
    assert [(one.storage, one.shape, one.nbytes, one.offset) for one in held.values()] == [
        ("fp32", (2, 3), 24, 0),
        ("fp16", (2,), 4, 0),
        ("bf16", (3,), 6, 0),
        ("fp32", (3, 2), 24, 0),
    ]
    assert np.array_equal(held["a"].read(), state["a"].numpy())
    assert np.array_equal(held["b"].read(), state["b"].numpy())
    assert (held["c"].read().dtype, held["c"].read().tolist()) == (np.uint16, [0x3FC0, 0x8000, 0x4040])
    assert np.array_equal(held["turned"].read(), state["turned"].numpy())


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ([torch.zeros(2)], "expected a PyTorch state dict, found list"),
        (
            {"w": torch.zeros(2, dtype=torch.float64)},
            "'w': expected a tensor of float32, float16 or bfloat16, found ",
        ),
        ({"w": 5}, "'w': expected a tensor of float32, float16 or bfloat16, found otherwise"),
        ({3: torch.zeros(2)}, "'3': expected a tensor of float32, float16 or bfloat16, found otherwise"),
        ({"w": torch.eye(2).to_sparse()}, "'w': expected a tensor of float32, float16 or bfloat16, found otherwise"),
    ],
)
def test_a_pickle_that_is_no_state_dict_is_refused(tmp_path: Path, state: object, message: str) -> None:
    with pytest.raises(ValueError, match="expected") as caught:
        read_headers(pickled(tmp_path, state))
    assert str(caught.value).startswith(message)


def test_a_file_that_is_no_pickle_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "pytorch_model.bin"
    path.write_bytes(b"no pickle")
    assert refusal(path).startswith("expected a PyTorch state dict, found: ")


def test_eight_bytes_are_a_header_of_none(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(bytes(8))
    assert refusal(path).startswith("header: expected JSON with each key once, found: ")


def test_long_names_are_cut(tmp_path: Path) -> None:
    long = "k" * 99
    twice = f'{{"{long}": 1, "{long}": 2}}'.encode()
    assert refusal(written(tmp_path, twice)).endswith(f"found: '{'k' * 80}' twice")
    assert refusal(pickled(tmp_path, {long: 5})).startswith(f"'{'k' * 80}': expected a tensor of ")


def test_a_header_may_have_a_hundred_megabytes() -> None:
    assert containers._MOST_BYTES == 10**8
    assert StoredTensor(Path("f"), "w", "fp32", (2,)).offset == 0


@pytest.mark.parametrize("shape", [(4, 3), (5,), (6, 2, 3)])
def test_rows_of_a_tensor_are_read_as_a_tensor_of_their_own(tmp_path: Path, shape: tuple[int, ...]) -> None:
    array = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    header = {"a": entry("F32", [2], [0, 8]), "w": entry("F32", list(shape), [8, 8 + array.nbytes])}
    from_safetensors = read_headers(written(tmp_path, header, bytes(8) + array.tobytes()))["w"]
    from_pickle = read_headers(pickled(tmp_path, {"w": torch.from_numpy(array)}))["w"]
    row = array[0].nbytes
    for first, count in ((0, 1), (1, 2), (2, 2), (3, 1)):
        for whole in (from_safetensors, from_pickle):
            part = whole.part(first, count)
            assert (part.shape, part.first, part.offset) == ((count, *shape[1:]), first, whole.offset + first * row)
            assert np.array_equal(part.read(), array[first : first + count])


def test_a_number_without_an_axis_is_read_from_a_pickle(tmp_path: Path) -> None:
    (held,) = read_headers(pickled(tmp_path, {"w": torch.tensor(7.0)})).values()
    assert (held.read().shape, held.read().item()) == ((), 7.0)
