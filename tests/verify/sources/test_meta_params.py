"""params.json by itself: every number at both sides of its limit, every default and every contradiction."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest

from verify.errors import CannotJudgeError
from verify.sources.meta_params import MetaParams
from verify.sources.options import SourceOptions
from verify.sources.source import Hyperparameters, RopeScaling

WHERE = Path("params.json")
MODEL = Hyperparameters(
    dim=48,
    hidden_dim=128,
    n_layers=2,
    n_heads=6,
    n_kv_heads=3,
    head_dim=8,
    vocab_size=29,
    max_seq_len=33,
    tied=False,
    norm_eps=1e-5,
    rope_theta=10000.0,
)
SAID = {"dim": 48, "n_layers": 2, "n_heads": 6, "n_kv_heads": 3, "vocab_size": 29, "multiple_of": 32}


def params(said: dict[str, Any] | None = None, **options: Any) -> MetaParams:
    return MetaParams(WHERE, {} if said is None else said, SourceOptions(**options))


def refused(call: Any, *given: Any) -> str:
    with pytest.raises(CannotJudgeError) as caught:
        call(*given)
    return str(caught.value)


def test_an_unknown_key_is_refused_even_as_null() -> None:
    for value in (1, None):
        found = refused(params, {"dim": 48, "quantization_args": value})
        assert found == (
            "params.json: keys: expected those whose effect on the model is known, found 'quantization_args'"
        )
    assert params({"max_batch_size": 1, "model_parallel_size": 8}).notes == []
    assert params().at("dim") == "params.json: dim"


@pytest.mark.parametrize("value", [0, -1, True, 2.0, "2", None])
def test_a_count_is_a_positive_integer(value: Any) -> None:
    assert params({"dim": 1}).count("dim") == 1
    found = refused(params({"dim": value}).count, "dim")
    assert found == f"params.json: dim: expected a positive integer, found {value!r}"


def test_null_is_silence() -> None:
    assert params({"dim": None}).count("dim", 7) == 7
    assert params({"norm_eps": None}).positive("norm_eps", 0.5) == 0.5


@pytest.mark.parametrize("value", [0, -1, 0.0, math.nan, math.inf, 1.0001e300, True, "1", 10**400])
def test_a_number_is_positive_and_finite(value: Any) -> None:
    for fits in (5e-324, 1, 1e300):
        found = params({"norm_eps": fits}).positive("norm_eps", 1)
        assert (found, type(found)) == (fits, float)
    message = refused(params({"norm_eps": value}).positive, "norm_eps", 1)
    assert message == f"params.json: norm_eps: expected a positive finite number, found {value!r}"


def test_positions_are_the_callers_up_to_the_files() -> None:
    assert params({"max_seq_len": 33}).positions() == 33
    for asked in (1, 32, 33):
        assert params({"max_seq_len": 33}, max_seq_len=asked).positions() == asked
    for asked in (1, 2, 10**6):
        assert params(max_seq_len=asked).positions() == asked
    for asked in (0, -1, 34, True, 4.0):
        found = refused(params({"max_seq_len": 33}, max_seq_len=asked).positions)
        assert found == f"max_seq_len: expected 1 to 33, found {asked}"
    for other in (0, True):
        assert refused(params(max_seq_len=other).positions) == (
            f"max_seq_len: expected 1 to any length, found {other}"
        )
    assert refused(params().positions) == (
        "params.json: max_seq_len: expected a number of positions, found none: say it by --max-seq-len N "
        "(max_seq_len= in Python)"
    )
    assert refused(params({"max_seq_len": 0}).positions).endswith("expected a positive integer, found 0")


def test_theta_is_the_files_or_the_callers() -> None:
    assert params({"rope_theta": 7}).rope_theta(32000) == 7.0
    assert params({"rope_theta": 7}, rope_theta=7).rope_theta(1) == 7.0
    assert params(rope_theta=8).rope_theta(32000) == 8.0
    for asked in (6.0, 8.0):
        assert refused(params({"rope_theta": 7}, rope_theta=asked).rope_theta, 1) == (
            f"params.json: rope_theta: expected {asked:g}, as --rope-theta says, found 7.0"
        )
    for asked in (0, -1.0, math.inf, 1.0001e300, True, "x"):
        assert refused(params(rope_theta=asked).rope_theta, 1) == (
            f"--rope-theta: expected a positive finite number, found {asked}"
        )
    for fits in (5e-324, 1e300):
        assert params(rope_theta=fits).rope_theta(1) == fits
    assert isinstance(params(rope_theta=8).rope_theta(1), float)


OF_THIRD = "params.json: no rope_theta; the code of Llama 3 has 500000"


@pytest.mark.parametrize(
    ("said", "vocab_size", "theta", "note"),
    [
        (
            {},
            32000,
            10000.0,
            "params.json: no rope_theta; the code of Llama 1 and 2 has 10000 (a vocabulary of 32000)",
        ),
        ({}, 128256, 500000.0, f"{OF_THIRD} (a vocabulary of 128256)"),
        ({"use_scaled_rope": False}, 32000, 500000.0, f"{OF_THIRD} (the key use_scaled_rope)"),
        ({"rope_scaling_factor": 8, "use_scaled_rope": True}, 5, 5e5, f"{OF_THIRD} (the key use_scaled_rope)"),
        ({"rope_scaling_factor": 8}, 5, 5e5, f"{OF_THIRD} (the key rope_scaling_factor)"),
        ({"rope_high_freq_factor": 4}, 128256, 5e5, f"{OF_THIRD} (the key rope_high_freq_factor)"),
    ],
)
def test_a_silent_theta_is_that_of_metas_code(said: Any, vocab_size: int, theta: float, note: str) -> None:
    found = params(said)
    assert found.rope_theta(vocab_size) == theta
    assert found.notes == [note]


@pytest.mark.parametrize("vocab_size", [31999, 32001, 128255, 128257])
def test_the_theta_of_any_other_vocabulary_is_asked_for(vocab_size: int) -> None:
    assert refused(params().rope_theta, vocab_size) == (
        "params.json: rope_theta: expected a number, found none: say it by --rope-theta X (rope_theta= in Python); "
        "the code of Llama 1 and 2 has 10000, that of Llama 3 has 500000"
    )


SCALED = {"use_scaled_rope": True}


def test_scaling_is_llama_3s_where_it_is_switched_on() -> None:
    for said in ({}, {"use_scaled_rope": False}, {"rope_scaling_factor": 8}, {"rope_high_freq_factor": 0.5}):
        assert params(said).rope_scaling() == RopeScaling()
    expected = RopeScaling("llama3", 8.0, 8192, low_freq_factor=1.0, high_freq_factor=4.0)
    assert params(SCALED, rope_scaling_factor=8).rope_scaling() == expected
    both = {**SCALED, "rope_scaling_factor": 8, "rope_high_freq_factor": 4}
    for asked in (None, 8.0):
        assert params(both, rope_scaling_factor=asked).rope_scaling() == expected
    just = {**SCALED, "rope_high_freq_factor": 1.001}
    assert params(just, rope_scaling_factor=9).rope_scaling() == RopeScaling(
        "llama3", 9.0, 8192, low_freq_factor=1.0, high_freq_factor=1.001
    )


@pytest.mark.parametrize(
    ("said", "asked", "message"),
    [
        ({}, 8.0, "use_scaled_rope: expected true, for --rope-scaling-factor, found None"),
        (
            {"use_scaled_rope": False},
            8.0,
            "use_scaled_rope: expected true, for --rope-scaling-factor, found False",
        ),
        ({"use_scaled_rope": 1}, None, "use_scaled_rope: expected true or false, found 1"),
        (
            {**SCALED, "rope_high_freq_factor": 1},
            8.0,
            "rope_high_freq_factor: expected more than 1, found 1.0",
        ),
        (
            {**SCALED, "rope_high_freq_factor": 0},
            8.0,
            "rope_high_freq_factor: expected a positive finite number, found 0",
        ),
        (
            {**SCALED, "rope_scaling_factor": 8, "rope_high_freq_factor": 4},
            7.0,
            "rope_scaling_factor: expected 7, as --rope-scaling-factor says, found 8.0",
        ),
        (
            {**SCALED, "rope_scaling_factor": 8, "rope_high_freq_factor": 4},
            9.0,
            "rope_scaling_factor: expected 9, as --rope-scaling-factor says, found 8.0",
        ),
        (
            SCALED,
            None,
            "rope_scaling_factor: expected a number beside use_scaled_rope, found none: say it by "
            "--rope-scaling-factor X (rope_scaling_factor= in Python): 8 for Llama 3.1 and 3.3, 32 for Llama 3.2",
        ),
        (
            {**SCALED, "rope_scaling_factor": 8},
            8.0,
            "rope_high_freq_factor: expected a number beside rope_scaling_factor, found none: only the code of "
            "Llama 4 reads rope_scaling_factor, and has 1 here; that of Llama 3 has 4: write it into params.json",
        ),
    ],
)
def test_scaling_that_is_unclear_is_refused(said: dict[str, Any], asked: float | None, message: str) -> None:
    assert refused(params(said, rope_scaling_factor=asked).rope_scaling) == f"params.json: {message}"


def test_params_that_agree_with_the_tensors_pass() -> None:
    params(SAID).hold_against(MODEL)
    params({**SAID, "vocab_size": -1}).hold_against(MODEL)
    params({key: value for key, value in SAID.items() if key != "vocab_size"}).hold_against(MODEL)
    as_many = {key: value for key, value in SAID.items() if key != "n_kv_heads"}
    params(as_many).hold_against(dataclasses.replace(MODEL, n_kv_heads=6))


@pytest.mark.parametrize("key", ["dim", "n_layers", "n_kv_heads", "vocab_size"])
def test_a_count_on_either_side_of_the_tensors_is_refused(key: str) -> None:
    expected = SAID[key]
    for found in (expected - 1, expected + 1, float(expected), True, "x"):
        assert refused(params({**SAID, key: found}).hold_against, MODEL) == (
            f"params.json: {key}: expected {expected}, as the tensors say, found {found!r}"
        )
    for silent in ({k: v for k, v in SAID.items() if k != key}, {**SAID, key: None}):
        if key == "vocab_size":
            params(silent).hold_against(MODEL)
        else:
            found = 6 if key == "n_kv_heads" else None
            assert refused(params(silent).hold_against, MODEL).endswith(f"as the tensors say, found {found}")
    assert refused(params({**SAID, "vocab_size": -1.0}).hold_against, MODEL).endswith("found -1.0")
    one = dataclasses.replace(MODEL, n_layers=1)
    assert refused(params({**SAID, "n_layers": True}).hold_against, one).endswith("found True")


@pytest.mark.parametrize(
    ("dim", "multiple", "multiplier", "width"),
    [
        (48, 1, None, 128),
        (48, 128, None, 128),
        (48, 127, None, 254),
        (48, 129, None, 129),
        (48, None, None, 256),
        (96, None, None, 256),
        (98, None, None, 512),
        (50, 1, None, 133),  # 133.3
        (50, 1, 1.5, 199),  # of 133
        (48, 1, 0.5, 64),
        (48, 64, 1.3, 192),  # 166.4
    ],
)
def test_the_hidden_width_follows_metas_rule(
    dim: int, multiple: int | None, multiplier: float | None, width: int
) -> None:
    said = {**SAID, "dim": dim, "multiple_of": multiple, "ffn_dim_multiplier": multiplier}
    params(said).hold_against(dataclasses.replace(MODEL, dim=dim, hidden_dim=width))
    for other in (width - 1, width + 1):
        assert refused(params(said).hold_against, dataclasses.replace(MODEL, dim=dim, hidden_dim=other)) == (
            f"params.json: multiple_of, ffn_dim_multiplier: expected a hidden width of {other}, as the tensors say, "
            f"found {width}"
        )


def test_a_multiplier_without_bounds_is_only_another_width() -> None:
    found = refused(params({**SAID, "ffn_dim_multiplier": 1e300, "multiple_of": 1}).hold_against, MODEL)
    assert found.endswith(f"found {2**40}")
