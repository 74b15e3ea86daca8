"""Files that are no source, each known by its beginning or its name, and what to give instead."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from verify.sources.known_files import BEGINNING, other_file

SAFETENSORS, SHARD = "a safetensors file", "a weight file of a Hugging Face model"
OF_CONFIG, OF_PARAMS = "give the directory that has its config.json", "give the directory that has its params.json"
UNPACK = "unpack it, and give the model in it"
ONNX = ("an ONNX file", "give the PyTorch model that it was exported from")
UNKNOWN = ("a file of an unknown kind", "give a llama2.c .pt or .bin, or the model's directory")
TEXT = ("a text file", "give the model's checkpoint or directory")
JSON = ("a JSON file", "give the model's directory")
OLD_BIN = ("a file whose size is not that of a v0 file with its header", "copy or export it again")
OTHER_ARCHIVE = ("a zip archive without a checkpoint of torch.save", "unpack it, and give the model in it")
NPZ = ("an .npz file of numpy", "give the checkpoint that it was made from")


def told(path: Path, content: bytes) -> tuple[str, str] | None:
    path.write_bytes(content)
    return other_file(path, content[:BEGINNING], len(content))


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a", b"GGUF\3", ("a GGUF file", "give the Hugging Face model that it was made from")),
        ("a", b"\x93NUMPY\1", ("an .npy file of numpy", "give the checkpoint that it was made from")),
        ("a", b"\x89HDF\r\n", ("an HDF5 file", "give the PyTorch checkpoint")),
        ("a", b"\x1f\x8b\x08", ("a gzip archive", UNPACK)),
        ("a", b"(\xb5/\xfd\0", ("a zstd archive", UNPACK)),
        ("a", b"\xfd7zXZ\0", ("an xz archive", UNPACK)),
        (
            "a",
            b"\x80\x02c",
            ("a pickle of an old torch.save", "load it with torch.load and save it again with torch.save"),
        ),
        ("a", b"\x80\x04c", ("a Python pickle", "save its tensors with torch.save")),
        ("a", b"\x80\x03c", UNKNOWN),
        ("a.pt", b"", ("an empty file", "copy or download it again")),
        ("a", b" GGUF", TEXT),
        ("a.bin", b"\x80\x03c", OLD_BIN),
        ("a.bin", b"abc", OLD_BIN),
        ("a.pt", b"PK\3\4 damaged", None),
        ("a.bin", b"PK\3\4 damaged", None),
    ],
)
def test_the_first_bytes_tell(tmp_path: Path, name: str, content: bytes, expected: tuple[str, str] | None) -> None:
    assert told(tmp_path / name, content) == expected


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.onnx", b"\0", ONNX),
        ("a", b"\x08\x07\x12\x07p", ONNX),
        ("a", b"\x07\x07\x12\x07p", UNKNOWN),
        ("a", b"\x08\x07\x13\x07p", UNKNOWN),
        ("a", b"\x08\x12\x07\x07p", UNKNOWN),
        ("a", b"\0<unk>\0", ("a tokenizer", "give the model that it belongs to")),
    ],
)
def test_a_protobuf_is_an_onnx_model_or_a_tokenizer(
    tmp_path: Path, name: str, content: bytes, expected: tuple[str, str]
) -> None:
    assert told(tmp_path / name, content) == expected


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"{", JSON),
        (b" \r\n\t{}", JSON),
        (b"[1]", JSON),
        (b"plain", TEXT),
        (b" ~\xc3\xa9\t\r\n", TEXT),
        *((bytes([65, byte]), UNKNOWN) for byte in (0, 8, 11, 12, 14, 31)),
    ],
)
def test_a_text_has_no_control_characters_but_white_space(
    tmp_path: Path, content: bytes, expected: tuple[str, str]
) -> None:
    assert told(tmp_path / "a", content) == expected


@pytest.mark.parametrize("name", ["config.json", "params.json", "other.json"])
def test_a_config_leads_to_its_directory(tmp_path: Path, name: str) -> None:
    here = f"give its directory, {tmp_path}" if name != "other.json" else "give the model's directory"
    assert told(tmp_path / name, b"{}") == ("a JSON file", here)


@pytest.mark.parametrize(
    ("name", "found", "beside"),
    [
        ("consolidated.00.pth", "a weight file of Meta's", "params.json"),
        ("pytorch_model.bin", SHARD, "config.json"),
        ("pytorch_model-00001-of-00002.bin", SHARD, "config.json"),
        ("model.safetensors", SAFETENSORS, "config.json"),
        ("any.safetensors", SAFETENSORS, "config.json"),
    ],
)
def test_a_part_of_a_model_leads_to_its_directory(tmp_path: Path, name: str, found: str, beside: str) -> None:
    path = tmp_path / name
    assert told(path, b"abc") == (found, f"give the directory that has its {beside}")
    (tmp_path / beside).touch()
    assert told(path, b"abc") == (found, f"give its directory, {tmp_path}")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("consolidated.00.bin", OLD_BIN),
        ("a.pth", UNKNOWN),
        ("pytorch_model.pt", UNKNOWN),
        ("my_model.bin", OLD_BIN),
        ("my_consolidated.pth", UNKNOWN),
    ],
)
def test_half_a_name_is_no_part_of_a_model(tmp_path: Path, name: str, expected: tuple[str, str]) -> None:
    assert told(tmp_path / name, b"\0bc") == expected


def archive(path: Path, *members: str) -> bytes:
    with zipfile.ZipFile(path, "w") as made:
        for member in members:
            made.writestr(member, "b")
    return path.read_bytes()


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        (("archive/data.pkl", "archive/byteorder"), None),
        (("archive/x.npy", "archive/DATA.PKL"), None),
        (("a.npy", "b.npy"), NPZ),
        (("a.npy", "b.txt"), OTHER_ARCHIVE),
        (("a.txt",), OTHER_ARCHIVE),
    ],
)
def test_an_archive_is_known_by_its_members(
    tmp_path: Path, members: tuple[str, ...], expected: tuple[str, str] | None
) -> None:
    path = tmp_path / "a.zip"
    assert told(path, archive(path, *members)) == expected


def test_the_first_64_bytes_are_enough() -> None:
    assert BEGINNING == 64


@pytest.mark.parametrize(
    ("length", "size", "found"),
    [(2, 10, SAFETENSORS), (2, 11, SAFETENSORS), (3, 10, UNKNOWN[0]), (0, 10, SAFETENSORS), (2**63, 10, UNKNOWN[0])],
)
def test_the_header_of_a_safetensors_file_lies_within_it(tmp_path: Path, length: int, size: int, found: str) -> None:
    content = (length.to_bytes(8, "little") + b'{"').ljust(size, b"}")
    told_of = told(tmp_path / "a", content)
    assert told_of is not None
    assert told_of[0] == found
    assert told(tmp_path / "a", length.to_bytes(8, "little") + b"{}") == UNKNOWN


def test_an_archive_without_members_is_no_npz(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    assert told(path, archive(path)) == OTHER_ARCHIVE


@pytest.mark.parametrize("zero", range(4))
def test_an_onnx_file_has_no_zero_among_its_first_four_bytes(tmp_path: Path, zero: int) -> None:
    content = bytearray(b"\x08\x07\x12\x07\0")
    assert told(tmp_path / "a", bytes(content)) == ONNX
    content[zero] = 0
    assert told(tmp_path / "a", bytes(content)) == UNKNOWN


@pytest.mark.parametrize("first", [b"P", b"PK", b"PKx"])
def test_what_only_begins_like_an_archive_may_be_a_damaged_checkpoint(tmp_path: Path, first: bytes) -> None:
    assert told(tmp_path / "a", first + b"\0") == (UNKNOWN if first == b"P" else None)
