"""Logits beside golden vectors by hand: the first beyond the limit, the worst of all, and what cannot be compared."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.models import toy_file

import reader_c
from verify.engine.command import Engine
from verify.errors import CannotJudgeError
from verify.system.digests import sha256_of
from verify.vectors.checking import (
    Checked,
    Deviation,
    check_engine,
    check_logits,
    check_reader,
    read_vectors,
    saved_logits,
)
from verify.vectors.golden import AT, KEPT, GoldenVectors, WindowVectors, encode

VOCAB, LIMIT = 6, 10.0
Logits = list[np.ndarray[Any, np.dtype[np.float32]]]


def window(length: int, positions: list[int], ids: list[list[int]], *, int8: bool) -> WindowVectors:
    """Keep logits that are 10 times the position and the token, with a rounding of 0.5 for each."""
    at, kept = np.zeros(len(positions), AT), np.zeros((len(positions), len(ids[0])), KEPT)
    at["position"], kept["id"], kept["sigma"] = positions, ids, 0.5
    kept["logit"] = 10 * at["position"][:, None] + kept["id"]
    exact = (kept["logit"] + 0.25).astype(np.float32) if int8 else None
    return WindowVectors(np.arange(length), at, kept, exact)


def vectors(*, int8: bool = False) -> GoldenVectors:
    windows = (window(3, [0, 2], [[0, 5], [1, 2]], int8=int8), window(2, [1], [[3, 4]], int8=int8))
    return GoldenVectors(VOCAB, 2, LIMIT, 100, sha256_of(b"model"), "cd" * 32, windows)


def logits(offset: float = 0.0) -> Logits:
    return [(10 * np.arange(length)[:, None] + np.arange(VOCAB) + offset).astype(np.float32) for length in (3, 2)]


def moved(*changes: tuple[int, int, int, float], offset: float = 0.0) -> Logits:
    found = logits(offset)
    for number, position, token, by in changes:
        found[number][position, token] += by
    return found


def test_right_logits_pass() -> None:
    assert check_logits(vectors(), logits()) == Checked(None, 0.0, 6, 3)
    assert check_logits(vectors(), logits()).passed


def test_only_kept_logits_count() -> None:
    others = moved((0, 1, 0, 99.0), (0, 0, 1, 99.0), (0, 2, 0, math.nan), (1, 0, 3, 99.0))
    assert check_logits(vectors(), others) == Checked(None, 0.0, 6, 3)


def test_the_limit_itself_passes_and_one_step_more_fails() -> None:
    at_limit = moved((0, 2, 2, LIMIT * 0.5))
    assert check_logits(vectors(), at_limit) == Checked(None, LIMIT, 6, 3)
    at_limit[0][2, 2] = np.nextafter(at_limit[0][2, 2], np.float32(99))
    found = check_logits(vectors(), at_limit)
    assert found.first is not None
    assert (found.first.window, found.first.position, found.first.token) == (0, 2, 2)
    assert not found.passed


def test_the_first_deviation_is_shown_and_the_worst_of_all_counted() -> None:
    found = check_logits(vectors(), moved((0, 2, 1, 8.0), (0, 2, 2, -9.0), (1, 1, 4, 32.0)))
    assert found == Checked(Deviation(0, 2, 1, 21.0, 29.0, 16.0), 64.0, 6, 3)
    later = check_logits(vectors(), moved((1, 1, 4, -32.0), (0, 0, 5, 1.0)))
    assert later == Checked(Deviation(1, 1, 4, 14.0, -18.0, 64.0), 64.0, 6, 3)
    assert str(later.first) == "window 1, position 1, token 4: expected 14, found -18: 64 standard deviations"


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_no_number_is_infinitely_far(wrong: float) -> None:
    found = check_logits(vectors(), moved((1, 1, 3, wrong)))
    assert found.worst == math.inf
    assert found.first is not None
    assert (found.first.token, found.first.sigmas) == (3, math.inf)


def test_int8_logits_have_the_same_bits() -> None:
    assert check_logits(vectors(int8=True), logits(0.25), int8=True) == Checked(None, 0.0, 6, 3)
    near = logits(0.25)
    near[0][0, 5] = np.nextafter(near[0][0, 5], np.float32(99))
    found = check_logits(vectors(int8=True), near, int8=True)
    assert found == Checked(Deviation(0, 0, 5, 5.25, float(near[0][0, 5]), None), 1.0, 6, 3)
    assert (
        str(found.first) == "window 0, position 0, token 5: expected 5.25, found 5.25000048: expected the same bits"
    )
    assert check_logits(vectors(int8=True), near).passed


def test_float_activations_are_held_to_the_float_logits() -> None:
    found = check_logits(vectors(int8=True), moved((0, 0, 5, 8.0)))
    assert found.first == Deviation(0, 0, 5, 5.0, 13.0, 16.0)


def test_int8_logits_need_vectors_for_them() -> None:
    with pytest.raises(CannotJudgeError) as error:
        check_logits(vectors(), logits(), int8=True)
    assert str(error.value) == "expected vectors of a Q8_0 file, which have int8 logits, found none"


def test_logits_of_another_shape_are_no_deviation() -> None:
    for wrong in ([logits()[0], logits()[1][:1]], [logits()[0], logits()[1][:, :5]]):
        with pytest.raises(CannotJudgeError) as error:
            check_logits(vectors(), wrong)
        assert str(error.value) == f"window 1: expected logits of shape (2, 6), found {wrong[1].shape}"
    with pytest.raises(ValueError, match="zip"):
        check_logits(vectors(), logits()[:1])


def test_saved_logits_are_cut_into_windows(tmp_path: Path) -> None:
    path = tmp_path / "logits"
    path.write_bytes(b"".join(one.astype("<f4").tobytes() for one in logits()))
    found = saved_logits(vectors(), path)
    assert [one.tolist() for one in found] == [one.tolist() for one in logits()]
    path.write_bytes(path.read_bytes() + bytes(4))
    with pytest.raises(CannotJudgeError) as error:
        saved_logits(vectors(), path)
    assert str(error.value) == f"{path}: expected 5 x 6 float32 logits (120 bytes), found 124"


def test_each_of_many_windows_has_its_rows(tmp_path: Path) -> None:
    windows = tuple(window(length, [0], [[0]], int8=False) for length in (1, 3, 2, 1))
    many = GoldenVectors(VOCAB, 1, LIMIT, 100, "ab" * 32, "cd" * 32, windows)
    path = tmp_path / "logits"
    path.write_bytes(np.arange(7 * VOCAB, dtype="<f4").tobytes())
    assert [one[:, 0].tolist() for one in saved_logits(many, path)] == [[0], [6, 12, 18], [24, 30], [36]]


def test_files_that_are_not_there_are_named(tmp_path: Path) -> None:
    path, program = tmp_path / "none", Engine(command="true {file} {tokens} {logits}")
    for read in (
        lambda: read_vectors(path),
        lambda: saved_logits(vectors(), path),
        lambda: check_engine(vectors(), program, path),
    ):
        with pytest.raises(CannotJudgeError, match=f"^{path}: no such file or directory$"):
            read()


def test_vectors_are_read_from_their_file(tmp_path: Path) -> None:
    path = tmp_path / "a.vec"
    path.write_bytes(encode(vectors()))
    assert encode(read_vectors(path)) == path.read_bytes()


class Fake(Engine):
    """Gives the logits of a window whose length it finds in them."""

    def check(self) -> None:
        """Start nothing."""

    def logits(self, file: str, sequences: Any, vocab_size: int) -> Logits:
        assert (Path(file).name, len(sequences), vocab_size) == ("model.bin", 1, VOCAB)
        offset = 0.25 if self.activations == "q8" else 0.0
        return [one for one in logits(offset) if len(one) == len(sequences[0])]


def test_an_engine_runs_window_after_window_on_the_vectors_own_file(tmp_path: Path) -> None:
    file = tmp_path / "model.bin"
    file.write_bytes(b"model")
    engine = Fake(command="fake")
    assert check_engine(vectors(), engine, file) == Checked(None, 0.0, 6, 3)
    int8 = dataclasses.replace(engine, activations="q8")
    assert check_engine(vectors(int8=True), int8, file) == Checked(None, 0.0, 6, 3)
    with pytest.raises(CannotJudgeError, match=r"^expected vectors of a Q8_0 file"):
        check_engine(vectors(), int8, file)
    file.write_bytes(b"other")
    with pytest.raises(CannotJudgeError) as error:
        check_engine(vectors(), engine, file)
    expected, found = sha256_of(b"model"), sha256_of(b"other")
    assert str(error.value) == f"{file}: sha256: expected {expected}, of which the vectors are, found {found}"


def test_the_reader_is_run_on_the_vectors_own_file(tmp_path: Path) -> None:
    """A damaged file is another one, whatever its own digests say."""
    file = toy_file(tmp_path, "v3")
    with reader_c.open(file) as model:
        logits = model.forward([1, 2])
    at, kept = np.zeros(2, AT), np.zeros((2, 1), KEPT)
    at["position"], kept["id"], kept["sigma"], kept["logit"] = [0, 1], 3, 0.5, logits[:, 3:4]
    found = WindowVectors(np.array([1, 2]), at, kept, None)
    own = GoldenVectors(logits.shape[1], 1, LIMIT, 0, sha256_of(file.read_bytes()), "cd" * 32, (found,))
    assert check_reader(own, file) == Checked(None, 0.0, 2, 2)
    file.write_bytes(file.read_bytes()[:-1] + b"\x7f")
    with pytest.raises(
        CannotJudgeError, match=f"^{file}: sha256: expected {own.file_sha256}, of which the vectors are"
    ):
        check_reader(own, file)
