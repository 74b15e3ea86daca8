"""Each hyperparameter that the logits depend on is compared, whether the header has it or the format implies it."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from helpers.mistake_files import hyperparameters
from helpers.models import BIN_FORMATS, config, toy_file

import reader_c
from verify.checks.config import check_config, effective, factors_listed, flat, same_shapes
from verify.sources import LayerKind

HYPER = hyperparameters(config())


@pytest.mark.parametrize("format_name", BIN_FORMATS)
def test_a_healthy_header_agrees(tmp_path: Path, format_name: str) -> None:
    with reader_c.open(toy_file(tmp_path, format_name)) as model:
        found = check_config(model, HYPER, HYPER.max_seq_len)
        assert found.status == "pass"
        implied = 0 if format_name == "v3" else len(flat(HYPER)) - 8
        in_header = len(flat(HYPER)) - implied
        rest = f" and {implied} implied values agree" if implied else " agree"
        assert found.detail == f"{in_header} header fields{rest} with the source"
        assert effective(model).keys() == flat(HYPER).keys()
        assert same_shapes(model, HYPER)


@pytest.mark.parametrize(
    ("changes", "detail"),
    [
        ({"n_heads": 3, "n_kv_heads": 3}, "n_heads: expected 3, found 6; head_dim: expected 8, found 8"),
        ({"norm_eps": 1e-6}, "norm_eps: expected 1e-06, found 1e-05, which v2 implies"),
        ({"rope_theta": 5e5}, "rope_theta: expected 500000.0, found 10000.0, which v2 implies"),
    ],
)
def test_a_field_that_differs_is_named_with_both_values(tmp_path: Path, changes: dict[str, Any], detail: str) -> None:
    with reader_c.open(toy_file(tmp_path, "v2")) as model:
        found = check_config(model, dataclasses.replace(HYPER, **changes), HYPER.max_seq_len)
    assert found.status == "fail"
    assert found.detail.startswith(detail.split(";", maxsplit=1)[0])
    assert found.where["field"] == next(iter(changes))
    assert found.observed == (1 if len(changes) == 1 else found.detail.count("expected"))


def test_a_real_number_is_compared_as_float32(tmp_path: Path) -> None:
    with reader_c.open(toy_file(tmp_path, "v2")) as model:
        assert check_config(model, dataclasses.replace(HYPER, norm_eps=1e-5 * (1 + 1e-9)), 33).status == "pass"


def test_what_was_requested_and_what_has_another_shape(tmp_path: Path) -> None:
    with reader_c.open(toy_file(tmp_path, "v2")) as model:
        found = check_config(model, HYPER, 33, {"group_size": (16, 8)})
        assert found.detail == "group_size: expected 16, found 8 instead of what was requested"
        assert not same_shapes(model, dataclasses.replace(HYPER, hidden_dim=44))
        assert same_shapes(model, dataclasses.replace(HYPER, norm_eps=1.0))


@pytest.mark.parametrize("format_name", ["v2", "v3"])
@pytest.mark.parametrize(("field", "value"), [("norm_eps", 1e-5), ("rope_theta", 10000.0)])
def test_the_next_float32_differs_and_what_rounds_to_the_same_does_not(
    tmp_path: Path, format_name: str, field: str, value: float
) -> None:
    """Engines read real numbers as float32, whatever the header holds."""
    nearest = np.float32(value)
    same = (float(nearest), math.nextafter(value, 1), value * (1 - 1e-9))
    others = (float(np.nextafter(nearest, np.float32(0))), float(np.nextafter(nearest, np.float32(np.inf))))
    with reader_c.open(toy_file(tmp_path, format_name)) as model:
        for expected, status in (*((v, "pass") for v in same), *((v, "fail") for v in others)):
            found = check_config(model, dataclasses.replace(HYPER, **{field: expected}), HYPER.max_seq_len)
            assert found.status == status, expected
            assert set(found.where) == ({"field", "expected", "found"} if status == "fail" else set())


REAL = {"norm_eps": 1e-6, "rope_theta": 5e5}


def test_v3_has_its_own_values_and_an_old_format_the_constants_of_its_engines(tmp_path: Path) -> None:
    """Whatever our reader fills in for a header without them."""
    hyper = dataclasses.replace(HYPER, **REAL)
    with reader_c.open(toy_file(tmp_path, "v3", **REAL)) as model:
        assert effective(model) == flat(hyper)
        assert check_config(model, hyper, hyper.max_seq_len).status == "pass"
        found = check_config(model, HYPER, hyper.max_seq_len)
        assert found.detail == "norm_eps: expected 1e-05, found 1e-06; rope_theta: expected 10000.0, found 500000.0"
        config_of_reader = model.config
    for format_name in ("v0", "v1", "v1-fp32", "v2"):
        filled: Any = SimpleNamespace(format=format_name, config=config_of_reader)
        assert effective(filled) == flat(HYPER)


@pytest.mark.parametrize("format_name", ["v0", "v2"])
def test_only_what_the_header_does_not_hold_is_implied(tmp_path: Path, format_name: str) -> None:
    hyper = dataclasses.replace(HYPER, n_heads=3, head_dim=16, qkv_bias=True, hidden_dim=44, activation="gelu")
    with reader_c.open(toy_file(tmp_path, format_name)) as model:
        found = check_config(model, hyper, 34)
    implied = f", which {format_name} implies"
    assert found.detail == (
        f"hidden_dim: expected 44, found 40; n_heads: expected 3, found 6; head_dim: expected 16, found 8{implied}; "
        f"max_seq_len: expected 34, found 33; qkv_bias: expected True, found False{implied}; "
        f"activation: expected gelu, found silu{implied}"
    )
    assert (found.observed, found.where) == (6.0, {"field": "hidden_dim", "expected": 44, "found": "40"})


@pytest.mark.parametrize(
    "field",
    [
        "dim",
        "hidden_dim",
        "n_layers",
        "n_heads",
        "n_kv_heads",
        "head_dim",
        "vocab_size",
        "tied",
        "qkv_bias",
        "wo_bias",
    ],
)
def test_whatever_changes_a_shape_makes_other_shapes(tmp_path: Path, field: str) -> None:
    value = getattr(HYPER, field)
    changed = dataclasses.replace(HYPER, **{field: not value if isinstance(value, bool) else value + 1})
    with reader_c.open(toy_file(tmp_path, "v3")) as model:
        assert not same_shapes(model, changed)
        assert same_shapes(model, dataclasses.replace(HYPER, max_seq_len=5, rope_theta=3.0, activation="gelu"))


def test_layers_are_listed_by_their_kind_and_factors_in_all_digits_of_float32() -> None:
    layers = (
        LayerKind(windowed=True, rope="second"),
        LayerKind(rope="none", experts=True),
        LayerKind(windowed=True, rope="none"),
    )
    fields = flat(dataclasses.replace(HYPER, layers=layers))
    assert {name: fields[name] for name in fields if "layers_" in name or "_layers" in name[1:]} == {
        "n_layers": 2,
        "windowed_layers": "0, 2",
        "layers_without_rope": "1, 2",
        "layers_with_local_rope": "0",
        "layers_with_experts": "1",
    }
    assert {flat(HYPER)[name] for name in fields if name.startswith(("windowed_", "layers_"))} == {"none"}
    assert flat(HYPER)["rope_scaling_short_factors"] == "none"
    assert factors_listed([]) == "none"
    assert factors_listed([1.0, 0.1, 16777217.0, 1 / 3]) == "1, 0.100000001, 16777216, 0.333333343"
