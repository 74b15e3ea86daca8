"""The sampler draws what run.c's order of steps and glibc's qsort draw, and refuses what has no answer."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from reader_c._reader import ffi, lib

import reader_c


class Candidate(ctypes.Structure):
    _fields_ = [("probability", ctypes.c_float), ("token", ctypes.c_int)]  # ctypes reads it


Compare = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(Candidate), ctypes.POINTER(Candidate))


@Compare
def by_probability_alone(a: ctypes._Pointer[Candidate], b: ctypes._Pointer[Candidate]) -> int:
    return (a[0].probability < b[0].probability) - (a[0].probability > b[0].probability)


def coin(state: int) -> np.float32:
    """The first number of xorshift64* in [0, 1)."""
    state ^= state >> 12
    state ^= state << 25 & 2**64 - 1
    state ^= state >> 27
    return np.float32(((state * 0x2545F4914F6CDD1D & 2**64 - 1) >> 40) / 2**24)


def probabilities(logits: np.ndarray, temperature: float) -> np.ndarray:
    """A softmax that sums from the first on, in float32, with the exponential of C's library."""
    expf = ctypes.CDLL("libm.so.6").expf
    expf.restype, expf.argtypes = ctypes.c_float, [ctypes.c_float]
    scaled = logits / np.float32(temperature)
    powers = np.array([expf(float(x)) for x in scaled - scaled.max()], np.float32)
    return powers / np.add.accumulate(powers, dtype=np.float32)[-1]


def expected(logits: np.ndarray, temperature: float, top_p: float, seed: int) -> int:
    """Top-p by the C library's own qsort, which sorts by probability alone."""
    found = probabilities(logits, temperature)
    cutoff = (np.float32(1) - np.float32(top_p)) / np.float32(len(found) - 1)
    kept = np.flatnonzero(found >= cutoff)
    room = (Candidate * len(kept))(*((float(found[at]), int(at)) for at in kept))
    ctypes.CDLL(None).qsort(room, len(kept), ctypes.sizeof(Candidate), by_probability_alone)
    sums = np.add.accumulate(np.array([one.probability for one in room], np.float32), dtype=np.float32)
    last = int(np.argmax(sums > np.float32(top_p))) if (sums > np.float32(top_p)).any() else len(kept) - 1
    goal = coin(seed) * sums[last]
    passed = np.flatnonzero(goal < sums[: last + 1])
    return room[int(passed[0]) if passed.size else last].token


@given(
    st.integers(1, 2**64 - 1),
    st.integers(2, 300),
    st.sampled_from([0.1, 0.8, 1.0, 3.0]),
    st.sampled_from([0.05, 0.5, 0.9, 0.999]),
    st.sampled_from([0, 1, 3]),
)
@example(1, 300, 1.0, 0.9, 1)
def test_top_p_is_that_of_glibc_s_qsort_also_among_equal_probabilities(
    seed: int, size: int, temperature: float, top_p: float, digits: int
) -> None:
    """Rounded logits have many ties; the cutoff keeps all of a nearly uniform distribution or none."""
    logits = np.random.default_rng(seed).normal(0, 2, size).round(digits).astype(np.float32)
    try:
        token = expected(logits, temperature, top_p, seed)
    except IndexError:
        # run.c reads before its array: the most probable token is ours
        token = int(logits.argmax())
    assert reader_c.Sampler(temperature, top_p, seed).sample(logits) == token


def test_the_random_numbers_are_those_of_xorshift64_star() -> None:
    uniform = np.zeros(1 << 12, np.float32)
    for seed in (1, 7, 2**32, 2**64 - 1):
        assert reader_c.Sampler(1.0, 1.0, seed).sample(uniform) == int(coin(seed) * (1 << 12))


@pytest.mark.parametrize("top_p", [1.0, 0.9999])
def test_a_random_number_on_the_border_of_two_tokens_draws_the_second(top_p: float) -> None:
    seed = next(seed for seed in range(1, 10**6) if coin(seed) and coin(seed) * 4096 % 1 == 0)
    assert reader_c.Sampler(1.0, top_p, seed).sample(np.zeros(4096, np.float32)) == int(coin(seed) * 4096)


def test_top_p_ends_behind_the_token_that_exceeds_it_and_keeps_one_on_the_cutoff() -> None:
    """Four tokens of a quarter each, of which the third exceeds a half; two of a half, which is the cutoff."""
    drawn = [reader_c.Sampler(1.0, 0.5, seed * 2**40 + 1).sample(np.zeros(4)) for seed in range(1, 200)]
    assert set(drawn) == {0, 1, 2}
    drawn = [reader_c.Sampler(1.0, 0.5, seed * 2**40 + 1).sample(np.zeros(2)) for seed in range(1, 50)]
    assert set(drawn) == {0, 1}


def test_equal_seeds_draw_equal_tokens_and_temperature_zero_draws_none() -> None:
    logits = np.random.default_rng(0).normal(0, 1, (50, 100)).astype(np.float32)
    one, other = reader_c.Sampler(1.0, 0.9, 5), reader_c.Sampler(1.0, 0.9, 5)
    assert [one.sample(row) for row in logits] == [other.sample(row) for row in logits]
    greedy = reader_c.Sampler(0, 0.9, 5)
    assert [greedy.sample(row) for row in logits] == logits.argmax(axis=1).tolist()
    assert greedy.sample(np.array([2.0, 3.0, 3.0])) == 1


@pytest.mark.parametrize("logits", [[5.0], [0.25] * 3])
def test_where_no_token_passes_run_c_s_cutoff_the_most_probable_one_is_drawn(logits: list[float]) -> None:
    assert reader_c.Sampler(1.0, 1e-9, 3).sample(np.array(logits, np.float32)) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": -0.1}, "temperature: expected a finite number, 0 or more, found -0.1"),
        ({"temperature": float("nan")}, "temperature: expected a finite number, 0 or more, found nan"),
        ({"temperature": float("inf")}, "temperature: expected a finite number, 0 or more, found inf"),
        ({"temperature": 1e39}, "temperature: expected a finite number, 0 or more, found 1e+39"),
        ({"temperature": "1"}, "temperature: expected a finite number, 0 or more, found '1'"),
        ({"top_p": 1.1}, "top_p: expected a number from 0 to 1, found 1.1"),
        ({"top_p": -1}, "top_p: expected a number from 0 to 1, found -1"),
        ({"seed": 0}, "seed: expected 1 to 2^64 - 1, found 0"),
        ({"seed": 2**64}, "seed: expected 1 to 2^64 - 1, found 18446744073709551616"),
        ({"seed": True}, "seed: expected 1 to 2^64 - 1, found True"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(reader_c.ArgumentError) as refused:
        reader_c.Sampler(**options)  # type: ignore[arg-type]
    assert str(refused.value) == f"sampler: {message}"


@pytest.mark.parametrize(
    ("logits", "temperature", "message"),
    [
        ([], 1.0, "number of logits: expected at least 1, found 0"),
        ([1.0, float("nan")], 1.0, "logit at 1: expected a finite number, found nan"),
        ([1.0, 2.0, float("-inf")], 0.0, "logit at 2: expected a finite number, found -inf"),
        ([1e30], 1e-20, "temperature: expected one by which no logit becomes infinite, found 9.999999682655225e-21"),
    ],
)
def test_logits_without_an_answer_are_refused(logits: list[float], temperature: float, message: str) -> None:
    with pytest.raises(reader_c.ArgumentError) as refused:
        reader_c.Sampler(temperature).sample(np.array(logits, np.float32))
    assert str(refused.value) == f"sampler: {message}"


def test_logits_of_two_dimensions_are_refused() -> None:
    with pytest.raises(reader_c.ArgumentError, match="logits: expected one dimension, found 2"):
        reader_c.Sampler().sample(np.zeros((2, 3), np.float32))


def test_a_sampler_says_what_it_is() -> None:
    assert repr(reader_c.Sampler(0.5, 0.25, 9)) == "Sampler(temperature=0.5, top_p=0.25, seed=9)"


@pytest.mark.parametrize(
    ("n", "temperature", "top_p", "seed", "field"),
    [
        (-1, 1.0, 0.9, 1, "number of logits"),
        (1 << 31, 1.0, 0.9, 1, "number of logits"),
        (4, -1.0, 0.9, 1, "temperature"),
        (4, float("inf"), 0.9, 1, "temperature"),
        (4, float("nan"), 0.9, 1, "temperature"),
        (4, 1.0, -0.5, 1, "top_p"),
        (4, 1.0, 1.5, 1, "top_p"),
        (4, 1.0, float("nan"), 1, "top_p"),
        (4, 1.0, 0.9, 0, "seed"),
    ],
)
def test_c_refuses_what_the_class_refuses_before(
    n: int, temperature: float, top_p: float, seed: int, field: str
) -> None:
    """Before it reads a logit, of which there are none here."""
    options, state = ffi.new("rc_sampling *", (temperature, top_p)), ffi.new("uint64_t *", seed)
    token, status = ffi.new("int32_t *"), ffi.new("rc_status *")
    code = lib.rc_sample(ffi.NULL, n, options, state, ffi.NULL, ffi.NULL, token, status)
    assert code == status.code == lib.RC_ARGUMENT
    assert ffi.string(status.field).decode() == field
