"""Sums of int8 that overflow and scales from a wrong place are told from logits; sums with room are not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.models import arrays, config, hyperparameters

from verify.engine import hint_scales
from verify.engine.hint_int8 import Int8Rounding, of_file
from verify.engine.hint_reference import MistakenReference, logits_of
from verify.engine.hint_scales import of_scales, of_scales_of_kinds, of_sums
from verify.engine.hint_search import Hint, Seen, find_hint
from verify.oracle import llama

GROUP = 16
MODEL = config(dim=64, hidden_dim=96, n_layers=1, n_heads=4, n_kv_heads=2, vocab_size=37, max_seq_len=40)
HYPER = hyperparameters(MODEL)
TOKENS = np.random.default_rng(5).integers(0, MODEL.vocab_size, 14)
ROUNDING = Int8Rounding(of_file(HYPER, lambda _matrix: GROUP))


def as_held(weights: np.ndarray) -> torch.Tensor:
    """The weights that a Q8_0 file has."""
    tensor = torch.from_numpy(weights)
    if tensor.ndim != 2:
        return tensor
    grouped = tensor.view(-1, GROUP)
    scale = grouped.abs().amax(1, keepdim=True) / 127
    return ((grouped / scale).round() * scale).view(tensor.shape)


WEIGHTS = {name: as_held(array) for name, array in arrays(MODEL).items()}
load = WEIGHTS.__getitem__


def logits(known: MistakenReference) -> np.ndarray:
    return logits_of(known, torch.from_numpy(TOKENS), torch.float32, ROUNDING).numpy()


RIGHT = llama.logits(HYPER, load, torch.from_numpy(TOKENS)[None], inputs=ROUNDING).numpy()[0]


def hint(engine: np.ndarray) -> Hint | None:
    return find_hint(Seen(TOKENS, engine, RIGHT, np.full_like(RIGHT, 1e-6), None, 0.01), HYPER, load, GROUP)


def test_sums_that_never_overflow_give_the_right_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hint_scales, "_SUMS", {"int32": hint_scales._saturating(32)})
    (known,) = of_sums(HYPER, load, GROUP)
    assert np.abs(logits(known) - RIGHT).max() < 1e-4


@pytest.mark.parametrize("found", ["int16, which saturates", "int16, which wraps", "int16 only at the end"])
def test_sums_in_too_few_bits_are_named(found: str) -> None:
    known = next(one for one in of_sums(HYPER, load, GROUP) if found in one.sentence)
    told = hint(logits(known))
    assert told is not None
    assert told.sentence == known.sentence


@pytest.mark.parametrize(
    "found",
    [
        "w2 by the scale of rows of dim inputs",
        "every matrix by the scale of row 0",
        "every matrix and the classifier by the scale of row 0",
        "the embedding by the scale of the same place in transposed scales",
        "every matrix by the scale of the matrix before it in the layer",
        "every matrix and the classifier with magnitudes of int8 values",
        "the classifier with int8 values as unsigned ones",
        "w1 with scales of groups that are twice as long",
    ],
)
def test_wrong_scales_and_int8_values_are_named(found: str) -> None:
    every = (*of_scales(HYPER, load, GROUP), *of_scales_of_kinds(HYPER, load, GROUP))
    known = next(one for one in every if found in one.sentence)
    told = hint(logits(known))
    assert told is not None
    # other matrices have rows of dim inputs anyway
    assert told.sentence in (known.sentence, known.sentence.replace("w2", "every matrix"))


def test_scales_between_right_ones_and_those_of_row_0_get_no_name() -> None:
    known = next(one for one in of_scales(HYPER, load, GROUP) if "every matrix by the scale of row 0" in one.sentence)
    half = replace(known, load=lambda name: (known.load(name) + load(name)) / 2)
    few = of_scales(HYPER, load, GROUP)
    far = Seen(TOKENS, logits(half), RIGHT, np.full_like(RIGHT, 1e-6), None, 0.01)
    assert min(far.left(logits(one)) for one in few) > 1
