"""A directory in llama2.c's terms. Quick: transformers' reading of its config.json is replaced."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from helpers.models import Arrays, arrays, config, hyperparameters
from safetensors.numpy import save_file

import reader_c
from verify.checks.directory import target
from verify.checks.directory.names import stored_name, stored_rows
from verify.checks.directory.target import Directory
from verify.errors import CannotJudgeError

MODEL = config()
HYPER = hyperparameters(MODEL)
WQ = "layers.0.attention.wq.weight"


@pytest.fixture(autouse=True)
def without_transformers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(target, "transformers_config", lambda path: SimpleNamespace(path=path, model_type="llama"))


def stored(weights: Arrays) -> Arrays:
    """The tensors as Hugging Face has them: its names, its order of rows."""
    made = {}
    for name, array in weights.items():
        rows = stored_rows(name, HYPER)
        there = array if rows is None else np.empty_like(array)
        if rows is not None:
            there[rows] = array
        made[stored_name(name)] = there
    return made


def written(directory: Path, settings: Any = None, weights: Arrays | None = None) -> Path:
    directory.mkdir(exist_ok=True)
    (directory / "config.json").write_text(json.dumps({} if settings is None else settings))
    save_file(stored(weights or arrays(MODEL)), directory / "model.safetensors")
    return directory


def opened(directory: Path, **changes: Any) -> Directory:
    found = Directory(written(directory, **changes))
    found.of_model(HYPER)
    return found


def test_every_tensor_is_the_source_s_in_its_order_of_rows(tmp_path: Path) -> None:
    found = opened(tmp_path)
    assert found.names == tuple(HYPER.shapes())
    assert found.is_complete
    for name, array in arrays(MODEL).items():
        assert found.storage(name) == reader_c.Storage(name, array.shape, "fp32", 0, "")
        (span,) = found.spans(name)
        assert (span.name, span.part, span.shape, span.nbytes) == (name, "fp32", array.shape, array.nbytes)
        assert np.array_equal(found.view(span), array)
        assert np.array_equal(found.tensor(name), array)
        content = (tmp_path / "model.safetensors").read_bytes()
        raw = np.frombuffer(content[span.offset : span.offset + span.nbytes], "<f4").reshape(array.shape)
        assert np.array_equal(raw, stored(arrays(MODEL))[stored_name(name)])


@pytest.mark.parametrize("storage", ["fp16", "bf16"])
def test_halves_are_bits_and_numbers(tmp_path: Path, storage: str) -> None:
    import torch
    from safetensors.torch import save_file as save_halves

    kind = {"fp16": torch.float16, "bf16": torch.bfloat16}[storage]
    halves = {name: torch.from_numpy(array).to(kind) for name, array in stored(arrays(MODEL)).items()}
    found = opened(tmp_path)
    save_halves(halves, tmp_path / "model.safetensors")
    found = Directory(tmp_path)
    found.of_model(HYPER)
    for name, array in arrays(MODEL).items():
        half = torch.from_numpy(array).to(kind)
        (span,) = found.spans(name)
        assert (span.part, span.nbytes) == (storage, 2 * array.size)
        assert found.view(span).tobytes() == half.view(torch.int16).numpy().tobytes()
        assert np.array_equal(found.tensor(name), half.float().numpy())


def test_a_place_is_told_by_hugging_face_s_name_and_row(tmp_path: Path) -> None:
    found = opened(tmp_path)
    rows = stored_rows(WQ, HYPER)
    assert rows is not None
    there = "model.safetensors: model.layers.0.self_attn.q_proj.weight"
    assert int(rows[9]) != 9
    assert found.place(WQ, [9, 3]) == f"{there} [{rows[9]}, 3]"
    assert found.place(WQ, []) == f"{there} []"
    assert found.place("norm.weight", [9]) == "model.safetensors: model.norm.weight [9]"


def test_before_the_model_is_known_there_are_no_names_and_rows_are_as_stored(tmp_path: Path) -> None:
    found = Directory(written(tmp_path))
    assert found.names == ()
    (span,) = found.spans(WQ)
    assert np.array_equal(found.view(span), stored(arrays(MODEL))[stored_name(WQ)])
    assert found.place(WQ, [9]) == "model.safetensors: model.layers.0.self_attn.q_proj.weight [9]"


def test_a_tied_classifier_is_the_embedding(tmp_path: Path) -> None:
    found = opened(tmp_path)
    own = found.tensor("output.weight")
    found = Directory(tmp_path)
    found.of_model(hyperparameters(config(tied=True)))
    tied = found.tensor("output.weight")
    assert np.array_equal(tied, arrays(MODEL)["tok_embeddings.weight"])
    assert not np.array_equal(tied, own)
    assert found.stored("norm.weight").name == "model.norm.weight"
    assert found.names == tuple(hyperparameters(config(tied=True)).shapes())


def test_a_missing_tensor_makes_it_incomplete(tmp_path: Path) -> None:
    weights = {name: array for name, array in arrays(MODEL).items() if name != WQ}
    assert not opened(tmp_path, weights=weights).is_complete


def test_a_tensor_is_read_once_until_another_is(tmp_path: Path) -> None:
    found = opened(tmp_path)
    (one,), (other,) = found.spans(WQ), found.spans("norm.weight")
    first = found.view(one)
    assert found.view(one) is first
    found.view(other)
    assert found.view(one) is not first


def test_the_headline_counts(tmp_path: Path) -> None:
    found = opened(tmp_path)
    size = sum(path.stat().st_size for path in tmp_path.iterdir())
    assert found.headline == f"{tmp_path}: hf, {size:,} bytes, {len(arrays(MODEL))} tensors"
    assert (found.format, found.file_size, bytes(found.content)) == ("hf", 0, b"")
    assert found.config.path == tmp_path


def test_a_directory_without_a_config_is_none(tmp_path: Path) -> None:
    with pytest.raises(CannotJudgeError) as caught:
        Directory(tmp_path)
    assert str(caught.value) == f"{tmp_path}: expected a Hugging Face directory with a config.json, found none in it"


@pytest.mark.parametrize(("key", "most"), [("num_hidden_layers", 100_000), ("num_labels", 10_000)])
def test_counts_that_transformers_makes_lists_of_are_limited(tmp_path: Path, key: str, most: int) -> None:
    assert opened(tmp_path, settings={key: most}).settings == {key: most}
    assert opened(tmp_path, settings={key: "many"}).settings == {key: "many"}
    with pytest.raises(CannotJudgeError) as caught:
        opened(tmp_path, settings={key: most + 1})
    assert str(caught.value) == f"{tmp_path / 'config.json'}: {key}: expected at most {most}, found {most + 1}"


@pytest.mark.parametrize("name", ["config.json", "generation_config.json"])
def test_json_that_is_none_or_too_long_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    directory = written(tmp_path)
    (directory / name).write_text("[")
    with pytest.raises(CannotJudgeError, match=name):
        Directory(directory)
    text = '{"a": "' + "x" * 100 + '"}'
    (directory / name).write_text(text)
    monkeypatch.setattr(target, "_MOST_BYTES", len(text))
    Directory(directory)
    monkeypatch.setattr(target, "_MOST_BYTES", len(text) - 1)
    with pytest.raises(CannotJudgeError, match=f"more than {len(text) - 1} bytes"):
        Directory(directory)


def test_ten_megabytes_are_the_most() -> None:
    assert target._MOST_BYTES == 10**7


def of_kind(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(target, "transformers_config", lambda path: SimpleNamespace(path=path, model_type=kind))


def test_parts_of_fused_matrices_are_read_and_placed_within_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_kind(monkeypatch, "phi3")
    directory, fused = written(tmp_path), stored(arrays(MODEL))
    for layer in range(2):
        for whole, module, parts in (
            ("qkv_proj", "self_attn", ("q_proj", "k_proj", "v_proj")),
            ("gate_up_proj", "mlp", ("gate_proj", "up_proj")),
        ):
            rows = [fused.pop(f"model.layers.{layer}.{module}.{part}.weight") for part in parts]
            fused[f"model.layers.{layer}.{module}.{whole}.weight"] = np.concatenate(rows)
    save_file(fused, directory / "model.safetensors")
    found = Directory(directory)
    found.of_model(HYPER)
    assert (found.is_fused, found.is_mixtral, found.is_complete) == (True, False, True)
    for name, array in arrays(MODEL).items():
        assert found.storage(name).shape == array.shape
        assert np.array_equal(found.tensor(name), array), name
    rows = stored_rows("layers.1.attention.wk.weight", HYPER)
    assert rows is not None
    # behind 48 rows of queries, and behind 40 of the gate
    there = "model.safetensors: model.layers.1"
    assert found.place("layers.1.attention.wk.weight", [3, 7]) == (
        f"{there}.self_attn.qkv_proj.weight [{48 + rows[3]}, 7]"
    )
    assert found.place("layers.1.attention.wq.weight", [0, 7]) == f"{there}.self_attn.qkv_proj.weight [0, 7]"
    assert found.place("layers.1.feed_forward.w3.weight", [3, 7]) == f"{there}.mlp.gate_up_proj.weight [43, 7]"
    assert found.place("layers.1.feed_forward.w3.weight", []) == f"{there}.mlp.gate_up_proj.weight []"
    assert found.place("layers.1.feed_forward.w2.weight", [3, 7]) == f"{there}.mlp.down_proj.weight [3, 7]"


def test_before_the_model_is_known_nothing_is_taken_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    of_kind(monkeypatch, "phi3")
    whole = arrays(MODEL)["output.weight"]
    found = Directory(written(tmp_path))
    assert np.array_equal(found.tensor("output.weight"), whole)
    assert found.place("output.weight", [3]) == "model.safetensors: lm_head.weight [3]"


@pytest.mark.parametrize(("kind", "own"), [("mixtral", True), ("qwen3_moe", False)])
def test_only_mixtral_s_experts_have_names_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, *, own: bool
) -> None:
    of_kind(monkeypatch, kind)
    found = Directory(written(tmp_path))
    assert (found.is_mixtral is own, found.is_fused) == (True, False)
    expected = "model.layers.0.block_sparse_moe.gate.weight" if own else "model.layers.0.mlp.gate.weight"
    assert found._name("layers.0.feed_forward.router.weight") == expected


def test_rows_of_families_whose_pairs_are_neighbours_stand_as_in_llama2c(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_kind(monkeypatch, "helium")
    found = opened(tmp_path)
    assert np.array_equal(found.tensor(WQ), stored(arrays(MODEL))[stored_name(WQ)])
    assert found.place(WQ, [9, 3]).endswith(" [9, 3]")
