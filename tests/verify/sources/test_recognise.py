"""Which kind a path is, by each sign that decides, and what is said of other programs' files."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from verify.errors import CannotJudgeError
from verify.sources.ajc1 import MAGIC
from verify.sources.recognise import expect_kind, is_hub_id, recognised


def refused(path: Path) -> str:
    with pytest.raises(CannotJudgeError) as caught:
        recognised(path)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "is_id"),
    [
        ("owner/name", True),
        ("owner/name.v1", True),
        ("name", False),
        ("a/b/c", False),
        ("./owner/name", False),
        ("./name", False),
        ("/name", False),
        ("~/name", False),
        ("owner/", False),
        *((f"owner/name{end}", False) for end in (".pt", ".pth", ".bin", ".safetensors", ".gguf", ".onnx", ".json")),
    ],
)
def test_an_id_of_the_hub_has_two_parts_and_no_file_s_ending(text: str, is_id: bool) -> None:
    assert is_hub_id(text) == is_id


def test_what_is_on_the_disk_is_no_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "owner").mkdir()
    assert is_hub_id("owner/name")
    (tmp_path / "owner/name").touch()
    assert not is_hub_id("owner/name")


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (["params.json"], "meta"),
        (["config.json"], "huggingface"),
        (["params.json", "config.json"], "huggingface"),
        (["params.json", "config.json", "consolidated.00.pth"], "meta"),
        (["params.json", "config.json", "model.safetensors"], "huggingface"),
        (["adapter_config.json"], "huggingface"),
        (["params.json", "model.safetensors"], "meta"),
        (["config.json", "consolidated.00.pth", "model.safetensors"], "huggingface"),
    ],
)
def test_a_directory_is_known_by_its_files(tmp_path: Path, names: list[str], kind: str) -> None:
    for name in names:
        (tmp_path / name).touch()
    assert recognised(tmp_path) == kind


@pytest.mark.parametrize("weights", ["model.safetensors", "pytorch_model.bin.index.json"])
def test_two_models_in_a_directory_are_refused(tmp_path: Path, weights: str) -> None:
    for name in ("params.json", "config.json", "consolidated.00.pth", weights):
        (tmp_path / name).touch()
    assert refused(tmp_path) == (
        f"{tmp_path}: expected one model, found two, of params.json and of config.json: give --source-kind meta or "
        "--source-kind huggingface"
    )


def test_what_is_no_source(tmp_path: Path) -> None:
    assert refused(tmp_path) == (
        f"{tmp_path}: source: expected config.json or params.json in it, found neither: give the directory that has "
        "the model"
    )
    none = tmp_path / "none"
    assert refused(none) == (
        f"{none}: source: expected a checkpoint, a directory of one, or a hub id, found nothing there: check the path"
    )


OTHER = "source: expected a checkpoint, found"
EMPTY = "an empty file: copy or download it again"
ONNX = "an ONNX file: give the PyTorch model that it was exported from"
SAFETENSORS = "a safetensors file: give the directory that has its config.json"
SHARD = "a weight file of Meta's: give the directory that has its params.json"
UNKNOWN = "a file of an unknown kind: give a llama2.c .pt or .bin, or the model's directory"


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("a.gguf", b"GGUF\3", "a GGUF file: give the Hugging Face model that it was made from"),
        ("a.safetensors", b"", SAFETENSORS),
        ("a", b'\2\0\0\0\0\0\0\0{"', SAFETENSORS),
        ("a", b'\3\0\0\0\0\0\0\0{"a', SAFETENSORS),
        ("a.onnx", b"\0", ONNX),
        ("a.onnx", b"", EMPTY),
        ("a", b"\x08\x07\x12\x07\0", ONNX),
        ("consolidated.00.pth", b"", SHARD),
    ],
)
def test_other_programs_files_are_told_by_their_beginning_or_name(
    tmp_path: Path, name: str, content: bytes, found: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert refused(path) == f"{path}: {OTHER} {found}"


def archive_of(path: Path, *members: str) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for member in members:
            archive.writestr(member, "b")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "pytorch_model-1.bin"])
def test_a_pickle_of_hugging_face_is_told_by_its_name(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    told = f"{path}: {OTHER} a weight file of a Hugging Face model: give"
    for write in (lambda: archive_of(path, "a/data.pkl"), lambda: path.write_bytes(b"no archive")):
        write()
        assert refused(path) == f"{told} the directory that has its config.json"
    path.write_bytes(b"24ka\1\0\0\0")
    assert recognised(path) == "bin"
    archive_of(path, "a/data.pkl")
    (tmp_path / "config.json").touch()
    assert refused(path) == f"{told} its directory, {tmp_path}"


@pytest.mark.parametrize("name", ["a.bin", "pytorch_model.pt"])
def test_an_archive_is_known_by_what_is_in_it(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    archive_of(path, "a/data.pkl")
    assert recognised(path) == "llama2c"
    archive_of(path, "a")
    assert refused(path) == (
        f"{path}: {OTHER} a zip archive without a checkpoint of torch.save: unpack it, and give the model in it"
    )
    archive_of(path, "a.npy", "b.npy")
    assert refused(path) == (f"{path}: {OTHER} an .npz file of numpy: give the checkpoint that it was made from")
    path.write_bytes(b"no archive")
    assert refused(path) == f"{path}: {OTHER} " + (
        "a file whose size is not that of a v0 file with its header: copy or export it again"
        if name == "a.bin"
        else "a text file: give the model's checkpoint or directory"
    )


@pytest.mark.parametrize("name", ["a.pth", "consolidated.00.bin", "consolidated.pt"])
def test_a_shard_of_metas_is_told_by_its_whole_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"PK")
    assert recognised(tmp_path / name) == "llama2c"


def test_a_file_that_cannot_be_read_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    path.touch()
    monkeypatch.setattr("verify.sources.recognise.expect_no_pointer", lambda _path: None)
    for error, told in ((PermissionError(13, "Permission denied"), "permission denied"), (OSError("Odd"), "odd")):

        def failing(*_given: object, error: OSError = error) -> None:
            raise error

        monkeypatch.setattr(Path, "open", failing)
        assert refused(path) == f"{path}: {told}"


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"24ka\1\0\0\0" + bytes(60), "bin"),
        (b"24ka\2\0\0\0", "bin"),
        (b"24ka\3\0\0\0", "v3"),
        (b"24ka", "v3"),
        (b"PK\3\4", "llama2c"),
    ],
)
def test_a_file_is_known_by_its_beginning(tmp_path: Path, content: bytes, kind: str) -> None:
    path = tmp_path / "a"
    path.write_bytes(content)
    assert recognised(path) == kind


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"24kb\3\0\0\0", UNKNOWN),
        (b"", EMPTY),
        (b"\x08\x07\x11\x07", UNKNOWN),
        (b"\x08\x07\x12\0", UNKNOWN),
        (b"\x09\x07\x12\x07", UNKNOWN),
        (b'\3\0\0\0\0\0\0\0{"', UNKNOWN),  # longer than the file
        (b'\2\0\0\0\0\0\0\1{"', UNKNOWN),  # by its last byte
        (b"\2\0\0\0\0\0\0\0{", UNKNOWN),
        (b"\2\0\0\0\0\0\0\0[1", UNKNOWN),
        # the counts of a v0 whose size it is not
        (b"\2\0\0\0\1\0\0\0\1\0\0\0\1\0\0\0\1\0\0\0\1\0\0\0\1\0\0\0", UNKNOWN),
    ],
)
def test_what_only_resembles_a_known_kind_is_not_taken_for_it(tmp_path: Path, content: bytes, found: str) -> None:
    path = tmp_path / "a"
    path.write_bytes(content)
    assert refused(path) == f"{path}: {OTHER} {found}"


def test_a_v0_is_known_by_its_size(tmp_path: Path) -> None:
    path = tmp_path / "a"
    header = b"\2\0\0\0\1\0\0\0\1\0\0\0\1\0\0\0\1\0\0\0\1\0\0\0\1\0\0\0"
    # three norms of 2, matrices of 4 * 4 + 3 * 2, an embedding of 2, tables of 1 each
    size = 28 + 4 * (6 + 16 + 6 + 2 + 2)
    for off in (-1, 0, 1):
        path.write_bytes(header + bytes(size + off - 28))
        if off == 0:
            assert recognised(path) == "bin"
        else:
            assert refused(path) == f"{path}: {OTHER} {UNKNOWN}"


def other_kind(path: Path, kind: str) -> str | None:
    try:
        expect_kind(path, kind)
    except CannotJudgeError as error:
        return str(error).removeprefix(f"{path}: source: ").removesuffix(": omit --source-kind to detect the kind")
    return None


GIVEN = {
    "huggingface": "a directory with config.json",
    "meta": "a directory with params.json and consolidated.00.pth",
    "llama2c": "a checkpoint of torch.save (.pt)",
    "v3": "a .bin file of version 3",
    "bin": "a .bin file of llama2.c (v0, v1 or v2) or qwen3.c (ajc1)",
}


@pytest.mark.parametrize("kind", GIVEN)
def test_a_kind_that_the_user_names_is_refused_only_where_it_is_plainly_another(tmp_path: Path, kind: str) -> None:
    assert other_kind(tmp_path / "none", kind) is None
    told, of_directory = f"expected {GIVEN[kind]} for --source-kind {kind}, found", kind in ("huggingface", "meta")
    assert other_kind(tmp_path, kind) == (None if of_directory else f"{told} a directory")
    path = tmp_path / "a.bin"
    for content in (b"", b"24kb\1\0\0\0", b"24ka\0\0\0\0\1", b"24ka\4\0\0\0\1", b"24ka\1\0\0\1", b"x24ka\1\0\0\0"):
        path.write_bytes(content)
        assert other_kind(path, kind) == (f"{told} a file" if of_directory else None)
    for version in (1, 2, 3):
        path.write_bytes(b"24ka" + bytes([version, 0, 0, 0, 7]))
        fits = kind == ("v3" if version == 3 else "bin")
        found = "a file" if of_directory else f"a .bin file of version {version}"
        assert other_kind(path, kind) == (None if fits else f"{told} {found}")
    path.write_bytes(MAGIC.to_bytes(4, "little") + bytes(8))
    found = "a file" if of_directory else "a .bin file of qwen3.c"
    assert other_kind(path, kind) == (None if kind == "bin" else f"{told} {found}")
