"""What a verdict will take is predicted before anything is computed: what fits, and what cannot."""

from __future__ import annotations

import dataclasses
from bisect import bisect_left
from types import SimpleNamespace
from typing import Any

import pytest
from helpers.models import LLAMA_2_7B, hyperparameters

from verify.errors import CannotJudgeError
from verify.evidence.depth import DEPTHS
from verify.run import memory
from verify.run.cost import long_window_fits
from verify.run.memory import plan, predicted
from verify.run.work import Shape, Work


def llama_7b(**changes: Any) -> Work:
    shapes = (Shape(512, 1, 2, 128),)
    work = Work(hyperparameters(LLAMA_2_7B), shapes, held=0, q8=True, huggingface=True, lossy=True)
    return dataclasses.replace(work, **changes)


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a process has that has imported everything and done nothing: this one has done much else."""
    monkeypatch.setattr(memory, "_anonymous", lambda: 300 << 20)


@pytest.mark.usefixtures("fresh")
def test_a_model_of_seven_thousand_million_fits_five_gibibytes_at_standard_depth() -> None:
    made = plan(llama_7b(), 2, 5 << 30)
    assert made.streamed
    assert made.peak <= 5 << 30
    # 27 GB of float32
    assert predicted(llama_7b(), memory.AT_EASE) > 27e9


@pytest.mark.usefixtures("fresh")
def test_what_takes_less_is_done_at_ease() -> None:
    small = dataclasses.replace(llama_7b().hyper, n_layers=1, vocab_size=1000)
    made = plan(llama_7b(hyper=small, shapes=(Shape(64, 1, 2, 128),)), 2, 4 << 30)
    assert (made.streamed, made.engines) == (False, 2)


@pytest.mark.usefixtures("fresh")
def test_the_longest_window_counts_even_where_shorter_ones_have_more_tokens() -> None:
    """Eight windows of 512 beside one of 2,048 have twice its tokens and half of its attention scores."""
    many, long = Shape(512, 8, 2, 128), Shape(2048, 1, 0, 0)
    narrow = dataclasses.replace(llama_7b().hyper, vocab_size=1000, dim=512, hidden_dim=512, head_dim=16)
    alone, together = (llama_7b(hyper=narrow, shapes=shapes) for shapes in ((many,), (many, long)))
    assert predicted(together, memory.AT_EASE) > predicted(alone, memory.AT_EASE)
    of_scores = 3 * 4 * narrow.n_heads * 2048**2
    assert predicted(together, memory.AT_EASE) > of_scores
    with pytest.raises(CannotJudgeError, match="for this model and windows of 2048 tokens"):
        plan(together, 2, 1 << 30)


def test_a_long_window_is_as_long_as_memory_allows_whatever_the_file_and_the_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = SimpleNamespace(hyperparameters=hyperparameters(LLAMA_2_7B), kind="huggingface")

    def longest(depth: str, limit: int | None) -> int:
        lengths = range(DEPTHS[depth].length, 16_384)
        return bisect_left(lengths, True, key=lambda n: not long_window_fits(source, depth, limit, n))

    for depth in ("standard", "full"):
        free = longest(depth, None)
        assert free > 0
        monkeypatch.setattr(memory, "_anonymous", lambda: 50 << 30)
        monkeypatch.setattr(memory, "_of_machine", lambda: 1 << 30)
        assert longest(depth, None) == free
        assert longest(depth, 2 << 30) == 0
        assert longest(depth, 16 << 30) <= longest(depth, 64 << 30)


@pytest.mark.parametrize("limit", [1 << 20, 1 << 30])
def test_what_no_plan_can_do_is_refused_before_anything_is_computed(limit: int) -> None:
    with pytest.raises(CannotJudgeError, match=r"memory: expected at least [\d,]+ MiB for this model"):
        plan(llama_7b(), 2, limit)
