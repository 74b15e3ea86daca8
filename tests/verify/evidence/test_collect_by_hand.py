"""Windows of texts and tokens at exact places. Quick, because no tokenizer and no model is read."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from verify.errors import CannotJudgeError
from verify.evidence import Evidence, Window, collect
from verify.evidence.seed import Seed

SEED = Seed(3, "given")
VOCAB_SIZE = 50
SOURCE: Any = SimpleNamespace(
    hyperparameters=SimpleNamespace(vocab_size=VOCAB_SIZE, n_heads=4), tokenizer_path=Path("own.model")
)


def collected(evidence: Evidence, most: int = 4096, **named: Any) -> list[Window]:
    return evidence.collect(SOURCE, most, SEED, **named)


@pytest.fixture
def text(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let a text have so many tokens, each the number of its place; return who encoded it."""
    asked: list[tuple[object, ...]] = []

    def have(count: int) -> list[tuple[object, ...]]:
        monkeypatch.setattr(collect, "encode", lambda *given: asked.append(given) or np.arange(count))
        return asked

    return have


def places(windows: list[Window], length: int) -> list[int]:
    """Where the windows of the text begin, in whole windows; each must be a piece of the text."""
    texts = [window.tokens for window in windows if window.origin == "text"]
    assert all(np.array_equal(one, np.arange(one[0], one[0] + length)) for one in texts)
    assert all(one[0] % length == 0 for one in texts)
    return [int(one[0]) // length for one in texts]


@pytest.mark.parametrize(
    ("tokens", "count", "expected"),
    [
        (1000, 1, [0]),
        (1000, 2, [0, 99]),
        (1009, 3, [0, 50, 99]),
        (1000, 5, [0, 25, 50, 74, 99]),
        (60, 4, [0, 2, 3, 5]),
        (40, 4, [0, 1, 2, 3]),
        (30, 4, [0, 1, 2]),
        (19, 4, [0]),
        (20, 4, [0, 1]),
    ],
)
def test_windows_of_a_text_are_spread_from_its_beginning_to_its_end(
    text: Any, tokens: int, count: int, expected: list[int]
) -> None:
    """A window that the text does not fill is none of it, and no window comes twice."""
    text(tokens)
    assert places(collected(Evidence(windows=count, length=10, text=Path("t"))), 10) == expected


@pytest.mark.parametrize("count", range(2, 40))
def test_every_part_of_a_text_has_a_window(text: Any, count: int) -> None:
    text(10_000)
    found = places(collected(Evidence(windows=count, length=10, text=Path("t"))), 10)
    assert (len(found), found[0], found[-1]) == (count, 0, 999)
    gaps = np.diff(found)
    assert gaps.max() - gaps.min() <= 1


def test_a_text_shorter_than_a_window_is_one_and_needs_two_tokens(text: Any) -> None:
    for tokens in (2, 9):
        text(tokens)
        (window, *_rest) = collected(Evidence(windows=3, length=10, text=Path("t")))
        assert (window.origin, window.tokens.tolist()) == ("text", list(range(tokens)))
    text(1)
    with pytest.raises(CannotJudgeError) as caught:
        collected(Evidence(length=10, text=Path("t")))
    assert str(caught.value) == "t: expected text of at least 2 tokens, found 1"


@pytest.mark.parametrize(("given", "used"), [(None, "own.model"), (Path("given.model"), "given.model")])
def test_a_text_is_encoded_by_the_tokenizer_that_is_given_or_by_the_source_s(
    text: Any, given: Path | None, used: str
) -> None:
    asked = text(20)
    collected(Evidence(length=10, text=Path("t"), tokenizer=given))
    assert asked == [(Path("t"), Path(used), VOCAB_SIZE)]


def test_a_tokenizer_needs_a_text() -> None:
    with pytest.raises(CannotJudgeError) as caught:
        collected(Evidence(tokenizer=Path("t")))
    assert str(caught.value) == "tokenizer: expected a text to encode, found none: give --text FILE"


@pytest.mark.parametrize("tokens", [1023, 1024, 5000])
def test_a_text_that_is_long_enough_gives_the_long_window_in_place_of_a_random_one(text: Any, tokens: int) -> None:
    """standard depth: 8 windows of 512, one of 1,024."""
    text(tokens)
    windows = collected(Evidence(text=Path("t")))
    of_text, random = ([len(w.tokens) for w in windows if w.origin == origin] for origin in ("text", "random"))
    if tokens < 1024:
        assert (of_text, random) == ([512], [512] * 7 + [1024])
        return
    assert (of_text, random) == ([512] * min(8, tokens // 512) + [1024], [512] * 7)
    assert np.array_equal([w for w in windows if w.origin == "text"][-1].tokens, np.arange(1024))


def test_origins_come_in_their_order(text: Any) -> None:
    text(20)
    found = collected(Evidence(windows=2, length=10, text=Path("t"), tokens=[np.array([1, 2, 3])]))
    assert [window.origin for window in found] == ["text"] * 2 + ["tokens"] + ["random"] * 2 + ["fixed"] * 2
    assert Evidence().describe(found, SEED) == {
        "depth": "standard",
        "seed": 3,
        "seed_from": "given",
        "windows": {"text": 2, "tokens": 1, "random": 2, "fixed": 2},
        "text": None,
        "tokens": None,
    }
    named = Evidence(depth="full", text=Path("a"), tokens=Path("b")).describe([], SEED)
    assert (named["depth"], named["text"], named["tokens"]) == ("full", "a", "b")


def test_the_files_of_the_evidence_are_those_that_are_named() -> None:
    a, b, c = Path("a"), Path("b"), Path("c")
    assert Evidence(text=a, tokenizer=b, tokens=c).files == [a, b, c]
    assert Evidence(tokens=[np.array([1, 2])]).files == []


@pytest.mark.parametrize(
    ("evidence", "most", "message"),
    [
        (Evidence(windows=0), 64, "windows: expected 1 to 1000000, found 0"),
        (Evidence(windows=1_000_001), 64, "windows: expected 1 to 1000000, found 1000001"),
        (Evidence(length=1), 64, "length: expected 2 to the model's max_seq_len of 64, found 1"),
        (Evidence(length=65), 64, "length: expected 2 to the model's max_seq_len of 64, found 65"),
        (Evidence(), 1, "max_seq_len: expected at least 2, to have a next token to judge, found 1"),
    ],
)
def test_sizes_out_of_range_are_refused(evidence: Evidence, most: int, message: str) -> None:
    with pytest.raises(CannotJudgeError) as caught:
        collected(evidence, most)
    assert str(caught.value) == message


def test_the_smallest_and_the_largest_sizes_are_allowed() -> None:
    assert [len(w.tokens) for w in collected(Evidence(windows=1, length=2), 2)] == [2, 2, 2]
    assert [len(w.tokens) for w in collected(Evidence(windows=1), 2)] == [2, 2, 2]
    assert [len(w.tokens) for w in collected(Evidence(windows=1, length=64), 64)] == [64, 64, 64]
    assert Evidence(windows=1_000_000, length=2)._sizes(2) == (1_000_000, 2)


def test_only_the_depth_s_own_numbers_add_a_long_window_or_feed_every_id() -> None:
    def random(evidence: Evidence, most: int = 4096) -> list[int]:
        return [len(window.tokens) for window in collected(evidence, most) if window.origin == "random"]

    assert random(Evidence()) == [512] * 7 + [1024]
    assert random(Evidence(windows=8)) == random(Evidence(length=512)) == [512] * 8
    assert random(Evidence(windows=2)) == [512] * 2
    # 50 ids in windows of one token more than none: 25 of them are needed, and the depth has 32
    assert random(Evidence(depth="full"), 2) == [2] * 32
    assert random(Evidence(depth="full", windows=3), 2) == random(Evidence(depth="full", length=2, windows=3), 2)
    assert random(Evidence(depth="full", length=2), 2) == [2] * 32


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "tokens: expected at least one window, found none"),
        ([np.array([0.5, 1.0])], "tokens: window 0: expected integers, found float64"),
        ([np.array([1, 2]), np.array([True, False])], "tokens: window 1: expected integers, found bool"),
        ([np.array([1])], "tokens: window 0: expected 2 to 5 tokens, found (1,)"),
        ([np.arange(6)], "tokens: window 0: expected 2 to 5 tokens, found (6,)"),
        ([np.zeros((2, 2), int)], "tokens: window 0: expected 2 to 5 tokens, found (2, 2)"),
        ([np.array([0, 49, 50, 99])], "tokens: window 0: token 2: expected 0 to 49, found 50"),
        ([np.array([0, 49]), np.array([3, -1])], "tokens: window 1: token 1: expected 0 to 49, found -1"),
    ],
)
def test_tokens_that_no_window_can_hold_are_refused(rows: list[np.ndarray], message: str) -> None:
    with pytest.raises(CannotJudgeError) as caught:
        collected(Evidence(windows=1, tokens=rows), 5)
    assert str(caught.value) == message


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int64])
def test_tokens_of_any_integers_become_int64(dtype: Any) -> None:
    rows = [np.array([0, 49], dtype), np.arange(5, dtype=dtype)]
    windows = [w.tokens for w in collected(Evidence(windows=1, tokens=rows), 5) if w.origin == "tokens"]
    assert [(one.dtype, one.tolist()) for one in windows] == [(np.int64, row.tolist()) for row in rows]


def test_at_most_a_million_windows_of_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collect, "_MOST_WINDOWS", 3)
    row = np.array([1, 2])
    assert len(collected(Evidence(windows=1, tokens=[row] * 3), 5)) == 6
    with pytest.raises(CannotJudgeError) as caught:
        collected(Evidence(windows=1, tokens=[row] * 4), 5)
    assert str(caught.value) == "tokens: expected at most 3 windows, found 4"


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 3), np.float32), "expected integers of shape (windows, length), found float32 (2, 3)"),
        (np.zeros(3, np.int64), "expected integers of shape (windows, length), found int64 (3,)"),
        (np.zeros((1, 2, 3), np.int64), "expected integers of shape (windows, length), found int64 (1, 2, 3)"),
    ],
)
def test_a_file_of_tokens_holds_a_table_of_integers(tmp_path: Path, array: np.ndarray, message: str) -> None:
    path = tmp_path / "t.npy"
    np.save(path, array)
    with pytest.raises(CannotJudgeError) as caught:
        collected(Evidence(windows=1, tokens=path))
    assert str(caught.value) == f"{path}: {message}"


def test_a_file_of_tokens_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.npy"
    with pytest.raises(CannotJudgeError) as caught:
        collected(Evidence(windows=1, tokens=path))
    assert str(caught.value) == f"{path}: expected an .npy file, found: no such file or directory"
    path.write_bytes(b"no array")
    with pytest.raises(CannotJudgeError) as caught:
        collected(Evidence(windows=1, tokens=path))
    assert str(caught.value) == f"{path}: expected an .npy file of integers, found another kind of file"
    os.mkfifo(tmp_path / "fifo.npy")
    with pytest.raises(CannotJudgeError, match=r"expected an \.npy file, found: no regular file$"):
        collected(Evidence(windows=1, tokens=tmp_path / "fifo.npy"))


def test_paths_may_be_text() -> None:
    found = Evidence(text="a", tokenizer="b", tokens="c")  # type: ignore[arg-type]
    assert (found.text, found.tokenizer, found.tokens) == (Path("a"), Path("b"), Path("c"))
    assert found.files == [Path("a"), Path("b"), Path("c")]
    windows = [np.arange(3)]
    assert Evidence(tokens=windows).tokens is windows


def test_greedy_text_of_a_prompt_has_64_tokens() -> None:
    assert (Evidence().prompts, Evidence().steps) == ((), 64)
