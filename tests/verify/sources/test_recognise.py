"""Which kind a path is, by each sign that decides, and what is said of other programs' files."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from verify.errors import CannotJudgeError
from verify.sources.recognise import is_hub_id, recognised


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
    assert refused(tmp_path) == f"{tmp_path}: expected one of params.json and config.json, found 0"
    none = tmp_path / "none"
    assert refused(none) == f"{none}: expected a checkpoint, a directory of one, or a hub id, found no such file"


OTHER = "expected a checkpoint or a directory of one, found"


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("a.gguf", b"GGUF\3", "a GGUF file: give the Hugging Face directory that it was made from"),
        ("a.safetensors", b"", "one safetensors file: give the directory, with its config.json"),
        ("a", b'\2\0\0\0\0\0\0\0{"', "one safetensors file: give the directory, with its config.json"),
        ("a", b'\3\0\0\0\0\0\0\0{"a', "one safetensors file: give the directory, with its config.json"),
        ("a.onnx", b"", "an ONNX file: give the checkpoint that it was made from"),
        ("a", b"\x08\x07\x12\x07\0", "an ONNX file: give the checkpoint that it was made from"),
        ("consolidated.00.pth", b"", "one of Meta's shards: give the directory, with its params.json"),
    ],
)
def test_other_programs_files_are_told_by_their_beginning_or_name(
    tmp_path: Path, name: str, content: bytes, found: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert refused(path) == f"{path}: {OTHER} {found}"


def test_a_pickle_of_hugging_face_is_told_by_its_name_and_archive(tmp_path: Path) -> None:
    for name, is_part in (("pytorch_model.bin", True), ("pytorch_model-1.bin", True), ("a.bin", False)):
        path = tmp_path / name
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a", "b")
        if is_part:
            assert refused(path) == (
                f"{path}: {OTHER} the weights of a Hugging Face directory: give the directory, with its config.json"
            )
        else:
            assert recognised(path) == "llama2c"
        path.write_bytes(b"no archive")
        assert recognised(path) == "llama2c"
    path = path.rename(tmp_path / "pytorch_model.pt")
    assert recognised(path) == "llama2c"


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
        (b"24kb\3\0\0\0", "llama2c"),
        (b"PK\3\4", "llama2c"),
        (b"", "llama2c"),
        (b"\x08\x07\x11\x07", "llama2c"),
        (b"\x08\x07\x12\0", "llama2c"),
        (b"\x09\x07\x12\x07", "llama2c"),
        (b'\3\0\0\0\0\0\0\0{"', "llama2c"),  # longer than the file
        (b'\2\0\0\0\0\0\0\1{"', "llama2c"),  # by its last byte
        (b"\2\0\0\0\0\0\0\0{", "llama2c"),
        (b"\2\0\0\0\0\0\0\0[1", "llama2c"),
        # the counts of a v0 whose size it is not
        (b"\2\0\0\0\1\0\0\0\1\0\0\0\1\0\0\0\1\0\0\0\1\0\0\0\1\0\0\0", "llama2c"),
    ],
)
def test_a_file_is_known_by_its_beginning(tmp_path: Path, content: bytes, kind: str) -> None:
    path = tmp_path / "a"
    path.write_bytes(content)
    assert recognised(path) == kind


def test_a_v0_is_known_by_its_size(tmp_path: Path) -> None:
    path = tmp_path / "a"
    header = b"\2\0\0\0\1\0\0\0\1\0\0\0\1\0\0\0\1\0\0\0\1\0\0\0\1\0\0\0"
    # three norms of 2, matrices of 4 * 4 + 3 * 2, an embedding of 2, tables of 1 each
    size = 28 + 4 * (6 + 16 + 6 + 2 + 2)
    for off in (-1, 0, 1):
        path.write_bytes(header + bytes(size + off - 28))
        assert recognised(path) == ("bin" if off == 0 else "llama2c")
