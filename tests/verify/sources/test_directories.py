"""What stands in a source's directory, where its links lead, and which kind it is taken for."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from helpers import checkpoints, huggingface, meta
from helpers.models import arrays
from safetensors.torch import load_file

import exporter
from verify.errors import CannotJudgeError
from verify.oracle.transformers import TransformersOracle
from verify.sources import Source, open_source
from verify.sources.huggingface import HuggingFaceSource

TOKENS = torch.arange(40).view(2, 20) % 29
INDEX = "model.safetensors.index.json"
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return huggingface.save(tmp_path_factory.mktemp("model"), huggingface.model())


@pytest.fixture
def directory(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "model"))


def write_index(directory: Path, names: list[str], shard: str = "model.safetensors") -> None:
    (directory / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": dict.fromkeys(names, shard)}))


def refused(path: Path, message: str, **options: object) -> None:
    with pytest.raises(CannotJudgeError) as caught:
        open_source(path, **options)  # type: ignore[arg-type]
    assert str(caught.value) == message


def test_an_index_beside_the_only_file_must_agree_with_it(directory: Path) -> None:
    names = list(load_file(directory / "model.safetensors"))
    write_index(directory, names)
    source = HuggingFaceSource(directory)
    assert sorted(source.files) == ["config.json", "model.safetensors", INDEX]
    TransformersOracle(source)
    write_index(directory, names[1:])
    shard = directory / "model.safetensors"
    refused(directory, f"{shard}: {names[0]}: expected in its index as in the shard, found no such tensor there")
    shutil.copy(shard, directory / "model-00001-of-00001.safetensors")
    write_index(directory, names, "model-00001-of-00001.safetensors")
    refused(directory, f"{directory}: expected model.safetensors or an index of shards, found both")


def test_a_pickle_with_an_index_of_itself(directory: Path) -> None:
    state = load_file(directory / "model.safetensors")
    torch.save(state, directory / "pytorch_model.bin")
    (directory / "model.safetensors").unlink()
    content = json.dumps({"weight_map": dict.fromkeys(state, "pytorch_model.bin")})
    (directory / "pytorch_model.bin.index.json").write_text(content)
    source = HuggingFaceSource(directory)
    assert source.hyperparameters.n_layers == 2
    # transformers' own loader wants metadata in an index
    assert TransformersOracle(source).logits(TOKENS).isfinite().all()


# ---- links ----


@pytest.fixture(params=["config.json", INDEX, "model.safetensors", "shard.safetensors"])
def linked(request: pytest.FixtureRequest, directory: Path) -> Path:
    """A directory with one file, which a link out of it will replace."""
    if request.param == "shard.safetensors":
        state = load_file(directory / "model.safetensors")
        (directory / "model.safetensors").rename(directory / "shard.safetensors")
        write_index(directory, list(state), "shard.safetensors")
    elif request.param == INDEX:
        write_index(directory, list(load_file(directory / "model.safetensors")))
    return directory / str(request.param)


def move(file: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    file.rename(to)
    file.symlink_to(to)


def test_a_link_out_of_the_directory_needs_the_users_word(linked: Path, tmp_path: Path) -> None:
    move(linked, tmp_path / "elsewhere" / "file.safetensors")
    refused(
        linked.parent,
        f"{linked}: expected a file in its directory, found a link out of it: give --follow-links if you trust it",
    )
    source = open_source(linked.parent, follow_links=True)
    assert isinstance(source, HuggingFaceSource)
    assert linked.name in source.files
    TransformersOracle(source)


def test_links_within_the_directory_and_into_a_hub_cache_are_followed(linked: Path, tmp_path: Path) -> None:
    move(linked, linked.parent / "real" / "file")
    assert open_source(linked.parent).hyperparameters.n_layers == 2
    linked.unlink()
    move_back = linked.parent / "real" / "file"
    move_back.rename(linked)
    move(linked, tmp_path / "cache" / "models--org--name" / "blobs" / "0123abcd")
    assert open_source(linked.parent).hyperparameters.n_layers == 2


@pytest.mark.parametrize("place", ["models--org/blobs", "models--org--name/snapshots", "blobs"])
def test_what_only_looks_like_a_hub_cache_is_none(linked: Path, tmp_path: Path, place: str) -> None:
    move(linked, tmp_path / "cache" / place / "file")
    with pytest.raises(CannotJudgeError, match=r"found a link out of it: give --follow-links if you trust it$"):
        open_source(linked.parent)


@pytest.mark.parametrize("name", ["config.json", "model-00001-of-00001.safetensors"])
def test_a_link_to_a_device_is_never_followed(directory: Path, name: str) -> None:
    write_index(directory, list(load_file(directory / "model.safetensors")), "model-00001-of-00001.safetensors")
    (directory / "model.safetensors").rename(directory / "model-00001-of-00001.safetensors")
    (directory / name).unlink()
    (directory / name).symlink_to("/dev/zero")
    with pytest.raises(CannotJudgeError, match="expected a file, found no regular file"):
        open_source(directory, "huggingface", follow_links=True)


@pytest.mark.parametrize("name", ["params.json", "consolidated.01.pth"])
def test_the_same_rule_holds_for_metas_directories(tmp_path: Path, name: str) -> None:
    directory = meta.write(tmp_path / "model", arrays(meta.MODEL), meta.MODEL, 2)
    move(directory / name, tmp_path / "elsewhere" / name)
    refused(
        directory,
        f"{directory / name}: expected a file in its directory, found a link out of it: give --follow-links if you "
        "trust it",
    )
    assert open_source(directory, follow_links=True).hyperparameters.n_layers == 2


def test_a_tokenizer_by_a_link_out_is_refused_when_it_is_wanted(directory: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("{}")
    (directory / "tokenizer.json").symlink_to(tmp_path / "secret")
    source = open_source(directory)
    with pytest.raises(CannotJudgeError, match=r"tokenizer.json: .*found a link out of it: give --follow-links"):
        _ = source.tokenizer_path
    assert open_source(directory, follow_links=True).tokenizer_path == directory / "tokenizer.json"


# ---- which kind ----


def test_two_kinds_in_one_directory(directory: Path, tmp_path: Path) -> None:
    of_meta = meta.write(tmp_path / "meta", arrays(meta.MODEL), meta.MODEL, 2)
    (directory / "params.json").write_text("{}")
    assert open_source(directory).kind == "huggingface"
    shutil.copy(directory / "config.json", of_meta)
    assert open_source(of_meta).kind == "meta"
    for file in of_meta.iterdir():
        shutil.copy(file, directory) if file.name != "config.json" else None
    refused(
        directory,
        f"{directory}: expected one model, found two, of params.json and of config.json: give --source-kind meta or "
        "--source-kind huggingface",
    )
    assert open_source(directory, "meta").kind == "meta"
    assert open_source(directory, "huggingface").kind == "huggingface"
    refused(
        tmp_path,
        f"{tmp_path}: source: expected config.json or params.json in it, found neither: give the directory that has "
        "the model",
    )


def test_an_adapter_beside_a_model_or_alone(directory: Path) -> None:
    (directory / "adapter_config.json").write_text("{}")
    source = open_source(directory)
    assert source.notes == ("adapter_config.json has no weights beside it and was not used",)
    assert isinstance(source, HuggingFaceSource)
    plain = huggingface.logits(huggingface.model(), TOKENS)
    torch.testing.assert_close(TransformersOracle(source).logits(TOKENS), plain, rtol=0, atol=1e-5)
    for name in ("adapter_model.safetensors", "adapter_model.bin"):
        (directory / name).write_bytes(b"")
        refused(
            directory,
            f"{directory}: expected a model or an adapter, found both: move the adapter away, or give it as "
            "--adapter DIR",
        )
        (directory / name).unlink()
    for name in ("model.safetensors", "config.json"):
        (directory / name).unlink()
        refused(
            directory,
            f"{directory}: expected a whole model, found an adapter: give the base model as SOURCE and this "
            "directory as --adapter, or merge it",
        )


# ---- options that another kind takes ----


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rope_theta": 5e5}, "--rope-theta: expected a source of kind meta, found one of kind {}"),
        ({"rope_scaling_factor": 8}, "--rope-scaling-factor: expected a source of kind meta, found one of kind {}"),
        ({"adapter": "a"}, "--adapter: expected a source of kind huggingface, found one of kind {}"),
    ],
)
def test_options_for_another_kind_are_refused(
    directory: Path, tmp_path: Path, options: dict[str, object], message: str
) -> None:
    checkpoint = checkpoints.save(tmp_path, checkpoints.state_dict())
    of_meta = meta.write(tmp_path / "meta", arrays(meta.MODEL), meta.MODEL)
    for path, kind in ((checkpoint, "llama2c"), (directory, "huggingface"), (of_meta, "meta")):
        if kind not in message:
            refused(path, message.format(kind), **options)


# ---- what is no source ----


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_git_lfs_pointer_says_what_to_run(directory: Path, name: str) -> None:
    (directory / name).write_text(POINTER)
    refused(
        directory,
        f"{directory / name}: expected the file itself, found a Git LFS pointer to it: run git lfs pull",
    )


def test_a_pointer_for_any_other_file(tmp_path: Path) -> None:
    directory = meta.write(tmp_path / "meta", arrays(meta.MODEL), meta.MODEL)
    (directory / "consolidated.00.pth").write_text(POINTER)
    for path in (tmp_path / "checkpoint.pt", tmp_path / "model.bin", directory):
        if path != directory:
            path.write_text(POINTER)
        with pytest.raises(CannotJudgeError, match=r"found a Git LFS pointer to it: run git lfs pull$"):
            open_source(path)


_UNKNOWN = "a file of an unknown kind: give a llama2.c .pt or .bin, or the model's directory"


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("model.gguf", b"GGUF\3\0\0\0", "a GGUF file: give the Hugging Face model that it was made from"),
        ("model.onnx", b"\x08\x07\x12\x07pytorch", "an ONNX file: give the PyTorch model that it was exported from"),
        ("model", b"\x08\x0a\x12\x07pytorch", "an ONNX file: give the PyTorch model that it was exported from"),
        ("a.safetensors", b"", "a safetensors file: give the directory that has its config.json"),
        ("model", b'\2\0\0\0\0\0\0\0{"}', "a safetensors file: give the directory that has its config.json"),
        ("model", b"\2\0\0\0\0\0\0\0{}", _UNKNOWN),
        ("consolidated.00.pth", b"PK", "a weight file of Meta's: give the directory that has its params.json"),
    ],
)
def test_files_of_other_formats_are_named(tmp_path: Path, name: str, content: bytes, found: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    refused(path, f"{path}: source: expected a checkpoint, found {found}")


def test_one_pickle_of_a_directory_is_named(directory: Path) -> None:
    path = directory / "pytorch_model.bin"
    torch.save(load_file(directory / "model.safetensors"), path)
    refused(
        path,
        f"{path}: source: expected a checkpoint, found a weight file of a Hugging Face model: give its directory, "
        f"{directory}",
    )


def test_half_a_checkpoint_is_told_what_a_whole_one_has(tmp_path: Path) -> None:
    path, state = tmp_path / "checkpoint.pt", checkpoints.state_dict()
    keys = "(dim, n_layers, n_heads, n_kv_heads, vocab_size, multiple_of, max_seq_len)"
    for saved, found in ((state, "a bare state dict"), ({"model": state}, "no model_args"), ({"a": 1}, "no model")):
        torch.save(saved, path)
        refused(
            path,
            f"{path}: expected the keys model and model_args {keys}, found {found}: save both, as llama2.c's "
            "train.py does",
        )
    torch.save([1], path)
    refused(path, f"{path}: checkpoint: expected a dict with the keys model and model_args, found a list")


class Arguments:
    """What a training loop may keep in its checkpoints."""


def test_a_pickle_of_objects_says_how_to_save_it_again(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    torch.save({"model": checkpoints.state_dict(), "model_args": Arguments()}, path)
    refused(
        path,
        f"{path}: expected plain tensors, found a pickle that asks for more: load it where you trust it, and "
        "torch.save only dicts, lists, numbers, strings and tensors",
    )


@pytest.mark.parametrize("text", ["./owner/name", "owner/checkpoint.pt", "a/b/c", "owner/"])
def test_what_is_no_hub_id_is_never_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str) -> None:
    def asked(_name: str) -> Path:
        raise AssertionError(text)

    monkeypatch.setattr("verify.sources.hub.snapshot", asked)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CannotJudgeError, match="expected a checkpoint, a directory of one, or a hub id, found no"):
        open_source(text)


def test_v3_is_still_known_by_its_magic(tmp_path: Path) -> None:
    checkpoint = exporter.open_checkpoint(checkpoints.save(tmp_path, checkpoints.state_dict()))
    exporter.export(checkpoint, tmp_path / "model.bin", format="v3")
    source: Source = open_source(tmp_path / "model.bin")
    assert source.kind == "v3"
    assert source.notes == ()
