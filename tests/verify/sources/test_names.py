"""Tensors under the names that wrappers and old programs gave them, and buffers beside them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from helpers import checkpoints, huggingface
from safetensors.torch import load_file, save_file

from verify.errors import CannotJudgeError
from verify.oracle.transformers import TransformersOracle
from verify.sources import open_source
from verify.sources.huggingface import HuggingFaceSource

TOKENS = torch.arange(40).view(2, 20) % 29
State = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return huggingface.save(tmp_path_factory.mktemp("model"), huggingface.model())


@pytest.fixture
def directory(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "model"))


def store(directory: Path, state: State) -> None:
    save_file(state, directory / "model.safetensors", metadata={"format": "pt"})


def renamed(directory: Path, rename: Callable[[str], str]) -> State:
    state = {rename(name): tensor for name, tensor in load_file(directory / "model.safetensors").items()}
    store(directory, state)
    return state


def bare(name: str) -> str:
    return name.removeprefix("model.")


def in_the_middle(name: str) -> str:
    return name.replace("layers.1.", "layers.1._fsdp_wrapped_module._checkpoint_wrapped_module.")


def of_compiled_body(name: str) -> str:
    return name.replace("model.", "model._orig_mod.", 1) if name.startswith("model.") else name


@pytest.mark.parametrize(
    ("rename", "notes"),
    [
        (lambda name: f"module.{name}", ['weights are named with the prefix "module."; it was removed']),
        (lambda name: f"_orig_mod.{name}", ['weights are named with the prefix "_orig_mod."; it was removed']),
        (lambda name: f"net.{name}", ['weights are named with the prefix "net."; it was removed']),
        (lambda name: f"model.{name}", ['weights are named with the prefix "model."; it was removed']),
        (
            lambda name: f"model._orig_mod.module.{name}",
            ['weights are named with the prefix "model._orig_mod.module."; it was removed'],
        ),
        (
            lambda name: f"_fsdp_wrapped_module.{in_the_middle(name)}",
            ['weights are named with the prefix "_fsdp_wrapped_module."; it was removed'],
        ),
        (in_the_middle, ["weights are named with the wrappers of training code; they were removed"]),
        (of_compiled_body, ["weights are named with the wrappers of training code; they were removed"]),
        (bare, ['weights are named without the prefix "model."; it was added']),
    ],
)
def test_what_wraps_a_model_is_removed_from_its_names(
    saved: Path, directory: Path, rename: Callable[[str], str], notes: list[str]
) -> None:
    renamed(directory, rename)
    source, plain = HuggingFaceSource(directory), HuggingFaceSource(saved)
    assert list(source.notes) == notes
    assert source.hyperparameters == plain.hyperparameters
    for name in source.hyperparameters.shapes():
        assert torch.equal(source.tensor(name), plain.tensor(name))
    expected = TransformersOracle(plain).logits(TOKENS)
    for streamed in (False, True):
        assert torch.equal(TransformersOracle(source, streamed=streamed).logits(TOKENS), expected)


def test_a_name_that_is_there_twice_is_refused(directory: Path) -> None:
    state = load_file(directory / "model.safetensors")
    store(directory, {**state, "module.model.norm.weight": state["model.norm.weight"].clone()})
    with pytest.raises(
        CannotJudgeError, match=r"norm.weight: expected one such tensor, found m.* and m.*norm.weight$"
    ):
        HuggingFaceSource(directory)


def test_a_prefix_that_nobody_knows_is_told(directory: Path) -> None:
    renamed(directory, lambda name: f"student.{name}")
    message = (
        r"tensors: expected a Llama's names, found all of them under the prefix 'student\.': save the state dict of "
        "the model itself, without what wraps it$"
    )
    with pytest.raises(CannotJudgeError, match=message):
        HuggingFaceSource(directory)
    state = renamed(directory, lambda name: name.removeprefix("student."))
    store(directory, {**state, "student.model.norm.weight": torch.zeros(48)})
    with pytest.raises(CannotJudgeError, match=r"tensors: expected those of a Llama alone, found student\.model"):
        HuggingFaceSource(directory)


def frequencies(theta: float = 1e4) -> torch.Tensor:
    return 1.0 / (theta ** (torch.arange(0, 10, 2).float() / 10))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("name", ["rotary_emb.inv_freq", "module.model.layers.1.self_attn.rotary_emb.inv_freq"])
def test_frequencies_are_dropped_where_they_are_the_configs(directory: Path, dtype: torch.dtype, name: str) -> None:
    state = load_file(directory / "model.safetensors")
    store(directory, {**state, name: frequencies().to(dtype)})
    source = HuggingFaceSource(directory)
    assert source.notes == ("rotary_emb.inv_freq: stored buffers hold what config.json says; they were dropped",)
    TransformersOracle(source)
    off = frequencies() * torch.tensor([1, 1, 1, 1, 1 + 4 * torch.finfo(dtype).eps + 2**-18])
    for wrong in (
        off.to(dtype),
        frequencies(5e5).to(dtype),
        torch.ones(4, dtype=dtype),
        torch.ones(2, 5, dtype=dtype),
    ):
        store(directory, {**state, name: wrong})
        with pytest.raises(
            CannotJudgeError, match=r"inv_freq: expected the frequencies of rope_theta 10000 and head"
        ):
            HuggingFaceSource(directory)


# ---- llama2.c's .pt ----

ANGLES = torch.outer(torch.arange(33.0), 1.0 / (1e4 ** (torch.arange(0, 8, 2).float() / 8)))


@pytest.mark.parametrize(
    ("name", "buffer"),
    [
        ("freqs_cos", ANGLES.cos()),
        ("_orig_mod.freqs_sin", ANGLES.sin().half()),
        ("freqs_cis", torch.polar(torch.ones_like(ANGLES), ANGLES)),
        ("layers.0.attention.mask", torch.full((1, 1, 33, 33), -torch.inf).triu(1)),
    ],
)
def test_buffers_of_old_model_py_are_dropped_where_they_are_right(
    tmp_path: Path, name: str, buffer: torch.Tensor
) -> None:
    state = checkpoints.state_dict()
    source = open_source(checkpoints.save(tmp_path, {**state, name: buffer}))
    assert f"{name}: stored buffers hold what the model computes; they were dropped" in source.notes
    assert torch.equal(source.tensor("norm.weight"), state["norm.weight"])
    wrong = buffer.clone()
    wrong.view(-1)[1] = 0.5
    for value in (wrong, buffer[..., 1:], torch.zeros(1).expand(2**40), buffer.to_sparse(), torch.ones(3, dtype=int)):
        with pytest.raises(CannotJudgeError, match=rf"checkpoint.pt: {name}: expected .*, found "):
            open_source(checkpoints.save(tmp_path, {**state, name: value}))


def test_the_prefix_of_torch_compile_needs_no_note(tmp_path: Path) -> None:
    """llama2.c's own exporter removes it without a word."""
    state = checkpoints.state_dict()
    source = open_source(checkpoints.save(tmp_path, {f"_orig_mod.{name}": t for name, t in state.items()}))
    assert not [note for note in source.notes if "prefix" in note]
    assert torch.equal(source.tensor("norm.weight"), state["norm.weight"])


@pytest.mark.parametrize("prefix", ["module.", "model._orig_mod."])
def test_a_checkpoint_of_a_wrapped_model(tmp_path: Path, prefix: str) -> None:
    state = checkpoints.state_dict()
    source = open_source(checkpoints.save(tmp_path, {f"{prefix}{name}": t for name, t in state.items()}))
    assert source.notes[0] == f'weights are named with the prefix "{prefix}"; it was removed'
    assert all(torch.equal(source.tensor(name), tensor) for name, tensor in state.items())
    with pytest.raises(
        CannotJudgeError, match=r"all of them under the prefix 'gpt\.': save the model's own state dict$"
    ):
        open_source(checkpoints.save(tmp_path, {f"gpt.{name}": t for name, t in state.items()}))


# ---- numbers that are none ----


def test_a_nan_is_told_by_its_own_name_and_place(directory: Path, tmp_path: Path) -> None:
    state = load_file(directory / "model.safetensors")
    state["model.layers.1.self_attn.q_proj.weight"][7, 3] = torch.inf
    state["model.norm.weight"][5] = torch.nan
    store(directory, state)
    source = HuggingFaceSource(directory)
    place = (
        r"model.safetensors: model.layers.1.self_attn.q_proj.weight: expected finite numbers, found inf at row 7, col"
    )
    with pytest.raises(CannotJudgeError, match=place):
        source.tensor("layers.1.attention.wq.weight")
    with pytest.raises(
        CannotJudgeError, match=r"model.norm.weight: expected finite numbers, found nan at element 5$"
    ):
        source.tensor("norm.weight")
    of_pt = checkpoints.state_dict()
    of_pt["layers.0.feed_forward.w2.weight"][2, 9] = -torch.inf
    with pytest.raises(CannotJudgeError, match=r"w2.weight: expected finite numbers, found -inf at row 2, column 9$"):
        open_source(checkpoints.save(tmp_path, of_pt)).tensor("layers.0.feed_forward.w2.weight")


def test_huge_numbers_whose_sum_is_infinite_are_finite(tmp_path: Path) -> None:
    state = checkpoints.state_dict()
    state["norm.weight"][:] = 3e38
    assert torch.equal(open_source(checkpoints.save(tmp_path, state)).tensor("norm.weight"), state["norm.weight"])
