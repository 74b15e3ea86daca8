"""A hint must explain every position, and more clearly than any other mistake: otherwise there is none."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import torch
from helpers.models import arrays, config, hyperparameters

from verify.engine import hint_general
from verify.engine.hint_layers import of_orders
from verify.engine.hint_reference import MistakenReference, logits_of
from verify.engine.hint_search import Hint, Seen, find_hint
from verify.engine.hints import mistaken_references
from verify.oracle import llama

MODEL = config(max_seq_len=90)
HYPER = hyperparameters(MODEL)
WEIGHTS = {name: torch.from_numpy(array) for name, array in arrays(MODEL).items()}
TOKENS = np.random.default_rng(5).integers(0, MODEL.vocab_size, 80)
LIMIT = 10.0


def load(name: str) -> torch.Tensor:
    return WEIGHTS[name]


RIGHT = llama.logits(HYPER, load, torch.from_numpy(TOKENS)[None]).numpy()[0]
SIGMA = np.full_like(RIGHT, 1e-6)


@pytest.fixture(autouse=True)
def little_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """End the search for combined mistakes early; engines of the toys are searched with all of them."""
    monkeypatch.setattr(hint_general, "_MOST_WORK", 1e8)


def hint(logits: np.ndarray, limit: float | None = LIMIT, sigma: np.ndarray = SIGMA) -> Hint | None:
    seen = Seen(TOKENS, logits.astype(np.float32), RIGHT, sigma, limit)
    return find_hint(seen, HYPER, load, 0)


def of(name: str, part: str = "", first: int = 0) -> MistakenReference:
    known = mistaken_references(HYPER, load, 0, torch.from_numpy(TOKENS), first)
    return next(one for one in known if one.mistake.name == name and part in one.sentence)


def made(known: MistakenReference) -> np.ndarray:
    return logits_of(known, torch.from_numpy(TOKENS)).numpy()


def rounded(logits: np.ndarray, size: float = 1e-6) -> np.ndarray:
    """With errors like those of float32 rounding."""
    return logits + size * np.random.default_rng(1).standard_normal(logits.shape)


def test_right_logits_have_no_hint() -> None:
    assert hint(rounded(RIGHT)) is None


def test_a_factor_on_the_logits_is_never_called_an_epsilon() -> None:
    for factor, text in ((1.00001, "multiplies the logits by 1.00001"), (1.25, "divides the logits by 0.8")):
        found = hint(rounded(RIGHT * factor))
        assert found is not None
        assert (found.mistake.name, found.sentence) == ("logits-scaled", text)


@pytest.mark.parametrize(
    ("name", "part", "first"),
    [
        ("attention-window", "last 64 positions, which shows from position 64 on", 64),
        ("rope-position", "position 64 and all later ones from the position 63", 64),
        ("rope-position", "position 64 and later ones from the position 0 on", 64),
        ("stale-cache", "first 63 positions and the newest, which shows from position 64 on", 64),
        ("stale-cache", "zeros for keys and values from position 60 on", 60),
    ],
)
def test_an_engine_that_is_wrong_only_late_gets_a_hint_that_says_so(name: str, part: str, first: int) -> None:
    logits = made(of(name, part, first))
    assert np.array_equal(logits[:first], RIGHT[:first])
    found = hint(rounded(logits))
    assert found is not None
    assert found.mistake.name == name
    assert part in found.sentence


def test_a_mistake_that_explains_only_the_first_positions_is_no_hint() -> None:
    logits = made(of("kv-heads"))
    assert hint(logits) is not None
    logits[70:] += 0.01
    assert hint(logits) is None


def test_a_mistake_that_another_one_explains_as_well_is_no_hint() -> None:
    """The same angles by half a step: neither of two epsilons is clearly nearer."""
    small, smaller = (made(of("norm-eps", text)) for text in ("1e-08", "1e-12"))
    middle = (small + smaller) / 2
    apart = np.abs(small - smaller).max()
    # both are within the limit, and equally far
    sigma = np.full_like(RIGHT, apart / 2 / 10)
    assert hint(middle, sigma=sigma) is None
    assert hint(smaller, sigma=np.full_like(RIGHT, apart / 100)) is not None


def test_of_mistakes_with_the_same_logits_the_first_is_named() -> None:
    """One kv head too high or too low is the same among two."""
    model = config(n_heads=4, n_kv_heads=2, max_seq_len=90)
    hyper = hyperparameters(model)
    weights = {name: torch.from_numpy(array) for name, array in arrays(model).items()}
    tokens = torch.from_numpy(TOKENS)
    right = llama.logits(hyper, weights.__getitem__, tokens[None]).numpy()[0]
    known = [one for one in mistaken_references(hyper, weights.__getitem__, 0) if "one too" in one.sentence]
    assert len(known) == 2
    engine = logits_of(known[1], tokens).numpy()
    found = find_hint(
        Seen(TOKENS, engine.astype(np.float32), right, np.full_like(right, 1e-6), LIMIT),
        hyper,
        weights.__getitem__,
        0,
    )
    assert found is not None
    assert found.sentence == known[0].sentence


@pytest.mark.parametrize(
    "change",
    [
        lambda right: right + 1e-3 * np.random.default_rng(0).standard_normal(right.shape),
        lambda right: np.random.default_rng(0).standard_normal(right.shape),
        lambda right: np.where(np.arange(len(right))[:, None] == 40, right + 0.1, right),
        np.zeros_like,
        lambda right: np.full_like(right, np.nan),
    ],
    ids=["noise", "other numbers", "one position", "zeros", "nan"],
)
def test_what_no_mistake_explains_has_no_hint(change: Callable[[np.ndarray], np.ndarray]) -> None:
    assert hint(change(RIGHT)) is None
    assert hint(change(RIGHT), limit=None) is None


def test_two_mistakes_have_no_hint() -> None:
    both = dataclasses.replace(of("kv-heads"), hyper=dataclasses.replace(HYPER, rope_theta=5e5))
    assert hint(made(both)) is None


def test_int8_activations_may_leave_a_share_of_the_difference() -> None:
    logits = made(of("kv-heads", "one too low"))
    off = float(np.sqrt(np.square(logits - RIGHT).mean()))
    found = hint(rounded(logits, off * 0.1), limit=None)
    assert found is not None
    assert found.mistake.name == "kv-heads"
    assert hint(rounded(logits, off * 0.5), limit=None) is None


def test_float_activations_are_named_where_int8_activations_are_required() -> None:
    int8 = RIGHT + 0.01 * np.random.default_rng(1).standard_normal(RIGHT.shape)
    found = find_hint(Seen(TOKENS, RIGHT.astype(np.float32), int8, SIGMA, None), HYPER, load, 8)
    assert found is not None
    assert found.mistake.name == "int8-missing"
    float_engine = mistaken_references(HYPER, load, 8)
    assert "int8-missing" not in {one.mistake.name for one in float_engine}


def test_the_first_wrong_position_is_that_beyond_the_limit() -> None:
    engine = RIGHT.astype(np.float32)
    engine[30, 2] += np.float32(1)
    assert Seen(TOKENS, engine, RIGHT, SIGMA, LIMIT).first == 30
    assert Seen(TOKENS, engine, RIGHT, SIGMA, None).first == 0


def test_a_cache_in_half_precision_is_known_although_its_roundings_differ() -> None:
    for text in ("fp16", "bf16"):
        logits = made(of("cache-narrowed", text))
        off = float(np.sqrt(np.square(logits - RIGHT).mean()))
        found = hint(rounded(logits, off * 0.02))
        assert found is not None
        assert (found.mistake.name, found.sentence) == (
            "cache-narrowed",
            f"rounds keys and values to {text} in its cache",
        )


def test_int8_noise_shows_where_logits_go_wrong() -> None:
    noise = 1e-3 * np.random.default_rng(0).standard_normal(RIGHT.shape)
    engine = RIGHT + noise
    engine[30:] += 0.1
    seen = Seen(TOKENS, engine.astype(np.float32), RIGHT, SIGMA, None, 1e-3)
    assert (seen.first, seen.tried) == (30, 48)
    late = np.zeros((200, RIGHT.shape[1]))
    late[150:] = 1
    assert Seen(np.zeros(200, np.int64), late.astype(np.float32), 0 * late, late, None, 1e-3).tried == 162
    assert Seen(np.zeros(200, np.int64), late.astype(np.float32), 0 * late, late + 1, LIMIT).tried == 12


def test_layers_that_run_twice_or_too_early_are_named() -> None:
    for known in of_orders(HYPER, load):
        found = hint(rounded(made(known)))
        assert found is not None
        assert found.sentence == known.sentence
