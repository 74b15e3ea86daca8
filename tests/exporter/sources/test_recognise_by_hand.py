"""Which kind a path is, by each sign that decides. Quick, because no checkpoint is read."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

import exporter
from exporter.sources.recognise import detect, is_hub_id, refuse_other_kind

MAGIC = b"24ka"
V0 = struct.pack("<7i", 4, 4, 1, 1, 1, 4, 2)
# 28 bytes of header, 4 * (4 + 4 + 4 + 4 * 4 * (1 + 4 + 3) + 2 * 2 * 2)
V0_BYTES = 28 + 4 * (3 * 4 + 16 * 8 + 2 * 2 * 2)
EXPECTED = "a llama2.c .pt or .bin, a v3 .bin, a directory of Meta's or Hugging Face's, or a hub id (org/name)"
OMIT = "omit --source-kind to detect the kind"


def refused(path: Path, name: str | None = None) -> str:
    with pytest.raises(exporter.CheckpointError) as caught:
        detect(path, str(path) if name is None else name)
    return str(caught.value).removeprefix(f"{path}: ")


def header(version: int) -> bytes:
    return MAGIC + struct.pack("<i", version)


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("a.bin", header(1), "bin"),
        ("a.bin", header(2), "bin"),
        ("a.bin", header(3), "v3"),
        ("a.bin", header(0), "v3"),
        ("a.bin", header(4), "v3"),
        ("a.bin", header(257), "v3"),
        ("a.bin", header(1 + 2**24), "v3"),
        ("a.bin", header(1) + b"\7", "bin"),
        ("a.bin", MAGIC + b"\1", "bin"),
        ("a.bin", V0.ljust(V0_BYTES, b"\0"), "bin"),
        ("a.pt", b"PK\3\4 as torch.save writes", "llama2c"),
    ],
)
def test_a_file_is_known_by_its_beginning(tmp_path: Path, name: str, content: bytes, kind: str) -> None:
    (tmp_path / name).write_bytes(content)
    assert detect(tmp_path / name, name) == kind


def test_a_file_of_no_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(V0.ljust(V0_BYTES + 1, b"\0"))
    assert refused(path) == (
        "source: expected a checkpoint, found a file whose size is not that of a v0 file with its header: copy or "
        "export it again"
    )
    path = tmp_path / "adapter_model.bin"
    path.touch()
    assert refused(path) == (
        "source: expected a model, found an adapter: give the base model as SOURCE and its directory as --adapter, "
        "or merge it"
    )
    assert refused(Path("/dev/null")) == f"expected {EXPECTED}, found no regular file"


def test_nothing_there_is_told_by_what_the_user_wrote(tmp_path: Path) -> None:
    nothing = f"source: expected {EXPECTED}, found nothing there"
    for name in ("none/model.pt", "mode.pt"):
        assert refused(tmp_path / name, "as written") == f"as written: {nothing}: check the path"
    (tmp_path / "model.pt").touch()
    assert refused(tmp_path / "mode.pt", "as written") == (
        f"as written: {nothing}: did you mean {tmp_path / 'model.pt'}?"
    )


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (["params.json"], "meta"),
        (["config.json"], "huggingface"),
        (["params.json", "config.json"], "huggingface"),
        (["params.json", "config.json", "consolidated.00.pth"], "meta"),
        (["params.json", "config.json", "pytorch_model.bin.index.json"], "huggingface"),
        (["params.json", "model.safetensors"], "meta"),
        (["config.json", "consolidated.00.pth", "model.safetensors"], "huggingface"),
        (["config.json", "adapter_config.json"], "huggingface"),
    ],
)
def test_a_directory_is_known_by_its_files(tmp_path: Path, names: list[str], kind: str) -> None:
    for name in names:
        (tmp_path / name).touch()
    assert detect(tmp_path, "") == kind


def test_directories_of_no_model_or_two_are_refused(tmp_path: Path) -> None:
    neither = "source: expected config.json or params.json in it, found neither: "
    assert refused(tmp_path) == f"{neither}give the directory that has the model"
    for name in ("b", "a"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "params.json").touch()
    (tmp_path / "0").mkdir()
    (tmp_path / "0" / "other.json").touch()
    assert refused(tmp_path) == f"{neither}give {tmp_path / 'a'}"
    (tmp_path / "adapter_config.json").touch()
    assert refused(tmp_path) == (
        "expected a model, found an adapter: give the base model as SOURCE and this directory as --adapter, or merge "
        "it"
    )
    for name in ("params.json", "config.json", "consolidated.00.pth", "model.safetensors"):
        (tmp_path / name).touch()
    assert refused(tmp_path) == (
        "expected either params.json or config.json in it, found both, each with its weights: give --source-kind "
        "meta or --source-kind huggingface"
    )


def other_kind(path: Path, kind: str) -> str | None:
    try:
        refuse_other_kind(path, kind)
    except exporter.CheckpointError as error:
        return str(error).removeprefix(f"{path}: source: ")
    return None


def test_a_kind_that_the_user_names_is_refused_only_where_it_is_plainly_another(tmp_path: Path) -> None:
    directory, weights = tmp_path / "d", tmp_path / "w.bin"
    directory.mkdir()
    for kind, expected in (
        ("huggingface", "a directory with config.json"),
        ("meta", "a directory with params.json and consolidated.00.pth"),
    ):
        assert other_kind(directory, kind) is None
        assert other_kind(tmp_path / "none", kind) is None
        for content in (b"any", header(1), header(3)):
            weights.write_bytes(content)
            assert other_kind(weights, kind) == f"expected {expected} for --source-kind {kind}, found a file: {OMIT}"
    for kind, expected in (
        ("llama2c", "a checkpoint of torch.save (.pt)"),
        ("v3", "a .bin file of version 3"),
        ("bin", "a .bin file of llama2.c (v0, v1 or v2) or qwen3.c (ajc1)"),
    ):
        assert other_kind(tmp_path / "none", kind) is None
        told = f"expected {expected} for --source-kind {kind}, found"
        assert other_kind(directory, kind) == f"{told} a directory: {OMIT}"
        weights.write_bytes(b"any")
        assert other_kind(weights, kind) is None
        for version in (0, 1, 2, 3, 4, 257, 3 + 2**24):
            weights.write_bytes(header(version) + b"\7")
            right = version not in (1, 2, 3) or kind == ("v3" if version == 3 else "bin")
            message = None if right else f"{told} a .bin file of version {version}: {OMIT}"
            assert other_kind(weights, kind) == message, (kind, version)


@pytest.mark.parametrize(
    ("name", "plain", "asked"),
    [
        ("org/name", True, True),
        ("o.r-g_1/n.a-m_e", True, True),
        ("org/name.PT", False, True),
        ("org", False, False),
        ("org/", False, False),
        ("-org/name", False, False),
        ("org/.name", False, False),
        ("a/b/c", False, False),
        *((f"org/name{end}", False, True) for end in (".pth", ".bin", ".safetensors", ".gguf", ".onnx", ".json")),
    ],
)
def test_a_hub_id_has_two_parts_and_no_file_s_ending_unless_asked_for(name: str, plain: bool, asked: bool) -> None:
    assert (is_hub_id(name, asked_for=False), is_hub_id(name, asked_for=True)) == (plain, asked)
