"""`fast`: one arithmetic, whatever computes it."""

from __future__ import annotations

import ctypes
import hashlib
import tempfile
from pathlib import Path

import numpy as np
import pytest
from helpers.fast_functions import LIBRARY, TURN_ULPS, F, powers, tangents, wrong_powers, wrong_tangents
from helpers.models import checkpoint, config, same_bits, toy_file
from helpers.replay_fast import exponential, hyperbolic_tangent, logarithm, power, replay, turn
from hypothesis import given
from hypothesis import strategies as st

import exporter
import reader_c
from reader_c import best_path, paths
from verify.testing import configs

# sha256 of the logits of toy_file("v0") and, of int8 activations, ("v2"), tokens 0 to 28: what every path of every
# build must have
GOLDEN = {
    "fp32": "0fd1dba0cbcf6bcd32ea460f33efd0988e72a1fb622b51929f3e4d15a87c9bd7",
    "q8": "c8b845a89007a23c61384474e1f3b093ffe659894cfbfc07796337b174f999a9",
}


def file_of(directory: str, model_config: exporter.ModelConfig, format_name: str, group_size: int) -> Path:
    path = Path(directory) / "out.bin"
    exporter.export(checkpoint(model_config), path, format=format_name, group_size=group_size)
    return path


@given(configs(), st.sampled_from(["v0", "v1", "v2"]), st.sampled_from([3, 8, 64]), st.data())
def test_fast_has_the_bits_of_a_literal_replay(
    model_config: exporter.ModelConfig, format_name: str, group_size: int, data: st.DataObject
) -> None:
    length = data.draw(st.integers(1, min(5, model_config.max_seq_len)))
    tokens = data.draw(st.lists(st.integers(0, model_config.vocab_size - 1), min_size=length, max_size=length))
    with (
        tempfile.TemporaryDirectory() as directory,
        reader_c.open(file_of(directory, model_config, format_name, group_size)) as model,
    ):
        assert same_bits(model.forward(tokens), replay(model, tokens, q8=False))
        if format_name != "v0":
            assert same_bits(model.forward(tokens, activations="q8"), replay(model, tokens, q8=True))


@pytest.mark.slow
@given(configs(biases=True, head_sizes=True, numbers=True), st.integers(0, 99))
def test_what_v3_adds_has_the_bits_of_a_literal_replay(model_config: exporter.ModelConfig, seed: int) -> None:
    tokens = [(seed + i) % model_config.vocab_size for i in range(min(4, model_config.max_seq_len))]
    with (
        tempfile.TemporaryDirectory() as directory,
        reader_c.open(file_of(directory, model_config, "v3", 8)) as model,
    ):
        assert same_bits(model.forward(tokens), replay(model, tokens, q8=False))


@pytest.mark.parametrize("activations", ["fp32", "q8"])
@given(
    configs(biases=True, activations=True, head_sizes=True, scalings=True),
    st.sampled_from(paths()),
    st.sampled_from([1, 2, 3, 8]),
    st.sampled_from([1, 3, 4, 6, 64]),
    st.data(),
)
def test_no_path_number_of_threads_or_split_changes_a_bit(
    activations: reader_c.Activations,
    model_config: exporter.ModelConfig,
    path: str,
    threads: int,
    group_size: int,
    data: st.DataObject,
) -> None:
    tokens = [i * 7 % model_config.vocab_size for i in range(min(20, model_config.max_seq_len))]
    split = data.draw(st.integers(0, len(tokens)))
    with tempfile.TemporaryDirectory() as directory:
        out = Path(directory) / "out.bin"
        exporter.export(
            checkpoint(model_config), out, format="v3", storage={"*": "q8_0", "*.wo.*": "bf16"}, group_size=group_size
        )
        with reader_c.open(out) as model, model.session(len(tokens), threads) as session:
            whole = model.forward(tokens, activations=activations, path="scalar", threads=1)
            pieces = [
                session.forward(part, activations=activations, path=path)
                for part in (tokens[:split], tokens[split:])
                if part
            ]
    assert same_bits(np.concatenate(pieces), whole)


@pytest.mark.parametrize("path", paths())
def test_every_path_has_the_golden_bits(tmp_path: Path, path: str) -> None:
    for activations, format_name in (("fp32", "v0"), ("q8", "v2")):
        with reader_c.open(toy_file(tmp_path, format_name)) as model:
            logits = model.forward(np.arange(29), activations=activations, path=path)
        assert hashlib.sha256(logits.tobytes()).hexdigest() == GOLDEN[activations]


def test_a_batch_beyond_what_goes_through_a_layer_at_once(tmp_path: Path) -> None:
    tokens = np.random.default_rng(0).integers(0, 29, 600)
    with reader_c.open(toy_file(tmp_path, "v2", max_seq_len=600, n_layers=1)) as model:
        for activations in ("fp32", "q8"):
            whole = model.forward(tokens, activations=activations)
            with model.session(600, 3) as session:
                pieces = [
                    session.forward(part, activations=activations) for part in np.split(tokens, [1, 3, 10, 300])
                ]
            assert same_bits(np.concatenate(pieces), whole)


@pytest.mark.parametrize("group_size", [16, 64, 128])
@pytest.mark.parametrize("path", paths())
def test_tokens_one_by_one_have_the_bits_of_all_at_once_in_groups_of_every_size(
    tmp_path: Path, path: str, group_size: int
) -> None:
    """Single tokens have products of their own. 150 rows of the classifier are no multiple of any block."""
    shape = {"dim": 256, "hidden_dim": 384, "n_heads": 4, "n_kv_heads": 2, "vocab_size": 150}
    out = tmp_path / "out.bin"
    exporter.export(checkpoint(config(**shape)), out, format="v2", group_size=group_size)
    with reader_c.open(out) as model:
        assert model.config.group_size == group_size
        whole = model.forward(np.arange(20), activations="q8", path="scalar", threads=1)
        with model.session(20, 2) as session:
            pieces = [session.forward([token], activations="q8", path=path) for token in range(20)]
        assert same_bits(np.concatenate(pieces), whole)
        assert same_bits(whole[:3], replay(model, [0, 1, 2], q8=True))


def test_paths_that_are_not_here_are_refused(tmp_path: Path) -> None:
    absent = {"avx2", "avx512", "neon"} - set(paths())
    assert best_path() in paths()
    with reader_c.open(toy_file(tmp_path, "v0")) as model:
        for path in absent:
            with pytest.raises(reader_c.ArgumentError, match="this machine has no such instructions"):
                model.forward([1], path=path)
        with pytest.raises(reader_c.ArgumentError, match="path"):
            model.forward([1], path="sse")
        for threads in (0, -1, 257, True, 1.5, "2"):
            with pytest.raises(reader_c.ArgumentError, match="threads: expected 1 to 256"):
                model.forward([1], threads=threads)


# ---- functions ----


# every 16,384th float: 262,144 of them, of both signs, subnormal, infinite and NaN
EVERYWHERE = np.arange(0, 1 << 32, 1 << 14, dtype=np.uint32).view(F)


@pytest.mark.parametrize("path", paths())
def test_powers_are_within_an_ulp_and_alike_on_every_path(path: str) -> None:
    found = powers(path)(EVERYWHERE)
    assert same_bits(np.nan_to_num(found, nan=7), np.nan_to_num(powers("scalar")(EVERYWHERE), nan=7))
    assert not wrong_powers(EVERYWHERE, found)


def test_powers_are_those_of_the_definition() -> None:
    some = EVERYWHERE[:: 1 << 6]
    finite = some[np.isfinite(some)]
    assert same_bits(powers(best_path())(finite), exponential(finite))


@pytest.mark.parametrize("path", paths())
def test_tangents_are_within_their_bound_and_alike_on_every_path(path: str) -> None:
    found = tangents(path)(EVERYWHERE)
    assert same_bits(np.nan_to_num(found, nan=7), np.nan_to_num(tangents("scalar")(EVERYWHERE), nan=7))
    assert not wrong_tangents(EVERYWHERE, found)


def test_tangents_are_those_of_the_definition() -> None:
    some = EVERYWHERE[:: 1 << 6]
    finite = some[np.isfinite(some)]
    assert same_bits(tangents(best_path())(finite), hyperbolic_tangent(finite))


@given(st.floats(1.0, 2.0**31))
def test_logarithms_are_those_of_the_definition_and_of_double_precision(x: float) -> None:
    LIBRARY.rc_log_fast.restype = ctypes.c_double
    found = LIBRARY.rc_log_fast(ctypes.c_double(x))
    assert found == logarithm(x)
    assert abs(found - np.log(np.longdouble(x))) <= 1e-15 * max(1.0, found)


@given(st.floats(1.0, 2.0**20, width=32), st.floats(0, 1, width=32))
def test_a_frequency_s_power_is_the_nearest_float_or_nearly_so(base: float, exponent: float) -> None:
    found = F(LIBRARY.rc_pow_fast(ctypes.c_float(base), ctypes.c_float(exponent)))
    exact = np.longdouble(base) ** np.longdouble(exponent)
    assert found == power(F(base), F(exponent))
    assert abs(found - exact) <= TURN_ULPS * np.spacing(found)


@given(st.floats(0, 2.0**20, width=32))
def test_a_turn_is_the_nearest_float_or_nearly_so(angle: float) -> None:
    cosine, sine = ctypes.c_float(), ctypes.c_float()
    LIBRARY.rc_cosine_sine_fast(ctypes.byref(cosine), ctypes.byref(sine), ctypes.c_float(angle))
    assert (F(cosine.value), F(sine.value)) == turn(F(angle))
    for found, exact in ((cosine.value, np.cos(np.longdouble(angle))), (sine.value, np.sin(np.longdouble(angle)))):
        assert abs(found - exact) <= TURN_ULPS * np.spacing(F(abs(found)))
