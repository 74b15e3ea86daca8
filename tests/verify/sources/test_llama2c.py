"""llama2.c checkpoints as the verifier reads them: what their arguments mean, and what ties two matrices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.checkpoints import ARGS, save, state_dict, untied_state_dict
from helpers.models import arrays

import exporter
from verify.errors import CannotJudgeError
from verify.sources import open_source

BOTH = ("tok_embeddings.weight", "output.weight")


def test_two_matrices_that_model_py_ties_are_asked_for(tmp_path: Path) -> None:
    path = save(tmp_path, untied_state_dict())
    with pytest.raises(CannotJudgeError) as caught:
        open_source(path)
    assert str(caught.value) == (
        f"{path}: tok_embeddings.weight, output.weight: expected equal matrices, because model.py of llama2.c ties "
        "them, found two that differ: say --tied (tied=True in Python) to read output.weight in both places, as "
        "model.py does, or --untied (tied=False) to read both"
    )


def test_matrices_are_equal_only_by_type_and_bits(tmp_path: Path) -> None:
    signed, narrow, other = state_dict(), state_dict(), state_dict()
    signed["output.weight"] = signed["tok_embeddings.weight"].clone()
    signed["tok_embeddings.weight"][3, 4], signed["output.weight"][3, 4] = 0.0, -0.0
    narrow["output.weight"] = narrow["tok_embeddings.weight"].bfloat16()
    narrow["tok_embeddings.weight"] = narrow["output.weight"].float()
    # the same bits, as two types
    other["tok_embeddings.weight"] = other["tok_embeddings.weight"].bfloat16()
    other["output.weight"] = other["tok_embeddings.weight"].clone().view(torch.float16)
    for state in (signed, narrow, other):
        with pytest.raises(CannotJudgeError, match="found two that differ"):
            open_source(save(tmp_path, state))


def test_two_matrices_are_read_as_the_user_says(tmp_path: Path) -> None:
    state = untied_state_dict()
    state["output.weight"] = state["output.weight"].bfloat16()
    path = save(tmp_path, state)
    one, two = (open_source(path, tied=tied) for tied in (True, False))
    assert one.hyperparameters.tied
    for name in BOTH:
        assert torch.equal(one.tensor(name), state["output.weight"].float())
        assert torch.equal(two.tensor(name), state[name].float())
    assert one.dtype("tok_embeddings.weight") == "bf16"
    assert one.notes == (
        "--tied: tok_embeddings.weight and output.weight differ; output.weight was read in both places, as model.py "
        "does",
    )
    assert not two.hyperparameters.tied
    assert (two.dtype("tok_embeddings.weight"), two.dtype("output.weight")) == ("fp32", "bf16")
    assert two.notes == ("--untied: tok_embeddings.weight and output.weight differ, and both were read",)


def test_equal_matrices_stay_one(tmp_path: Path) -> None:
    path = save(tmp_path, state_dict())
    for tied in (None, True):
        source = open_source(path, tied=tied)
        assert source.hyperparameters.tied
        assert source.notes == ()
    with pytest.raises(
        CannotJudgeError,
        match=r"--untied: expected tok_embeddings.weight and output.weight to differ, found two equal ones$",
    ):
        open_source(path, tied=False)


@pytest.mark.parametrize(("tied", "option"), [(True, "tied"), (False, "untied")])
def test_sources_that_say_whether_they_are_tied_refuse_the_option(tmp_path: Path, tied: bool, option: str) -> None:
    path = tmp_path / "v3.bin"
    exporter.export(exporter.open_checkpoint(save(tmp_path, state_dict())), path, format="v3")
    with pytest.raises(
        CannotJudgeError, match=rf"^--{option}: expected a source of kind llama2c or meta, found one of kind v3$"
    ):
        open_source(path, tied=tied)


@pytest.mark.parametrize("key", ["dim", "n_layers", "n_heads", "vocab_size", "max_seq_len"])
def test_arguments_that_nobody_omits_are_asked_for(tmp_path: Path, key: str) -> None:
    arguments = {name: value for name, value in ARGS.items() if name != key}
    with pytest.raises(CannotJudgeError, match=rf"model_args: {key}: expected a number, found none$"):
        open_source(save(tmp_path, state_dict(), arguments))


@pytest.mark.parametrize(
    ("key", "others"),
    [
        *((key, (ARGS[key] - 1, ARGS[key] + 1)) for key in ("dim", "n_layers", "hidden_dim", "vocab_size")),
        ("n_kv_heads", (2, 6)),
    ],
)
def test_an_argument_on_either_side_of_what_the_tensors_say_is_refused(
    tmp_path: Path, key: str, others: tuple[int, int]
) -> None:
    for other in others:
        message = rf"model_args: {key}: expected {ARGS[key]}, as the tensors say, found {other}$"
        with pytest.raises(CannotJudgeError, match=message):
            open_source(save(tmp_path, state_dict(), {**ARGS, key: other}))


def test_n_kv_heads_is_n_heads_where_it_is_absent_or_none(tmp_path: Path) -> None:
    for silent in ({**ARGS, "n_kv_heads": None}, {k: v for k, v in ARGS.items() if k != "n_kv_heads"}):
        with pytest.raises(
            CannotJudgeError, match=r"model_args: n_kv_heads: expected 3, as the tensors say, found 6$"
        ):
            open_source(save(tmp_path, state_dict(), silent))


@pytest.mark.parametrize(
    ("multiple", "hidden"), [(1, 128), (10, 130), (64, 128), (100, 200), (128, 128), (129, 129), (256, 256)]
)
def test_hidden_dim_follows_model_py_where_it_is_not_given(tmp_path: Path, multiple: int, hidden: int) -> None:
    """Two thirds of 4 * 48 is 128, which is rounded up to a multiple, not to the next one, and not down."""
    state = state_dict()
    for layer in range(2):
        for name, shape in (("w1", (hidden, 48)), ("w2", (48, hidden)), ("w3", (hidden, 48))):
            state[f"layers.{layer}.feed_forward.{name}.weight"] = torch.zeros(shape)
    said: dict[str, Any] = {**ARGS, "multiple_of": multiple, "hidden_dim": None}
    assert open_source(save(tmp_path, state, said)).hyperparameters.hidden_dim == hidden
    assert exporter.open_checkpoint(save(tmp_path, state, said)).config.hidden_dim == hidden
    del said["hidden_dim"]
    assert open_source(save(tmp_path, state, said)).hyperparameters.hidden_dim == hidden
    other = 2 * hidden + 1
    with pytest.raises(CannotJudgeError, match=rf"hidden_dim: expected {hidden}, as the tensors say, found {other}$"):
        open_source(save(tmp_path, state, {**said, "multiple_of": other}))
    with pytest.raises(
        exporter.CheckpointError, match=rf"w1.weight: expected shape \({other}, 48\), found \({hidden},"
    ):
        exporter.open_checkpoint(save(tmp_path, state, {**said, "multiple_of": other}))


@pytest.mark.parametrize(("dim", "hidden"), [(2, 5), (4, 10), (6, 16), (8, 21), (16, 42)])
def test_two_thirds_are_rounded_down(tmp_path: Path, dim: int, hidden: int) -> None:
    """8 dim / 3 is 5.3, 10.7, 16, 21.3 and 42.7."""
    model = exporter.ModelConfig(dim, hidden, 1, 1, 1, 3, 4, tied=True)
    state = {name: torch.from_numpy(array) for name, array in arrays(model).items()}
    state["output.weight"] = state["tok_embeddings.weight"]
    said = {"dim": dim, "n_layers": 1, "n_heads": 1, "vocab_size": 3, "max_seq_len": 4, "multiple_of": 1}
    path = save(tmp_path, state, said)
    assert open_source(path).hyperparameters.hidden_dim == hidden
    assert exporter.open_checkpoint(path).config.hidden_dim == hidden


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dim": 48.0}, "dim: expected an integer, found 48.0"),
        ({"n_layers": True}, "n_layers: expected an integer, found True"),
        ({"max_seq_len": None}, "max_seq_len: expected an integer, found None"),
        ({"norm_eps": None}, "norm_eps: expected a number, found None"),
        ({"dropout": None}, "dropout: expected a number, found None"),
        ({"multiple_of": 0}, "multiple_of: expected a positive integer, found 0"),
        ({"rope_scaling": 2.0}, "expected keys whose effect on the model is known, found rope_scaling"),
    ],
)
def test_arguments_that_stop_model_py_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(CannotJudgeError, match=rf"model_args: .*{message}$|model_args: {message}$"):
        open_source(save(tmp_path, state_dict(), {**ARGS, **changes}))


@pytest.mark.parametrize("length", [1, 2**31 - 1])
def test_a_length_is_any_positive_integer_of_32_bits(tmp_path: Path, length: int) -> None:
    path = save(tmp_path, state_dict(), {**ARGS, "max_seq_len": length})
    assert open_source(path).hyperparameters.max_seq_len == length
    assert exporter.open_checkpoint(path).config.max_seq_len == length
    path = save(tmp_path, state_dict(), {**ARGS, "max_seq_len": 0 if length == 1 else length + 1})
    with pytest.raises(CannotJudgeError, match=r"max_seq_len: expected a positive integer below 2\^31, found "):
        open_source(path)
    with pytest.raises(exporter.CheckpointError, match="max_seq_len: expected 1 to 2147483647, found "):
        exporter.open_checkpoint(path)


def test_epsilon_and_theta_are_model_pys_where_they_are_absent(tmp_path: Path) -> None:
    assert not {"norm_eps", "rope_theta"} & ARGS.keys()
    path = save(tmp_path, state_dict())
    hyper, config = open_source(path).hyperparameters, exporter.open_checkpoint(path).config
    assert (hyper.norm_eps, hyper.rope_theta) == (config.norm_eps, config.rope_theta) == (1e-5, 10000.0)
    path = save(tmp_path, state_dict(), {**ARGS, "norm_eps": 1, "rope_theta": 7})
    hyper, config = open_source(path).hyperparameters, exporter.open_checkpoint(path).config
    assert (hyper.norm_eps, hyper.rope_theta) == (config.norm_eps, config.rope_theta) == (1.0, 7.0)
