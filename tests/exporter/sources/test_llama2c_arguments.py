"""model_args of a llama2.c checkpoint: each at both sides of what the tensors say, and what model.py stops at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.checkpoints import ARGS, save, state_dict
from helpers.models import config

import exporter
from exporter.sources.llama2c import open_llama2c
from exporter.sources.options import SourceOptions


def opened(directory: Path, **changes: Any) -> exporter.ModelConfig:
    """With these arguments; ... takes one away."""
    said = {key: value for key, value in {**ARGS, **changes}.items() if value is not ...}
    return open_llama2c(save(directory, state_dict(), said), SourceOptions()).config


def refused(directory: Path, **changes: Any) -> str:
    with pytest.raises(exporter.CheckpointError) as caught:
        opened(directory, **changes)
    return str(caught.value).removeprefix(f"{directory / 'checkpoint.pt'}: ")


def test_arguments_are_what_the_tensors_say(tmp_path: Path) -> None:
    assert opened(tmp_path) == config(tied=True)
    found = opened(tmp_path, norm_eps=1e-6, rope_theta=5e5, max_seq_len=7, dropout=1, multiple_of=1)
    assert found == config(tied=True, norm_eps=1e-6, rope_theta=5e5, max_seq_len=7)


@pytest.mark.parametrize(
    ("key", "others"),
    [
        ("dim", (42, 54)),
        ("hidden_dim", (39, 41)),
        ("n_layers", (1, 3)),
        ("n_kv_heads", (2, 6)),
        ("vocab_size", (28, 30)),
    ],
)
def test_an_argument_on_either_side_of_what_the_tensors_say_is_refused(
    tmp_path: Path, key: str, others: tuple[int, int]
) -> None:
    for other in others:
        refused(tmp_path, **{key: other})
    if key == "vocab_size":
        for other in others:
            assert refused(tmp_path, vocab_size=other) == (
                f"model_args: vocab_size: expected 29, the rows of tok_embeddings.weight, found {other}"
            )


@pytest.mark.parametrize("content", [{}, {"a": 1}, {"a": 1, "b": torch.ones(1)}])
def test_a_dict_of_other_things_is_no_state_dict(tmp_path: Path, content: dict[str, Any]) -> None:
    path = tmp_path / "checkpoint.pt"
    torch.save(content, path)
    with pytest.raises(exporter.CheckpointError) as caught:
        open_llama2c(path, SourceOptions())
    assert str(caught.value) == f"{path}: model: expected a dict, found none"


@pytest.mark.parametrize("key", ["dim", "n_layers", "n_heads", "vocab_size", "max_seq_len"])
def test_arguments_that_nobody_omits_are_asked_for(tmp_path: Path, key: str) -> None:
    assert refused(tmp_path, **{key: ...}) == f"model_args: missing {key}"
    assert refused(tmp_path, **{key: None}) == f"model_args: {key}: expected a number, found None"


@pytest.mark.parametrize("silent", [..., None])
def test_n_kv_heads_is_n_heads_where_it_is_not_given(tmp_path: Path, silent: Any) -> None:
    found = refused(tmp_path, n_kv_heads=silent)
    assert found == "layers.0.attention.wk.weight: expected shape (48, 48), found (24, 48)"


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("dropout", True, "dropout: expected a number, found True"),
        ("dropout", "0", "dropout: expected a number, found '0'"),
        ("dropout", None, "dropout: expected a number, found None"),
        ("multiple_of", 0, "multiple_of: expected a positive integer, found 0"),
        ("multiple_of", True, "multiple_of: expected a positive integer, found True"),
        ("multiple_of", 8.0, "multiple_of: expected a positive integer, found 8.0"),
        ("norm_eps", None, "norm_eps: expected a number, found None"),
        ("max_seq_len", 0, "max_seq_len: expected 1 to 2147483647, found 0"),
        ("n_heads", 7, "n_heads: expected a divisor of dim = 48, found 7"),
        ("lora", 1, "no known meaning, and it may change the model: 'lora'"),
    ],
)
def test_arguments_that_model_py_stops_at_are_refused(tmp_path: Path, key: str, value: Any, message: str) -> None:
    assert refused(tmp_path, **{key: value}) == f"model_args: {message}"


def test_there_are_no_more_layers_than_tensors(tmp_path: Path) -> None:
    tensors = len(state_dict())
    assert refused(tmp_path, n_layers=tensors + 1) == (
        f"model_args: n_layers: expected at most as many as there are tensors, {tensors}, found {tensors + 1}"
    )
    assert refused(tmp_path, n_layers=tensors).startswith("missing layers.2.")


@pytest.mark.parametrize("silent", [..., None])
@pytest.mark.parametrize(("multiple", "hidden"), [(..., 40), (1, 128), (10, 130), (127, 254), (128, 128), (129, 129)])
def test_hidden_dim_follows_model_py(tmp_path: Path, multiple: Any, hidden: int, silent: Any) -> None:
    """Two thirds of 4 * 48 is 128, which is rounded up; where multiple_of is not given either, w1 says it."""
    state = state_dict()
    for layer in range(2):
        for name, shape in (("w1", (hidden, 48)), ("w2", (48, hidden)), ("w3", (hidden, 48))):
            state[f"layers.{layer}.feed_forward.{name}.weight"] = torch.zeros(shape)
    said = {
        key: value
        for key, value in {**ARGS, "hidden_dim": silent, "multiple_of": multiple}.items()
        if value is not ...
    }
    assert open_llama2c(save(tmp_path, state, said), SourceOptions()).config.hidden_dim == hidden


@pytest.mark.parametrize("w1", [None, torch.zeros(48), torch.zeros(40, 48, 1)])
def test_where_no_argument_gives_hidden_dim_w1_has_to(tmp_path: Path, w1: torch.Tensor | None) -> None:
    state = state_dict()
    del state["layers.0.feed_forward.w1.weight"]
    if w1 is not None:
        state["layers.0.feed_forward.w1.weight"] = w1
    said = {key: value for key, value in ARGS.items() if key != "hidden_dim"}
    with pytest.raises(exporter.CheckpointError, match=r": missing layers\.0\.feed_forward\.w1\.weight$"):
        open_llama2c(save(tmp_path, state, said), SourceOptions())


def test_of_several_unknown_arguments_the_first_is_named(tmp_path: Path) -> None:
    assert refused(tmp_path, lora=1, alpha=2).endswith("it may change the model: 'lora'")
    assert refused(tmp_path, dropout=None, dim=None) == "model_args: dim: expected a number, found None"


def test_two_matrices_are_one_only_by_type_and_bits(tmp_path: Path) -> None:
    signed, narrow, other = state_dict(), state_dict(), state_dict()
    signed["output.weight"] = signed["tok_embeddings.weight"].clone()
    signed["tok_embeddings.weight"][3, 4], signed["output.weight"][3, 4] = 0.0, -0.0
    narrow["output.weight"] = narrow["tok_embeddings.weight"].bfloat16()
    narrow["tok_embeddings.weight"] = narrow["output.weight"].float()
    # the same bits, as two types
    other["tok_embeddings.weight"] = other["tok_embeddings.weight"].bfloat16()
    other["output.weight"] = other["tok_embeddings.weight"].clone().view(torch.float16)
    for state in (signed, narrow, other):
        with pytest.raises(exporter.CheckpointError, match=r"expected the numbers of tok_embeddings\.weight, which "):
            open_llama2c(save(tmp_path, state), SourceOptions())
