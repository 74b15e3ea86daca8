"""Windows: deterministic, in range, and refused by name where they cannot be had."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.models import arrays, config

import exporter
from verify.demo import CHECKPOINT, HELD_OUT_TEXT
from verify.errors import CannotJudgeError
from verify.evidence import Evidence, Window
from verify.evidence.seed import Seed
from verify.evidence.tokenizers import encode
from verify.sources import Source, open_source
from verify.testing import source_of

SEED = Seed(0, "given")


@pytest.fixture(scope="module")
def source() -> Source:
    return open_source(CHECKPOINT)


def test_by_default_random_windows_to_full_length_beside_fixed_ones(source: Source) -> None:
    windows = Evidence().collect(source, 256, SEED)
    assert [w.origin for w in windows] == ["random"] * 8 + ["fixed"] * 2
    assert all(len(w.tokens) == 256 for w in windows)
    again = Evidence().collect(source, 256, SEED)
    assert all((a.tokens == b.tokens).all() for a, b in zip(windows, again, strict=True))
    other = Evidence().collect(source, 256, Seed(1, "given"))
    assert any((a.tokens != b.tokens).any() for a, b in zip(windows, other, strict=True))


@pytest.fixture(scope="module")
def longer() -> Source:
    """A model of many positions, whose ordinary windows do not reach its end."""
    model = config(vocab_size=512, max_seq_len=1000)
    return source_of(exporter.Checkpoint.from_arrays(model, arrays(model)))


def lengths(windows: list[Window], origin: str) -> list[int]:
    return [len(window.tokens) for window in windows if window.origin == origin]


def test_one_random_window_goes_on_to_the_models_last_position(longer: Source) -> None:
    windows = Evidence().collect(longer, 1000, SEED)
    assert lengths(windows, "random") == [512] * 7 + [1000]
    assert lengths(windows, "fixed") == [512] * 2
    # a file that was shortened ends earlier
    assert lengths(Evidence().collect(longer, 700, SEED), "random")[-1] == 700


def test_a_window_that_does_not_fit_in_memory_is_as_long_as_fits(longer: Source) -> None:
    windows = Evidence().collect(longer, 1000, SEED, lambda length: length <= 800)
    assert lengths(windows, "random") == [512] * 7 + [800]
    assert lengths(Evidence().collect(longer, 1000, SEED, lambda _length: False), "random") == [512] * 8


@pytest.mark.parametrize("asked", [{"windows": 2}, {"length": 512}, {"depth": "quick"}])
def test_the_users_own_numbers_and_quick_add_no_long_window(longer: Source, asked: dict[str, Any]) -> None:
    windows = Evidence(**asked).collect(longer, 1000, SEED)
    assert max(len(window.tokens) for window in windows) <= 512


def test_a_long_text_gives_the_long_window_and_a_short_one_leaves_it_random(longer: Source, tmp_path: Path) -> None:
    tokenizer = CHECKPOINT.with_name("tokenizer.model")
    windows = Evidence(text=HELD_OUT_TEXT, tokenizer=tokenizer).collect(longer, 1000, SEED)
    assert lengths(windows, "text") == [512] * 8 + [1000]
    assert lengths(windows, "random") == [512] * 7
    text = tmp_path / "short.txt"
    text.write_text("In the beginning " * 100)
    windows = Evidence(text=text, tokenizer=tokenizer).collect(longer, 1000, SEED)
    assert max(lengths(windows, "text")) == 512
    assert lengths(windows, "random") == [512] * 7 + [1000]


def test_full_depth_feeds_every_token_id(source: Source) -> None:
    # so short that the 32 windows of the depth hold 480 of the 512 ids
    windows = Evidence(depth="full").collect(source, 15, SEED)
    fed = np.concatenate([window.tokens for window in windows if window.origin == "random"])
    assert np.array_equal(np.unique(fed), np.arange(512))
    assert lengths(windows, "random") == [15] * 35
    # the user's own number of windows is not added to
    assert lengths(Evidence(depth="full", windows=32).collect(source, 15, SEED), "random") == [15] * 32


def test_the_seed_and_its_origin_are_described(source: Source) -> None:
    windows = Evidence(depth="quick").collect(source, 256, Seed(7, "file"))
    described = Evidence(depth="quick").describe(windows, Seed(7, "file"))
    assert (described["seed"], described["seed_from"]) == (7, "file")


def test_text_becomes_windows_spread_over_it(source: Source) -> None:
    windows = [w for w in Evidence(text=HELD_OUT_TEXT, windows=3).collect(source, 256, SEED) if w.origin == "text"]
    assert len(windows) == 3
    assert all(len(w.tokens) == 256 for w in windows)
    assert windows[0].tokens[0] == 1
    # the first begins the text, the last is from its end: they share no long run
    assert (windows[0].tokens != windows[2].tokens).mean() > 0.5


def test_short_text_is_one_short_window(source: Source, tmp_path: Path) -> None:
    text = tmp_path / "short.txt"
    text.write_text("In the beginning")
    windows = Evidence(text=text).collect(source, 256, SEED)
    assert windows[0].origin == "text"
    assert 2 <= len(windows[0].tokens) < 10


def test_tokens_from_a_file_or_from_memory(source: Source, tmp_path: Path) -> None:
    path = tmp_path / "tokens.npy"
    np.save(path, np.arange(40, dtype=np.int32).reshape(4, 10))
    for given in (path, list(np.arange(40).reshape(4, 10))):
        windows = [w for w in Evidence(tokens=given).collect(source, 256, SEED) if w.origin == "tokens"]
        assert [w.tokens.tolist() for w in windows] == np.arange(40).reshape(4, 10).tolist()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"depth": "deep"}, "depth: expected one of quick, standard, full, found 'deep'"),
        ({"windows": 0}, "windows: expected 1 to"),
        ({"length": 1}, "length: expected 2 to the model's max_seq_len of 256, found 1"),
        ({"length": 257}, "found 257"),
    ],
)
def test_options_out_of_range_are_refused(source: Source, changes: dict[str, object], message: str) -> None:
    with pytest.raises(CannotJudgeError, match=message):
        Evidence(**changes).collect(source, 256, SEED)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "at least 2 tokens, found 0"), (b"\n \n", "found 0"), (b"\xff\xfe\x00", "expected UTF-8 text")],
)
def test_text_with_nothing_in_it_is_refused(source: Source, tmp_path: Path, content: bytes, message: str) -> None:
    text = tmp_path / "text.txt"
    text.write_bytes(content)
    with pytest.raises(CannotJudgeError, match=message):
        Evidence(text=text).collect(source, 256, SEED)


def test_a_tokenizer_that_is_missing_or_none_is_refused(source: Source, tmp_path: Path) -> None:
    with pytest.raises(
        CannotJudgeError, match="expected a tokenizer, found no such file: give one with --tokenizer FILE"
    ):
        Evidence(text=HELD_OUT_TEXT, tokenizer=tmp_path / "none.model").collect(source, 256, SEED)
    with pytest.raises(CannotJudgeError, match="expected a SentencePiece model"):
        Evidence(text=HELD_OUT_TEXT, tokenizer=CHECKPOINT).collect(source, 256, SEED)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 5)), "expected integers of shape"),
        (np.zeros(5, int), "expected integers of shape"),
        (np.zeros((0, 5), int), "at least one window"),
        (np.zeros((2, 1), int), r"window 0: expected 2 to 256 tokens"),
        (np.array([[1, 2], [3, 512]]), "window 1: token 1: expected 0 to 511, found 512"),
        (np.array([[1, -2]]), "window 0: token 1: expected 0 to 511, found -2"),
    ],
)
def test_token_files_are_checked(source: Source, tmp_path: Path, array: np.ndarray, message: str) -> None:
    path = tmp_path / "tokens.npy"
    np.save(path, array)
    with pytest.raises(CannotJudgeError, match=message):
        Evidence(tokens=path).collect(source, 256, SEED)


def test_a_token_file_that_is_a_pickle_is_refused(source: Source, tmp_path: Path) -> None:
    path = tmp_path / "tokens.npy"
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(CannotJudgeError, match=r"expected an \.npy file of integers"):
        Evidence(tokens=path).collect(source, 256, SEED)


def npy(head: str, size: int = 128) -> bytes:
    """The beginning of an .npy file that says so, and zeros."""
    text = head.encode()
    return (b"\x93NUMPY\1\0" + len(text).to_bytes(2, "little") + text).ljust(size, b"\0")


def described(shape: str, descr: str = "'<i4'", order: str = "'fortran_order': False") -> str:
    return f"{{'descr': {descr}, {order}, 'shape': {shape}}}"


@pytest.mark.parametrize(
    "head",
    [
        "{'descr': '",
        described("(2, 4)", "()"),
        described("(True, 4)"),
        described("(2, 4)", order="1: 2, 'fortran_order': False"),
        described("(2, 4)", order="[]: 1, 'fortran_order': False"),
        described(f"({2**70}, 4)"),
        described(f"({2**62}, 4)"),
        described(f"({'-' * 9000}1, 4)"),
    ],
    ids=["token", "descr", "bool", "keys", "list as key", "2**70", "2**62", "minus"],
)
def test_a_token_file_whose_header_says_anything_is_refused(source: Source, tmp_path: Path, head: str) -> None:
    path = tmp_path / "tokens.npy"
    path.write_bytes(npy(head))
    with pytest.raises(CannotJudgeError, match=r"tokens\.npy: "):
        Evidence(tokens=path).collect(source, 256, SEED)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ("(1000000, 0)", r"window 0: expected 2 to 256 tokens, found \(0,\)"),
        ("(1000001, 2)", "at most 1000000 windows"),
    ],
)
def test_a_token_file_of_too_many_windows_costs_nothing(
    source: Source, tmp_path: Path, shape: str, message: str
) -> None:
    path = tmp_path / "tokens.npy"
    path.write_bytes(npy(described(shape)))
    os.truncate(path, 10_000_000)
    tracemalloc.start()
    try:
        with pytest.raises(CannotJudgeError, match=message):
            Evidence(tokens=path).collect(source, 256, SEED)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_a_text_may_come_by_the_shells_pipe_and_no_fifo_is_waited_for(source: Source, tmp_path: Path) -> None:
    reading, writing = os.pipe()
    with open(reading, "rb"), open(writing, "wb") as ours:  # noqa: PTH123  # of descriptors
        ours.write(b"In the beginning")
        ours.close()
        assert len(encode(Path(f"/dev/fd/{reading}"), source.tokenizer_path, 512)) > 2
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for evidence in (
        Evidence(text=fifo),
        Evidence(text=Path("/dev/zero")),
        Evidence(text=HELD_OUT_TEXT, tokenizer=fifo),
        Evidence(tokens=fifo),
    ):
        with pytest.raises(CannotJudgeError, match=r"no regular file|no such file"):
            evidence.collect(source, 256, SEED)
