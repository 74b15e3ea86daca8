"""What a llama2.c checkpoint must hold, rule by rule. Quick, because nothing is saved or loaded."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.checkpoints import ARGS, save, state_dict
from helpers.models import config, hyperparameters

from verify.errors import CannotJudgeError
from verify.sources import llama2c, open_source
from verify.sources.llama2c import Llama2cSource, _count_layers, _derive, _expect_checkpoint, _is_buffer, _listed

PATH = Path("m.pt")
OUTER = {name: torch.ones(1) for name in ("tok_embeddings.weight", "norm.weight", "output.weight")}
KEYS = (
    "expected the keys model and model_args (dim, n_layers, n_heads, n_kv_heads, vocab_size, multiple_of, "
    "max_seq_len)"
)


def refused(call: Any, *given: Any) -> str:
    with pytest.raises(CannotJudgeError) as caught:
        call(*given)
    return str(caught.value)


def layer(number: int) -> dict[str, torch.Tensor]:
    return {name: value for name, value in state_dict().items() if name.startswith(f"layers.{number}.")}


def renumbered(*numbers: int) -> dict[str, torch.Tensor]:
    return {
        name.replace("layers.0.", f"layers.{number}."): value
        for number in numbers
        for name, value in layer(0).items()
    }


def test_layers_are_counted_from_0_and_each_is_whole() -> None:
    for count in (1, 2, 3):
        assert _count_layers(PATH, {**OUTER, **renumbered(*range(count))}) == count
    expected = "m.pt: state dict: expected 9 tensors in each layer from 0 on, found"
    assert refused(_count_layers, PATH, OUTER) == f"{expected} no layer"
    assert refused(_count_layers, PATH, {**OUTER, **renumbered(1)}) == f"{expected} {{1: 9}}"
    assert refused(_count_layers, PATH, {**OUTER, **renumbered(0, 2)}) == f"{expected} {{0: 9, 2: 9}}"
    short = renumbered(0, 1)
    short.popitem()
    assert refused(_count_layers, PATH, {**OUTER, **short}) == f"{expected} {{0: 9, 1: 8}}"


@pytest.mark.parametrize("absent", OUTER)
def test_a_tensor_around_the_layers_may_not_be_absent(absent: str) -> None:
    state = {**OUTER, **layer(0)}
    del state[absent]
    assert refused(_count_layers, PATH, state) == f"m.pt: state dict: expected {absent}, found no such tensor"


def test_other_tensors_are_refused_by_name_or_by_the_prefix_of_all() -> None:
    alone = "m.pt: state dict: expected tensors of a Llama alone, found"
    assert refused(_count_layers, PATH, {**OUTER, **layer(0), "extra": torch.ones(1)}) == f"{alone} extra"
    prefixed = {f"student.{name}": value for name, value in {**OUTER, **layer(0)}.items()}
    assert refused(_count_layers, PATH, prefixed) == (
        f"{alone} all of them under the prefix 'student.': save the model's own state dict"
    )


@pytest.mark.parametrize(
    ("saved", "found"),
    [
        ({"model": {}}, "no model_args: save both, as llama2.c's train.py does"),
        ({"model_args": {}}, "no model: save both, as llama2.c's train.py does"),
        ({}, "no model: save both, as llama2.c's train.py does"),
        (OUTER, "a bare state dict: save both, as llama2.c's train.py does"),
        ({**OUTER, "x": 1}, "no model: save both, as llama2.c's train.py does"),
        (
            {"model.norm.weight": torch.ones(1)},
            "the weights of a Hugging Face model: give the directory that has its config.json",
        ),
        ({"model.norm.weight": 1}, "no model: save both, as llama2.c's train.py does"),
    ],
)
def test_a_part_of_a_checkpoint_is_none(tmp_path: Path, saved: dict[str, Any], found: str) -> None:
    assert refused(_expect_checkpoint, tmp_path / "m.pt", saved) == f"{tmp_path / 'm.pt'}: {KEYS}, found {found}"


def test_weights_beside_params_json_are_meta_s(tmp_path: Path) -> None:
    (tmp_path / "params.json").touch()
    path = tmp_path / "m.pt"
    assert refused(_expect_checkpoint, path, OUTER) == (
        f"{path}: {KEYS}, found the weights of Meta's params.json: give its directory, {tmp_path}"
    )
    assert refused(_expect_checkpoint, path, {"model": {}}).endswith(
        "found no model_args: save both, as llama2.c's train.py does"
    )
    assert refused(_expect_checkpoint, path, [1]) == (
        f"{path}: checkpoint: expected a dict with the keys model and model_args, found a list"
    )
    _expect_checkpoint(path, {"model": {}, "model_args": {}, "more": 1})


def test_of_many_names_two_are_listed() -> None:
    assert [_listed(["a", "b", "c", "d"][:count]) for count in (1, 2, 3, 4)] == [
        "a",
        "a, b",
        "a, b and 1 more",
        "a, b and 2 more",
    ]


@pytest.mark.parametrize(
    ("n_heads", "fits"),
    [(6, True), (12, True), (24, True), (3, False), (48, None), (0, None), (-6, None), (7, None)],
)
def test_heads_divide_the_width_into_even_sizes(n_heads: int, fits: bool | None) -> None:
    """Keys have 24 rows: three heads of 8, six of 4, twelve of 2; of 16 they are none."""
    state, arguments = state_dict(), {**ARGS, "n_heads": n_heads, "n_kv_heads": n_heads // 2}
    if fits:
        assert _derive(PATH, state, arguments).n_heads == n_heads
        return
    message = refused(_derive, PATH, state, arguments)
    if fits is False:
        assert message == "m.pt: layers.0.attention.wk.weight: expected rows of whole heads of 16, found 24"
    else:
        assert message == (
            f"m.pt: model_args: n_heads: expected a divisor of 48 that leaves an even head size, found {n_heads}"
        )


NAMES = ("tok_embeddings.weight", "layers.0.feed_forward.w1.weight", "layers.0.attention.wk.weight")


@pytest.mark.parametrize("name", NAMES)
def test_matrices_are_matrices(name: str) -> None:
    state = {**state_dict(), name: torch.ones(48)}
    assert refused(_derive, PATH, state, ARGS) == (
        "m.pt: state dict: expected matrices, found a tensor of another rank"
    )


@pytest.mark.parametrize(("name", "shape"), [(NAMES[0], (0, 48)), (NAMES[0], (29, 0)), (NAMES[1], (0, 48))])
def test_matrices_have_rows_and_columns(name: str, shape: tuple[int, ...]) -> None:
    state = {**state_dict(), name: torch.ones(shape)}
    assert refused(_derive, PATH, state, ARGS) == (
        "m.pt: state dict: expected matrices with rows and columns, found an empty one"
    )


@pytest.mark.parametrize("key", ["norm_eps", "rope_theta"])
@pytest.mark.parametrize("value", [0, -1.0, 1e300, float("nan")])
def test_real_numbers_are_positive_and_finite(key: str, value: float) -> None:
    message = f"m.pt: model_args: {key}: expected a positive finite number, found {value}"
    assert refused(_derive, PATH, state_dict(), {**ARGS, key: value}) == message
    assert getattr(_derive(PATH, state_dict(), {**ARGS, key: 9e299}), key) == 9e299


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("layers.0.attention.mask", True),
        ("attn.mask", True),
        ("freqs_cos", True),
        ("x.freqs_cis", True),
        ("mask", False),
        ("layers.0.attention.masked", False),
        ("freqs_tan", False),
    ],
)
def test_buffers_are_known_by_their_names(name: str, is_one: bool) -> None:
    assert _is_buffer(name) == is_one


def test_what_is_no_plain_tensor_is_refused_by_its_name(tmp_path: Path) -> None:
    for odd in ({"norm.weight": torch.ones(48, dtype=torch.int8)}, {7: torch.ones(1)}):
        path = save(tmp_path, {**state_dict(), **odd})
        assert refused(open_source, path) == (
            f"{path}: {next(iter(odd))}: expected one dense float tensor, found otherwise"
        )


def test_what_was_derived_is_whole_numbers() -> None:
    found = _derive(PATH, state_dict(), ARGS)
    assert repr(found) == repr(dataclasses.replace(hyperparameters(config()), tied=True))


@pytest.mark.parametrize("rows", [0, 7, 25, 32, 96])
def test_keys_have_rows_of_whole_heads_that_share_the_queries(rows: int) -> None:
    """Six heads of 8: 32 rows are four heads, which do not share six evenly."""
    state = {**state_dict(), "layers.0.attention.wk.weight": torch.ones(rows, 48)}
    assert refused(_derive, PATH, state, ARGS) == (
        f"m.pt: layers.0.attention.wk.weight: expected rows of whole heads of 8, found {rows}"
    )


def test_the_first_that_is_wrong_is_named() -> None:
    outer = {name: tensor for name, tensor in OUTER.items() if name == "tok_embeddings.weight"}
    assert refused(_count_layers, PATH, {**outer, **layer(0)}) == (
        "m.pt: state dict: expected norm.weight, found no such tensor"
    )
    state = {**state_dict(), "layers.1.feed_forward.w2.weight": torch.ones(40, 48)}
    assert refused(_derive, PATH, state, ARGS) == (
        "m.pt: layers.1.feed_forward.w2.weight: expected (48, 40), found (40, 48)"
    )
    # an argument that model.py derives hides none behind it
    assert refused(_derive, PATH, state_dict(), {**ARGS, "n_kv_heads": None, "odd": 1}) == (
        "m.pt: model_args: expected keys whose effect on the model is known, found odd"
    )


def test_stored_buffers_hold_what_the_model_computes(tmp_path: Path) -> None:
    angles = torch.arange(33.0)[:, None] * 10000.0 ** (-torch.arange(0, 8, 2) / 8)
    mask = torch.full((1, 1, 33, 33), float("-inf")).triu(1)
    buffers = {"freqs_cos": angles.cos(), "layers.0.attention.mask": mask}
    source = open_source(save(tmp_path, {**state_dict(), **buffers}))
    assert source.notes == (
        "freqs_cos, layers.0.attention.mask: stored buffers hold what the model computes; they were dropped",
    )
    for name, wrong in (("freqs_cos", angles.sin()), ("layers.0.attention.mask", torch.zeros(1, 1, 33, 33))):
        path = save(tmp_path, {**state_dict(), **buffers, name: wrong})
        assert refused(open_source, path).startswith(f"{path}: {name}: expected ")


def test_a_small_file_is_mapped_once_and_a_large_one_for_each_tensor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, name, times = save(tmp_path, state_dict()), "layers.1.feed_forward.w2.weight", []
    read = Llama2cSource._read
    monkeypatch.setattr(Llama2cSource, "_read", lambda self: times.append(1) or read(self))
    for limit, reads in ((None, 1), (path.stat().st_size, 1), (path.stat().st_size - 1, 3)):
        if limit is not None:
            monkeypatch.setattr(llama2c, "_SMALL", limit)
        source = Llama2cSource(path)
        for _ in range(2):
            assert torch.equal(source.tensor(name), state_dict()[name])
        assert len(times) == reads
        times.clear()
    assert source.tokenizer_path == tmp_path / "tokenizer.model"
