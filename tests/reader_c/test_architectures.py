"""Models that differ from Llama by switches: what is computed, and that no way of computing it changes a bit."""

from __future__ import annotations

import tempfile
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from helpers import replay, replay_fast
from helpers.arch_draws import MODELS, TOGETHER, architectures
from helpers.arch_files import Arch, random_weights, write
from helpers.arch_reference import Array, Reference
from helpers.models import same_bits
from hypothesis import given
from hypothesis import strategies as st

import reader_c
from reader_c import paths

ARITHMETICS: tuple[reader_c.Arithmetic, ...] = ("mirror", "fast")
# of the largest value at a point; rounding stays below a twentieth of it in these models
TOLERANCE = 1e-4


def tokens_of(model: Arch, count: int, seed: int = 1) -> list[int]:
    return [int(token) for token in np.random.default_rng(seed).integers(0, model.vocab_size, count)]


def in_q8(name: str) -> tuple[str, int]:
    """Every matrix of these models has rows of an even number."""
    return ("bf16", 0) if ".w2." in name else ("q8_0", 2)


def close(found: np.ndarray, expected: Array) -> bool:
    return bool(np.abs(found - expected).max() <= TOLERANCE * max(np.abs(expected).max(), 1e-30))


@pytest.mark.parametrize("arithmetic", ARITHMETICS)
@pytest.mark.parametrize("name", MODELS)
def test_every_point_is_what_the_specification_says(
    tmp_path: Path, name: str, arithmetic: reader_c.Arithmetic
) -> None:
    own = MODELS[name]
    reference = Reference(own, write(tmp_path / "model.bin", own, random_weights(own)))
    tokens = tokens_of(own, 40)
    logits = reference.logits(tokens)
    with reader_c.open(tmp_path / "model.bin") as model:
        found = model.forward(tokens, arithmetic=arithmetic)
        assert close(found, logits)
        points = set()
        for stage in model.trace(tokens, arithmetic=arithmetic):
            for point, values in stage.at.items():
                assert close(values, reference.at[stage.layer, point]), (stage.layer, point)
                points.add((stage.layer, point))
        # a point that a layer does not have is not there
        assert points == set(reference.at)
        assert same_bits(stage.at["logits"], found)


@pytest.mark.slow
@given(architectures(), st.integers(0, 99))
def test_logits_of_random_models_are_what_the_specification_says(own: Arch, seed: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "model.bin"
        stored = write(path, own, random_weights(own, seed))
        tokens = tokens_of(own, 30, seed)
        expected = Reference(own, stored).logits(tokens)
        with reader_c.open(path) as model:
            for arithmetic in ARITHMETICS:
                found = model.forward(tokens, arithmetic=arithmetic)
                assert np.abs(found - expected).max() <= 1e-3 * max(1.0, np.abs(expected).max())


@pytest.mark.parametrize("activations", ["fp32", "q8"])
@pytest.mark.parametrize("name", [name for name in MODELS if "yarn" not in name and "otherwise" not in name])
def test_each_switch_has_the_bits_of_a_literal_replay(
    tmp_path: Path, name: str, activations: reader_c.Activations
) -> None:
    own = MODELS[name]
    write(tmp_path / "model.bin", own, random_weights(own), in_q8)
    tokens = tokens_of(own, 9)
    with reader_c.open(tmp_path / "model.bin") as model:
        for arithmetic, literal in zip(ARITHMETICS, (replay.replay, replay_fast.replay), strict=True):
            found = model.forward(tokens, activations=activations, arithmetic=arithmetic)
            assert same_bits(found, literal(model, tokens, q8=activations == "q8")), arithmetic


@pytest.mark.slow
@given(architectures(gates=("silu",)), st.integers(0, 99))
def test_random_models_have_the_bits_of_a_literal_replay(own: Arch, seed: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "model.bin"
        write(path, own, random_weights(own, seed))
        tokens = tokens_of(own, 6, seed)
        with reader_c.open(path) as model:
            assert same_bits(model.forward(tokens, arithmetic="mirror"), replay.replay(model, tokens, q8=False))
            assert same_bits(model.forward(tokens), replay_fast.replay(model, tokens, q8=False))


@given(
    architectures(),
    st.sampled_from(paths()),
    st.sampled_from([1, 2, 3, 8]),
    st.booleans(),
    st.sets(st.integers(1, 39)),
)
def test_no_path_number_of_threads_or_split_changes_a_bit(
    own: Arch, path: reader_c.Path, threads: int, q8: bool, splits: set[int]
) -> None:
    activations: reader_c.Activations = "q8" if q8 else "fp32"
    tokens = tokens_of(own, 40)
    with tempfile.TemporaryDirectory() as directory:
        out = Path(directory) / "model.bin"
        write(out, own, random_weights(own), in_q8 if q8 else lambda _: ("fp32", 0))
        with reader_c.open(out) as model:
            for arithmetic in ARITHMETICS:
                whole = model.forward(
                    tokens, activations=activations, arithmetic=arithmetic, path="scalar", threads=1
                )
                with model.session(40, threads) as session:
                    pieces = [
                        session.forward(tokens[a:b], activations=activations, arithmetic=arithmetic, path=path)
                        for a, b in pairwise([0, *sorted(splits), 40])
                    ]
                assert same_bits(np.concatenate(pieces), whole)
                *_, last = model.trace(tokens, activations=activations, arithmetic=arithmetic, path=path)
                assert same_bits(last.at["logits"], whole)


# ---- windows ----

# each token alone; one batch more or less than 256 or 64; and pieces that cross both
CUTS = (list(range(701)), [0, 256, 512, 700], [0, 64, 700], [0, 3, 255, 256, 300, 611, 612, 700])
WINDOWED = {
    "shorter than a block": Arch(
        window=5, max_seq_len=900, layers=((True, "first"), (False, "first"), (True, "none"))
    ),
    "of several blocks": Arch(window=70, max_seq_len=900, head_dim=16, layers=((True, "first"),) * 3),
    "of one position": Arch(window=1, max_seq_len=900, layers=((True, "first"),) * 3),
    "longer than a batch": Arch(
        window=300, max_seq_len=900, layers=((True, "first"), (True, "none"), (False, "first"))
    ),
}


@pytest.mark.parametrize("arithmetic", ARITHMETICS)
@pytest.mark.parametrize("name", WINDOWED)
def test_a_window_that_moves_on_changes_no_bit(tmp_path: Path, name: str, arithmetic: reader_c.Arithmetic) -> None:
    """700 positions, of which the windowed layers keep the last ones; a session of 900 and one that just fits."""
    own = WINDOWED[name]
    stored = write(tmp_path / "model.bin", own, random_weights(own))
    tokens = tokens_of(own, 700)
    with reader_c.open(tmp_path / "model.bin") as model:
        whole = model.forward(tokens, arithmetic=arithmetic)
        assert close(whole, Reference(own, stored).logits(tokens))
        for cuts in CUTS:
            for capacity in (700, 900):
                with model.session(capacity, 1 if len(cuts) > 700 else 2) as session:
                    pieces = [session.forward(tokens[a:b], arithmetic=arithmetic) for a, b in pairwise(cuts)]
                assert same_bits(np.concatenate(pieces), whole), (len(cuts), capacity)
        *_, last = model.trace(tokens, arithmetic=arithmetic)
        assert same_bits(last.at["logits"], whole)


def test_the_cache_of_windowed_layers_is_as_long_as_they_need(tmp_path: Path) -> None:
    """Two billion positions, of which no layer keeps more than a window and a batch: all of them would be 800 GB."""
    most = 2**31 - 1
    own = Arch(window=5, max_seq_len=most, layers=((True, "first"),) * 3)
    write(tmp_path / "model.bin", own, random_weights(own))
    tokens = tokens_of(own, 50)
    with reader_c.open(tmp_path / "model.bin") as model:
        with model.session(most, 1) as session:
            found = session.forward(tokens)
        assert same_bits(found, model.forward(tokens))


def test_what_a_window_has_left_behind_reaches_nothing(tmp_path: Path) -> None:
    """A token whose embedding is infinite, at first: later tokens do not see it, not even times zero."""
    own = Arch(window=4, n_layers=1, layers=((True, "first"),))
    weights = random_weights(own)
    weights["tok_embeddings.weight"][7] = np.inf
    write(tmp_path / "model.bin", own, weights)
    tokens = [7, *(token % 7 for token in range(30))]
    with reader_c.open(tmp_path / "model.bin") as model:
        for arithmetic in ARITHMETICS:
            logits = model.forward(tokens, arithmetic=arithmetic)
            assert np.isnan(logits[:4]).all()
            assert np.isfinite(logits[4:]).all()


def test_what_a_walk_records_before_a_window_is_zero(tmp_path: Path) -> None:
    write(tmp_path / "model.bin", TOGETHER, random_weights(TOGETHER))
    tokens = tokens_of(TOGETHER, 20)
    with reader_c.open(tmp_path / "model.bin") as model:
        _, first, second, *_ = [{k: v.copy() for k, v in stage.at.items()} for stage in model.trace(tokens)]
    back = np.arange(20)[:, None] - np.arange(20)
    for point in ("scores", "scores_raw", "shares"):
        assert (first[point] != 0).any(axis=1).tolist() == ((back >= 0) & (back < 5)).tolist()
        assert (second[point] != 0).any(axis=1).tolist() == (back >= 0).tolist()
