"""A small Hugging Face directory of each kind: what is loaded is what stands where the checkpoint says it does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import exporter
from exporter.config import tensor_shapes
from exporter.huggingface_names import places
from exporter.sources.huggingface import open_huggingface
from exporter.sources.huggingface_config import read_description
from exporter.sources.options import SourceOptions

SIZES: dict[str, Any] = {
    **{"hidden_size": 8, "intermediate_size": 5, "num_hidden_layers": 3, "num_attention_heads": 2},
    **{"num_key_value_heads": 1, "vocab_size": 7, "max_position_embeddings": 16, "pad_token_id": None},
}
EXPERTS = {"num_experts": 3, "num_experts_per_tok": 2, "moe_intermediate_size": 6, "head_dim": 4}
CASES: dict[str, dict[str, Any]] = {
    "llama": {"model_type": "llama"},
    "fused": {"model_type": "phi3"},
    "part of a head": {"model_type": "phi3", "partial_rotary_factor": 0.5},
    "experts": {"model_type": "qwen3_moe", **EXPERTS},
    "some experts": {"model_type": "qwen3_moe", **EXPERTS, "mlp_only_layers": [1]},
    "joined experts": {"model_type": "qwen3_moe", **EXPERTS},
    "neighbours": {"model_type": "ernie4_5", "head_dim": 4},
}
EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"


def stored(path: Path, said: dict[str, Any], *, joined: bool = False) -> dict[str, np.ndarray]:
    """Write a config.json, and return tensors for it, in which each number is another one."""
    (path / "config.json").write_text(json.dumps({**SIZES, **said}))
    described = read_description(path / "config.json", None)
    shapes, family = tensor_shapes(described.config), described.family
    there = places(described.config, fused=family.fused, experts=family.expert_names, joined=joined)
    sizes: dict[str, tuple[int, ...]] = {}
    for name, place in there.items():
        rows, *rest = shapes[name]
        rows = max(place.first + rows, sizes.get(place.name, (0, 0, 0))[-1 - len(rest)])
        sizes[place.name] = (rows, *rest) if place.expert is None else (3, rows, *rest)
    made, count = {}, 0
    for name, shape in sizes.items():
        size = int(np.prod(shape))
        made[name] = np.arange(count, count + size, dtype=np.float32).reshape(shape)
        count += size
    save_file(made, path / "model.safetensors")
    return made


def opened(path: Path) -> exporter.Checkpoint:
    return open_huggingface(path, SourceOptions())


def refused(path: Path) -> str:
    with pytest.raises(exporter.CheckpointError) as caught:
        opened(path)
    return str(caught.value).removeprefix(f"{path}")


@pytest.mark.parametrize("case", CASES)
def test_each_number_is_loaded_from_where_it_is_said_to_stand(tmp_path: Path, case: str) -> None:
    made = stored(tmp_path, CASES[case], joined=case.startswith("joined"))
    checkpoint, used = opened(tmp_path), 0
    assert checkpoint.family == CASES[case]["model_type"]
    assert checkpoint.notes == ()
    for name in checkpoint.names:
        array = np.asarray(checkpoint.load(name))
        assert array.shape == checkpoint.shape(name)
        used += array.size
        for index in np.ndindex(array.shape):
            where, place = checkpoint.place(name, index)
            file, _, theirs = where.partition(": ")
            assert file == str(tmp_path / "model.safetensors")
            assert made[theirs][place] == array[index], (name, index)
    assert used == sum(array.size for array in made.values())
    if case == "neighbours":
        name = "model.layers.1.self_attn.q_proj.weight"
        assert np.array_equal(checkpoint.load("layers.1.attention.wq.weight"), made[name])


@pytest.mark.parametrize(("joined", "case"), [(False, "experts"), (True, "experts"), (False, "some experts")])
def test_more_experts_than_tensors_are_refused(tmp_path: Path, case: str, *, joined: bool) -> None:
    made = stored(tmp_path, CASES[case], joined=joined)
    # of three matrices each
    layers = 3 if case == "experts" else 2
    most = 3 if joined else len(made) // (3 * layers)
    for count in (most, most + 1):
        (tmp_path / "config.json").write_text(json.dumps({**SIZES, **CASES[case], "num_experts": count}))
        message = (
            f"/config.json: num_experts: expected at most {most}, as many as there are tensors of experts, found "
            f"{count}"
        )
        if (joined, count) == (True, most):
            assert opened(tmp_path).config.n_experts == 3
        elif count == most:
            assert refused(tmp_path).startswith(": missing model.layers.0.mlp.experts.3.gate_proj.weight")
        else:
            assert refused(tmp_path) == message


@pytest.mark.parametrize(
    ("case", "message"),
    [
        (
            "experts",
            "/config.json: num_experts: expected at most 0, as many as there are tensors of experts, found 3",
        ),
        ("llama", ": no such tensor in this model: model.layers.0.mlp.experts.gate_up_proj"),
    ],
)
def test_joined_experts_that_are_no_stack_of_matrices_are_refused(tmp_path: Path, case: str, message: str) -> None:
    made = stored(tmp_path, CASES[case])
    flat = {"model.layers.0.mlp.experts.gate_up_proj": np.ones((3, 4), np.float32)}
    save_file({**made, **flat}, tmp_path / "model.safetensors")
    assert refused(tmp_path) == message


def test_there_are_at_most_as_many_layers_as_tensors(tmp_path: Path) -> None:
    count = len(stored(tmp_path, CASES["llama"]))
    for layers, message in (
        (count, ": missing model.layers.3.input_layernorm.weight"),
        (
            count + 1,
            f"/config.json: num_hidden_layers: expected at most as many as there are tensors, {count}, found "
            f"{count + 1}",
        ),
    ):
        (tmp_path / "config.json").write_text(json.dumps({**SIZES, **CASES["llama"], "num_hidden_layers": layers}))
        assert refused(tmp_path).startswith(message)


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        (EMBEDDING, (6, 8), f"/config.json: vocab_size: expected 6, the rows of {EMBEDDING}, found 7"),
        (EMBEDDING, (), f"/config.json: vocab_size: expected some, the rows of {EMBEDDING}, found 7"),
        (EMBEDDING, (7, 9), f": {EMBEDDING}: expected shape (7, 8), found (7, 9)"),
        (EMBEDDING, None, f": missing {EMBEDDING}"),
        (HEAD, None, f": missing {HEAD}, which config.json's tie_word_embeddings = false expects"),
    ],
)
def test_embedding_and_classifier_are_what_config_json_says(
    tmp_path: Path, name: str, shape: tuple[int, ...] | None, message: str
) -> None:
    made = stored(tmp_path, CASES["llama"])
    del made[name]
    save_file(made if shape is None else {**made, name: np.zeros(shape, np.float32)}, tmp_path / "model.safetensors")
    assert refused(tmp_path) == message


def test_a_directory_that_cannot_be_read_is_told_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored(tmp_path, CASES["llama"])
    denied = PermissionError(13, "Permission denied", "the/file")
    for error, told in (
        (denied, "the/file: permission denied"),
        (PermissionError(13, "Permission denied"), f"{tmp_path}: permission denied"),
        (OSError("Odd"), f"{tmp_path}: odd"),
    ):

        def fails(*_given: object, error: OSError = error, **_more: object) -> None:
            raise error

        monkeypatch.setattr("exporter.sources.huggingface.read_description", fails)
        with pytest.raises(exporter.CheckpointError) as caught:
            opened(tmp_path)
        assert str(caught.value) == told


# ---- a text part ----


def wrapped(path: Path, **said: Any) -> dict[str, np.ndarray]:
    """Write a multimodal directory with two tensors for images."""
    made = stored(path, CASES["llama"])
    text = {"model_type": "llama", **SIZES}
    (path / "config.json").write_text(json.dumps({"model_type": "llava", "text_config": text, **said}))
    theirs = {f"language_model.{name}": array for name, array in made.items()}
    theirs |= {f"{name}.weight": np.arange(3) for name in ("vision_tower", "multi_modal_projector")}
    save_file(theirs, path / "model.safetensors")
    return made


NOTE = "text part of llava (llama); 2 vision tensors left out"
UNTIED = "language_model.lm_head.weight differs from the embedding: it is not tied, as transformers decides here"


def test_a_text_part_is_a_model_of_its_own(tmp_path: Path) -> None:
    made = wrapped(tmp_path)
    found = opened(tmp_path)
    assert (found.notes, found.family, found.config.tied) == ((NOTE,), "llama", False)
    assert np.array_equal(found.load("output.weight"), made[HEAD])
    where = f"{tmp_path / 'model.safetensors'}: language_model.{HEAD}"
    assert found.place("output.weight", (1, 2)) == (where, (1, 2))


@pytest.mark.parametrize(
    ("change", "tied"),
    [
        ("same", True),
        ("none", True),
        ("other", False),
        ("last row", False),
        ("type", False),
        ("shape", False),
    ],
)
def test_a_classifier_of_other_bits_is_untied(tmp_path: Path, change: str, *, tied: bool) -> None:
    wrapped(tmp_path, tie_word_embeddings=True)
    state = load_file(tmp_path / "model.safetensors")
    head, embedding = f"language_model.{HEAD}", state[f"language_model.{EMBEDDING}"]
    last = embedding.copy()
    last[6, 7] += 1
    put = {"same": embedding, "last row": last, "type": embedding.astype(np.float16), "shape": embedding[:6]}
    if change in put:
        state[head] = put[change].copy()
    if change == "none":
        del state[head]
    save_file(state, tmp_path / "model.safetensors")
    if change == "shape":
        assert refused(tmp_path) == f": {HEAD}: expected shape (7, 8), found (6, 8)"
        return
    found = opened(tmp_path)
    assert found.config.tied is tied
    assert found.notes == ((NOTE,) if tied else (NOTE, UNTIED))


def test_two_matrices_alone_are_compared_too(tmp_path: Path) -> None:
    made = wrapped(tmp_path, tie_word_embeddings=True)
    both = {f"language_model.{name}": made[name] for name in (HEAD, EMBEDDING)}
    save_file(both, tmp_path / "model.safetensors")
    said = json.loads((tmp_path / "config.json").read_text())
    said["text_config"]["num_hidden_layers"] = 2
    (tmp_path / "config.json").write_text(json.dumps(said))
    assert refused(tmp_path).startswith(": missing model.layers.0.input_layernorm.weight")


def test_a_classifier_like_an_embedding_that_is_no_matrix_is_refused_for_its_shape(tmp_path: Path) -> None:
    wrapped(tmp_path, tie_word_embeddings=True)
    state = load_file(tmp_path / "model.safetensors")
    for name in (HEAD, EMBEDDING):
        state[f"language_model.{name}"] = np.zeros(7, np.float32)
    save_file(state, tmp_path / "model.safetensors")
    assert refused(tmp_path) == f": {EMBEDDING}: expected shape (7, 8), found (7,)"
