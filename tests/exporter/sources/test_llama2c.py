"""llama2.c checkpoints: what is taken, exactly, and what is refused, by name."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.checkpoints import ARGS, save, state_dict, untied_state_dict
from helpers.models import same_bits

import exporter
from verify.demo import CHECKPOINT


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("prefix", ["", "_orig_mod."])
def test_tensors_come_out_with_the_bits_they_had(tmp_path: Path, dtype: torch.dtype, prefix: str) -> None:
    state = {name: tensor.to(dtype) for name, tensor in untied_state_dict().items()}
    opened = exporter.open_checkpoint(save(tmp_path, {prefix + name: t for name, t in state.items()}), tied=False)
    assert set(opened.names) == set(state)
    for name, tensor in state.items():
        loaded = opened.load(name)
        assert opened.shape(name) == loaded.shape == tuple(tensor.shape)
        assert loaded.dtype == np.float32
        assert not loaded.flags.writeable
        assert same_bits(loaded, tensor.float().numpy())


def test_a_tensor_outlives_the_map_it_came_from(tmp_path: Path) -> None:
    opened = exporter.open_checkpoint(save(tmp_path, state_dict()))
    first = opened.load("tok_embeddings.weight")
    kept = first.copy()
    for name in opened.names:
        opened.load(name)
    assert same_bits(first, kept)


def test_a_transposed_view_is_saved_and_loaded_as_what_it_is(tmp_path: Path) -> None:
    state = state_dict()
    state["layers.0.attention.wq.weight"] = state["layers.0.attention.wq.weight"].T
    loaded = exporter.open_checkpoint(save(tmp_path, state)).load("layers.0.attention.wq.weight")
    assert same_bits(loaded, state["layers.0.attention.wq.weight"].contiguous().numpy())


def test_the_bundled_checkpoint_is_awkward_on_purpose() -> None:
    config = exporter.open_checkpoint(CHECKPOINT).config
    assert config.n_heads // config.n_kv_heads != config.n_kv_heads
    assert config.hidden_dim % 64
    assert config.tied
    assert CHECKPOINT.stat().st_size < 2_000_000


def test_tied_is_told_by_bits(tmp_path: Path) -> None:
    state = state_dict()
    state["output.weight"] = state["tok_embeddings.weight"].clone()
    assert exporter.open_checkpoint(save(tmp_path, state)).config.tied
    # equal as numbers, not as bits
    state["tok_embeddings.weight"][3, 4] = 0.0
    state["output.weight"][3, 4] = -0.0
    with pytest.raises(exporter.CheckpointError, match=r"expected the numbers of tok_embeddings\.weight"):
        exporter.open_checkpoint(save(tmp_path, state))
    # equal numbers of two types
    state = state_dict()
    state["output.weight"] = state["tok_embeddings.weight"].bfloat16()
    state["tok_embeddings.weight"] = state["output.weight"].float()
    with pytest.raises(exporter.CheckpointError, match=r"expected the numbers of tok_embeddings\.weight"):
        exporter.open_checkpoint(save(tmp_path, state))


def test_weights_that_share_storage_are_tied(tmp_path: Path) -> None:
    state = state_dict()
    state["output.weight"] = state["tok_embeddings.weight"]
    opened = exporter.open_checkpoint(save(tmp_path, state))
    assert opened.config.tied
    assert "output.weight" not in opened.names


def test_float64_is_taken_where_it_is_exact_and_refused_where_not(tmp_path: Path) -> None:
    state = {name: tensor.double() for name, tensor in state_dict().items()}
    opened = exporter.open_checkpoint(save(tmp_path, state))
    assert same_bits(opened.load("norm.weight"), state["norm.weight"].float().numpy())
    for value in (0.1, 1e300):
        state["norm.weight"][5] = value
        opened = exporter.open_checkpoint(save(tmp_path, state))
        with pytest.raises(exporter.WeightError, match=r"norm\.weight\[5\]: expected a value that float32 can hold"):
            opened.load("norm.weight")


State = dict[str, Any]


def _without(name: str) -> Callable[[State], None]:
    return lambda state: state.pop(name)  # type: ignore[return-value]


def _with(name: str, value: object) -> Callable[[State], None]:
    return lambda state: state.update({name: value})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_without("layers.1.feed_forward.w2.weight"), "missing layers.1.feed_forward.w2.weight"),
        (_without("output.weight"), "missing output.weight"),
        (_with("layers.2.attention.wq.weight", torch.zeros(48, 48)), "no such tensor in this model: layers.2"),
        (_with("lm_head.weight", torch.zeros(2)), "no such tensor in this model: lm_head.weight"),
        (_with("norm.weight", torch.zeros(47)), r"norm.weight: expected shape \(48,\), found \(47,\)"),
        (_with("layers.0.attention.wk.weight", torch.zeros(48, 48)), r"wk.weight: expected shape \(24, 48\)"),
        (_with("norm.weight", torch.zeros(48, dtype=torch.int64)), "expected a floating-point tensor"),
        (_with("norm.weight", [1.0]), "expected a dense tensor, found list"),
        (_with("norm.weight", torch.zeros(48).to_sparse()), "expected a dense tensor"),
        (_with("_orig_mod.norm.weight", torch.zeros(48)), "norm.weight: expected once"),
        (_with(3, torch.zeros(48)), "expected names of tensors"),  # type: ignore[arg-type]
    ],
)
def test_keys_are_checked_exactly(tmp_path: Path, change: Callable[[State], None], message: str) -> None:
    state: State = dict(state_dict())
    change(state)
    with pytest.raises(exporter.CheckpointError, match=message):
        exporter.open_checkpoint(save(tmp_path, state))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dim": None}, "model_args: dim: expected a number, found None"),
        ({"norm_eps": None}, "model_args: norm_eps: expected a number, found None"),
        ({"dropout": "none"}, "model_args: dropout: expected a number, found 'none'"),
        ({"multiple_of": 64.0}, "model_args: multiple_of: expected a positive integer, found 64.0"),
        ({"n_heads": 5}, "n_heads: expected a divisor of dim = 48, found 5"),
        ({"n_heads": 16}, "dim / n_heads: expected an even number, found 3"),
        ({"n_kv_heads": 4}, "n_kv_heads: expected a divisor of n_heads = 6, found 4"),
        ({"n_layers": 0}, "n_layers: expected 1 to"),
        ({"n_layers": True}, "n_layers: expected an integer, found True"),
        ({"max_seq_len": -1}, "max_seq_len: expected 1 to"),
        ({"norm_eps": float("nan")}, "norm_eps: expected a positive finite number"),
        ({"multiple_of": 0}, "multiple_of: expected a positive integer"),
        ({"hidden_dim": 64}, r"w1.weight: expected shape \(64, 48\), found \(40, 48\)"),
        ({"rope_scaling": 2.0}, "may change the model: 'rope_scaling'"),
    ],
)
def test_arguments_are_checked(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    arguments = {**ARGS, **changes}
    if changes.get("multiple_of") is not None:
        arguments.pop("hidden_dim")
    with pytest.raises(exporter.CheckpointError, match=message):
        exporter.open_checkpoint(save(tmp_path, state_dict(), arguments))


def test_hidden_dim_follows_llama2c_where_it_is_not_given(tmp_path: Path) -> None:
    # two thirds of 4 * 48 is 128, up to a multiple of 10: 130, which these tensors do not have
    arguments = {**ARGS, "multiple_of": 10}
    arguments.pop("hidden_dim")
    with pytest.raises(exporter.CheckpointError, match=r"expected shape \(130, 48\)"):
        exporter.open_checkpoint(save(tmp_path, state_dict(), arguments))
    arguments.pop("multiple_of")
    assert exporter.open_checkpoint(save(tmp_path, state_dict(), arguments)).config.hidden_dim == 40


def test_a_bare_state_dict_is_told_how_to_be_saved(tmp_path: Path) -> None:
    path = tmp_path / "bare.pt"
    torch.save(state_dict(), path)
    with pytest.raises(exporter.CheckpointError) as caught:
        exporter.open_checkpoint(path)
    assert str(caught.value) == (
        f"{path}: model: expected a dict, found a bare state dict: save it as {{'model': state_dict, 'model_args': "
        "{dim, n_layers, n_heads, vocab_size, max_seq_len}}"
    )


def test_a_vocabulary_of_another_size_is_told_as_that(tmp_path: Path) -> None:
    with pytest.raises(
        exporter.CheckpointError, match=r"vocab_size: expected 29, the rows of tok_embeddings.weight, found 32$"
    ):
        exporter.open_checkpoint(save(tmp_path, state_dict(), {**ARGS, "vocab_size": 32}))


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.module.", "model.", "net."])
def test_prefixes_of_wrappers_are_removed(tmp_path: Path, prefix: str) -> None:
    state = state_dict()
    opened = exporter.open_checkpoint(save(tmp_path, {prefix + name: tensor for name, tensor in state.items()}))
    assert {*opened.names, "output.weight"} == set(state)
    assert sum("; it was removed" in note for note in opened.notes) == prefix.replace("_orig_mod.", "").count(".")
    odd = {f"student.{name}": tensor for name, tensor in state.items()}
    with pytest.raises(exporter.CheckpointError, match=r"found all tensors under the unknown prefix 'student\.'"):
        exporter.open_checkpoint(save(tmp_path, odd))


def test_buffers_of_old_checkpoints_are_left_out_where_they_are_right(tmp_path: Path) -> None:
    state: State = dict(state_dict())
    angles = torch.outer(torch.arange(33.0), 1.0 / 10000 ** (torch.arange(0, 8, 2) / 8))
    buffers = {
        "freqs_cos": angles.cos(),
        "freqs_sin": angles.sin().half(),
        "layers.0.attention.mask": torch.full((1, 1, 33, 33), -torch.inf).triu(1),
    }
    opened = exporter.open_checkpoint(save(tmp_path, {**state, **buffers}))
    assert opened.notes[0] == (
        "left out, since they hold what follows from the config: 3 buffers (attention.mask, freqs_cos, freqs_sin)"
    )
    for name, buffer in buffers.items():
        wrong = {**buffers, name: torch.zeros_like(buffer)}
        with pytest.raises(exporter.CheckpointError, match=f"{name}: expected (RoPE's table|a causal mask)"):
            exporter.open_checkpoint(save(tmp_path, {**state, **wrong}))


def test_two_matrices_that_model_py_ties_are_asked_for(tmp_path: Path) -> None:
    path = save(tmp_path, untied_state_dict())
    with pytest.raises(exporter.CheckpointError) as caught:
        exporter.open_checkpoint(path)
    assert str(caught.value) == (
        f"{path}: output.weight: expected the numbers of tok_embeddings.weight, which model.py of llama2.c ties to "
        "it, found others: --tied (tied=True in Python) reads output.weight in both places, as model.py does; "
        "--untied (tied=False) reads two matrices"
    )


def test_two_matrices_are_read_as_the_user_says(tmp_path: Path) -> None:
    state = untied_state_dict()
    # so that type and place show which of the two is read
    state["output.weight"] = state["output.weight"].bfloat16()
    path = save(tmp_path, state)
    one, two = (exporter.open_checkpoint(path, tied=tied) for tied in (True, False))
    assert one.config.tied
    assert "output.weight" not in one.names
    assert same_bits(one.load("tok_embeddings.weight"), state["output.weight"].float().numpy())
    assert one.dtype("tok_embeddings.weight") == "bf16"
    assert one.place("tok_embeddings.weight", (1, 2)) == (f"{path}: output.weight", (1, 2))
    assert one.notes == (
        "tok_embeddings.weight differs from output.weight, which --tied reads in both places, as model.py does",
    )
    assert not two.config.tied
    for name in ("tok_embeddings.weight", "output.weight"):
        assert same_bits(two.load(name), state[name].float().numpy())
    assert two.notes == ("tok_embeddings.weight and output.weight differ, and --untied reads both",)


def test_equal_matrices_stay_one(tmp_path: Path) -> None:
    path = save(tmp_path, state_dict())
    for tied in (None, True):
        opened = exporter.open_checkpoint(path, tied=tied)
        assert opened.config.tied
        assert opened.notes == ()
    with pytest.raises(
        exporter.CheckpointError,
        match=r"output.weight: expected other numbers than tok_embeddings.weight's for --untied, found the same$",
    ):
        exporter.open_checkpoint(path, tied=False)
    # saved by torch.compile, whose prefix llama2.c's own exporter removes in silence
    assert exporter.open_checkpoint(CHECKPOINT).notes == ()


@pytest.mark.parametrize(("tied", "option"), [(True, "--tied"), (False, "--untied")])
def test_sources_that_say_whether_they_are_tied_refuse_the_option(tmp_path: Path, tied: bool, option: str) -> None:
    path = tmp_path / "v3.bin"
    exporter.export(exporter.open_checkpoint(save(tmp_path, state_dict())), path, format="v3")
    with pytest.raises(
        exporter.CheckpointError,
        match=rf"^{option} \(tied= in Python\): expected a source of kind llama2c or meta, found v3$",
    ):
        exporter.open_checkpoint(path, tied=tied)


def test_importing_the_package_does_not_load_torch() -> None:
    import subprocess

    code = "import exporter, reader_c, verify, verify.cli, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
