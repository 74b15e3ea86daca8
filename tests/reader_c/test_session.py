"""A session: one cache, one call at a time, as many positions as it was opened with."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from helpers.models import same_bits, toy_file

import reader_c
from reader_c.session import MOST_THREADS


def test_a_session_has_room_for_what_it_was_opened_with_and_no_more(tmp_path: Path) -> None:
    with reader_c.open(toy_file(tmp_path, "v2")) as model:
        for positions in (0, -1, 34):
            with pytest.raises(reader_c.ArgumentError, match="positions"):
                model.session(positions)
        with model.session(5) as session:
            first = session.forward([1, 2, 3])
            with pytest.raises(reader_c.ArgumentError, match="number of tokens: expected at most 2, found 3"):
                session.forward([1, 2, 3])
            # refused, and nothing changed
            assert session.position == 3
            second = session.forward([4, 5])
        assert same_bits(np.concatenate((first, second)), model.forward([1, 2, 3, 4, 5]))


@pytest.mark.parametrize("positions", [1.5, "3", True, 1 << 63])
def test_positions_must_be_a_count(tmp_path: Path, positions: int) -> None:
    with (
        reader_c.open(toy_file(tmp_path, "v0")) as model,
        pytest.raises(reader_c.ArgumentError, match="positions"),
    ):
        model.session(positions)


@pytest.mark.parametrize("threads", [0, -1, MOST_THREADS + 1, 1.0, True, "2"])
def test_threads_must_be_a_count(tmp_path: Path, threads: int) -> None:
    with reader_c.open(toy_file(tmp_path, "v0")) as model, pytest.raises(reader_c.ArgumentError) as caught:
        model.session(4, threads)
    assert str(caught.value) == f"{model.path}: threads: expected 1 to 256, found {threads!r}"


def test_a_refusal_comes_before_its_memory(tmp_path: Path) -> None:
    with reader_c.open(toy_file(tmp_path, "v0")) as model, model.session(4) as session:
        with pytest.raises(reader_c.ArgumentError, match="number of tokens"):
            session.forward(np.zeros(10**6, int))
        with pytest.raises(reader_c.ArgumentError, match="expected integers"):
            session.forward(np.zeros(3, "timedelta64[s]"))


def test_a_session_refuses_a_second_call_while_one_runs(tmp_path: Path) -> None:
    """Of many threads on one session, each call either has it alone or is refused."""
    path = toy_file(tmp_path, "v0", dim=96, hidden_dim=400, n_layers=6, max_seq_len=600)
    with reader_c.open(path) as model, model.session() as session:

        def call(_number: int) -> int:
            try:
                return len(session.forward(np.zeros(30, int)))
            except reader_c.ArgumentError:
                return 0

        with ThreadPoolExecutor(8) as pool:
            fed = sum(pool.map(call, range(40)))
        assert session.position == fed
        assert 30 <= fed <= 600


def test_a_session_cannot_be_copied_or_pickled(tmp_path: Path) -> None:
    with reader_c.open(toy_file(tmp_path, "v0")) as model, model.session(4) as session:
        for copier in (copy.copy, copy.deepcopy, pickle.dumps):
            with pytest.raises(TypeError):
                copier(session)


def test_a_session_of_a_closed_model_is_refused(tmp_path: Path) -> None:
    model = reader_c.open(toy_file(tmp_path, "v0"))
    model.close()
    with pytest.raises(reader_c.ClosedError) as caught:
        reader_c.Session(model, 4)
    assert str(caught.value) == f"{model.path}: model: expected an open model, found a closed one"


def test_a_closed_session_says_so(tmp_path: Path) -> None:
    with reader_c.open(toy_file(tmp_path, "v0")) as model:
        with model.session(4) as session:
            session.forward([1])
        with pytest.raises(reader_c.ClosedError) as caught:
            session.forward([1])
        assert str(caught.value) == f"{model.path}: session: expected an open session, found a closed one"
        # the model goes on
        assert model.forward([1]).shape == (1, 29)
