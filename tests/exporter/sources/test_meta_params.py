"""params.json by itself: every number at both sides of its limit, every default and every contradiction."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

import exporter
from exporter.rope_scaling import RopeScaling
from exporter.sources.meta_params import params_config, read_params, says_vocab, theta
from exporter.sources.options import SourceOptions

WHERE = Path("params.json")
SAID = {
    **{"dim": 48, "n_layers": 2, "n_heads": 6, "n_kv_heads": 3, "vocab_size": 29, "multiple_of": 32},
    "max_seq_len": 33,
}


def made(said: dict[str, Any] | None = None, **options: Any) -> exporter.ModelConfig:
    return params_config(WHERE, {**SAID, **(said or {})}, SourceOptions(**options))


def refused(call: Any, *given: Any, **more: Any) -> str:
    with pytest.raises(exporter.CheckpointError) as caught:
        call(*given, **more)
    return str(caught.value)


def test_null_is_silence_and_an_unknown_key_is_refused_even_as_null(tmp_path: Path) -> None:
    path = tmp_path / "params.json"
    path.write_text(json.dumps({**SAID, "norm_eps": None, "max_batch_size": 1, "model_parallel_size": 8}))
    assert read_params(path) == {**SAID, "max_batch_size": 1, "model_parallel_size": 8}
    path.write_text(json.dumps({**SAID, "moe": None, "other": 1}))
    assert refused(read_params, path) == f"{path}: no known meaning, and it may change the model: 'moe'"


def test_a_config_is_what_params_say() -> None:
    assert made() == exporter.ModelConfig(
        dim=48,
        hidden_dim=128,
        n_layers=2,
        n_heads=6,
        n_kv_heads=3,
        vocab_size=29,
        max_seq_len=33,
        tied=False,
        norm_eps=1e-5,
        rope_theta=10000.0,
    )
    found = made({"norm_eps": 1e-6, "rope_theta": 7, "vocab_size": -1})
    assert (found.norm_eps, found.rope_theta, found.vocab_size) == (1e-6, 7.0, 1)
    without = {key: value for key, value in SAID.items() if key != "n_kv_heads"}
    assert params_config(WHERE, without, SourceOptions()).n_kv_heads == 6


@pytest.mark.parametrize("key", ["dim", "n_layers", "n_heads"])
def test_what_nobody_omits_is_asked_for(key: str) -> None:
    without = {name: value for name, value in SAID.items() if name != key}
    assert refused(params_config, WHERE, without, SourceOptions()) == f"params.json: missing {key}"


@pytest.mark.parametrize(("size", "says"), [(-1, False), (0, True), (1, True), (-1.0, True), ("-1", True)])
def test_a_vocabulary_of_minus_1_is_silence(size: Any, says: bool) -> None:
    assert says_vocab({"vocab_size": size}) == says
    assert not says_vocab({})


@pytest.mark.parametrize("value", [0, -1, 2**31, True, 2.0, "2"])
def test_counts_are_positive_integers_of_32_bits(value: Any) -> None:
    expected = f"expected an integer from 1 to 2147483647, found {value!r}"
    assert refused(made, {"multiple_of": value}) == f"params.json: multiple_of: {expected}"
    assert refused(made, {"max_seq_len": value}) == f"params.json: max_seq_len: {expected}"
    assert refused(made, max_seq_len=value) == f"max_seq_len: {expected}"
    assert made({"max_seq_len": 2**31 - 1}).max_seq_len == 2**31 - 1


@pytest.mark.parametrize("value", [0, -1.0, 1e300, math.nan, math.inf, True, "1", 10**400])
def test_numbers_are_positive_and_finite(value: Any) -> None:
    expected = f"expected a positive finite number, found {value!r}"
    for key in ("norm_eps", "rope_theta", "ffn_dim_multiplier", "rope_scaling_factor", "rope_high_freq_factor"):
        assert refused(made, {key: value}) == f"params.json: {key}: {expected}"
    assert refused(theta, WHERE, {}, value, 32000) == f"--rope-theta: {expected}"
    found = refused(made, {"use_scaled_rope": True}, rope_scaling_factor=value)
    assert found == f"params.json: --rope-scaling-factor: {expected}"


def test_positions_are_the_callers_up_to_the_files() -> None:
    for asked in (1, 32, 33):
        assert made(max_seq_len=asked).max_seq_len == asked
    assert refused(made, max_seq_len=34) == "max_seq_len: expected at most 33, as params.json says, found 34"
    without = {key: value for key, value in SAID.items() if key != "max_seq_len"}
    for asked in (1, 34):
        assert params_config(WHERE, without, SourceOptions(max_seq_len=asked)).max_seq_len == asked
    assert refused(params_config, WHERE, without, SourceOptions()) == (
        "params.json: max_seq_len: params.json does not say it; --max-seq-len N (max_seq_len= in Python) gives it"
    )


OF_THIRD = "params.json: rope_theta is not given: 500000, as in Meta's code for Llama 3,"


@pytest.mark.parametrize(
    ("said", "vocab_size", "expected", "note"),
    [
        (
            {},
            32000,
            10000.0,
            "params.json: rope_theta is not given: 10000, as in Meta's code for Llama 1 and 2, whose vocabulary this "
            "is",
        ),
        ({}, 128256, 500000.0, f"{OF_THIRD} whose vocabulary this is"),
        ({"use_scaled_rope": False}, 32000, 500000.0, f"{OF_THIRD} which use_scaled_rope is for"),
        ({"rope_scaling_factor": 8}, 5, 500000.0, f"{OF_THIRD} which rope_scaling_factor is for"),
        ({"rope_high_freq_factor": 4}, 128256, 500000.0, f"{OF_THIRD} which rope_high_freq_factor is for"),
    ],
)
def test_a_silent_theta_is_that_of_metas_code(said: Any, vocab_size: int, expected: float, note: str) -> None:
    assert theta(WHERE, said, None, vocab_size) == (expected, [note])


def test_theta_is_the_files_or_the_callers() -> None:
    assert theta(WHERE, {"rope_theta": 7}, None, 32000) == (7.0, [])
    assert theta(WHERE, {"rope_theta": 7}, 7, 1) == (7.0, [])
    assert theta(WHERE, {}, 8, 32000) == (8.0, [])
    assert theta(WHERE, {}, 5e-324, 32000) == (5e-324, [])
    for asked in (6.0, 8.0):
        assert refused(theta, WHERE, {"rope_theta": 7}, asked, 1) == (
            f"params.json: rope_theta: expected 7 for --rope-theta, as here, found {asked}"
        )
    for vocab_size in (31999, 32001, 128255, 128257):
        assert refused(theta, WHERE, {}, None, vocab_size) == (
            f"params.json: rope_theta: params.json does not say it, and {vocab_size} tokens are neither Llama 1's "
            "and 2's 32000, whose code has 10000, nor Llama 3's 128256, whose code has 500000: --rope-theta X gives "
            "it"
        )


@pytest.mark.parametrize(
    ("dim", "multiple", "multiplier", "width"),
    [
        (48, 1, None, 128),
        (48, 128, None, 128),
        (48, 127, None, 254),
        (48, 129, None, 129),
        (48, None, None, 256),
        (96, None, None, 256),
        (102, None, None, 512),
        (60, 1, 1.5, 240),
        (54, 1, 1.3, 187),  # of 144, 187.2
        (48, 1, 0.5, 64),
        (66, 1, None, 176),
        (72, 1, 2**31 / 192 - 0.01, 2**31 - 2),
    ],
)
def test_the_hidden_width_follows_metas_rule(
    dim: int, multiple: int | None, multiplier: float | None, width: int
) -> None:
    said = {"dim": dim, "multiple_of": multiple, "ffn_dim_multiplier": multiplier, "n_heads": 3}
    said = {key: value for key, value in {**SAID, **said}.items() if value is not None}
    assert params_config(WHERE, said, SourceOptions()).hidden_dim == width


def test_two_thirds_are_rounded_down_before_they_are_multiplied() -> None:
    # 8 * 50 / 3 is 133.3
    said = {**SAID, "dim": 50, "n_heads": 5, "n_kv_heads": 5, "multiple_of": 1}
    assert params_config(WHERE, said, SourceOptions()).hidden_dim == 133
    assert params_config(WHERE, {**said, "ffn_dim_multiplier": 1.5}, SourceOptions()).hidden_dim == 199


def test_a_multiplier_is_below_what_32_bits_hold() -> None:
    limit = f"{2**31 / 128:g}"
    assert refused(made, {"ffn_dim_multiplier": 2**31 / 128}) == (
        f"params.json: ffn_dim_multiplier: expected less than {limit}, found {limit}"
    )


SCALED = {"use_scaled_rope": True}


def test_scaling_is_llama_3s_where_it_is_switched_on() -> None:
    for said in ({}, {"use_scaled_rope": False}, {"rope_scaling_factor": 8}, {"rope_high_freq_factor": 0.5}):
        assert made(said).rope_scaling == RopeScaling()
    expected = RopeScaling(
        "llama3", factor=8.0, original_max_positions=8192, low_freq_factor=1.0, high_freq_factor=4.0
    )
    assert made(SCALED, rope_scaling_factor=8).rope_scaling == expected
    both = {**SCALED, "rope_scaling_factor": 8, "rope_high_freq_factor": 4}
    for asked in (None, 8.0):
        assert made(both, rope_scaling_factor=asked).rope_scaling == expected
    assert made({**SCALED, "rope_high_freq_factor": 3}, rope_scaling_factor=9).rope_scaling == RopeScaling(
        "llama3", factor=9.0, original_max_positions=8192, low_freq_factor=1.0, high_freq_factor=3.0
    )


@pytest.mark.parametrize(
    ("said", "asked", "message"),
    [
        ({}, 8.0, "use_scaled_rope: expected true for --rope-scaling-factor, found False"),
        ({"use_scaled_rope": 1}, None, "use_scaled_rope: expected true or false, found 1"),
        (
            {**SCALED, "rope_high_freq_factor": 1},
            8.0,
            "rope_scaling: high_freq_factor: expected more than low_freq_factor = 1, found 1",
        ),
        (
            SCALED,
            None,
            "rope_scaling_factor: params.json has use_scaled_rope and does not say it; Llama 3.1 and 3.3 have 8, "
            "Llama 3.2 has 32: --rope-scaling-factor X gives it",
        ),
        (
            {**SCALED, "rope_scaling_factor": 8},
            None,
            "rope_high_freq_factor: expected a number beside rope_scaling_factor, found none: Meta's code for Llama "
            "3 has 4, but reads neither key, and that for Llama 4 has 1: add it to params.json",
        ),
        *(
            (
                {**SCALED, "rope_scaling_factor": 8, "rope_high_freq_factor": 4},
                asked,
                f"rope_scaling_factor: expected 8 for --rope-scaling-factor, as here, found {asked}",
            )
            for asked in (7.0, 9.0)
        ),
    ],
)
def test_scaling_that_is_unclear_is_refused(said: dict[str, Any], asked: float | None, message: str) -> None:
    assert refused(made, said, rope_scaling_factor=asked) == f"params.json: {message}"
