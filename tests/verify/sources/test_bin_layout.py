"""Where everything lies in llama2.c's .bin files, counted by hand, and which counts make a model."""

from __future__ import annotations

import dataclasses
import struct
from math import prod

import pytest
from helpers.models import config, hyperparameters

from verify.sources.bin_layout import (
    Layout,
    is_llama2c_bin,
    layout_v0,
    layout_v1,
    layout_v2,
    matrix_elements,
    model_of,
    parameters,
    size_of_q8,
    size_of_v0,
    v0_model,
)
from verify.sources.source import Hyperparameters

# dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size, max_seq_len
COUNTS = (48, 40, 3, 6, 3, 29, 33)
MODEL = hyperparameters(config(n_layers=3))
TIED = dataclasses.replace(MODEL, tied=True)
NORMS = ["attention_norm", "ffn_norm"]
ATTENTION = ["attention.wq", "attention.wk", "attention.wv", "attention.wo"]
FEED_FORWARD = ["feed_forward.w1", "feed_forward.w2", "feed_forward.w3"]
ELEMENTS = {
    **{"tok_embeddings": 29 * 48, "output": 29 * 48, "norm": 48, "attention_norm": 48, "ffn_norm": 48},
    **{"attention.wq": 48 * 48, "attention.wk": 24 * 48, "attention.wv": 24 * 48, "attention.wo": 48 * 48},
    **{"feed_forward.w1": 40 * 48, "feed_forward.w2": 48 * 40, "feed_forward.w3": 40 * 48},
}
A_LAYER = 2 * 48 * 48 + 2 * 24 * 48 + 3 * 40 * 48
TABLE = 33 * 4


def of_layers(kinds: list[str]) -> list[tuple[str, int]]:
    return [(f"layers.{number}.{kind}.weight", ELEMENTS[kind]) for kind in kinds for number in range(3)]


def outer(name: str) -> tuple[str, int]:
    return f"{name}.weight", ELEMENTS[name]


def in_a_row(first: int, tensors: list[tuple[str, int]]) -> tuple[dict[str, int], int]:
    """Offsets in bytes of float32, one behind the other, and the end."""
    found = {}
    for name, elements in tensors:
        found[name] = first
        first += 4 * elements
    return found, first


def test_a_model_is_its_seven_counts_and_what_the_formats_imply() -> None:
    # their representations, because integers must stay integers
    assert repr(model_of(COUNTS, shared=False)) == repr(MODEL)
    assert repr(model_of(COUNTS, shared=True)) == repr(TIED)
    smallest = model_of((2, 1, 1, 1, 1, 1, 1), shared=True)
    assert smallest is not None
    assert (smallest.dim, smallest.head_dim, smallest.hidden_dim) == (2, 2, 1)


@pytest.mark.parametrize(
    "counts",
    [
        *(tuple(0 if number == at else count for number, count in enumerate(COUNTS)) for at in range(7)),
        (48, 40, 3, 7, 1, 29, 33),  # no whole heads
        (48, 40, 3, 16, 4, 29, 33),  # heads of 3
        (48, 40, 3, 6, 4, 29, 33),  # kv heads that do not share the heads evenly
        (48, 40, 3, 6, 12, 29, 33),
    ],
)
def test_other_counts_are_no_model(counts: tuple[int, ...]) -> None:
    assert model_of(counts, shared=True) is None


@pytest.mark.parametrize("model", [MODEL, TIED])
def test_v0_lies_as_llama2_c_writes_it(model: Hyperparameters) -> None:
    kinds = ["attention_norm", *ATTENTION, "ffn_norm", *FEED_FORWARD]
    numbers, at = in_a_row(28, [outer("tok_embeddings"), *of_layers(kinds), outer("norm")])
    tables = {"freqs_cos": at, "freqs_sin": at + 4 * TABLE}
    at += 8 * TABLE
    if not model.tied:
        numbers["output.weight"] = at
        at += 4 * 29 * 48
    assert repr(layout_v0(model)) == repr(Layout(model, 0, numbers, {}, tables, at, halved=False))
    assert size_of_v0(model) == at


@pytest.mark.parametrize("model", [MODEL, TIED])
def test_v1_and_v2_lie_as_llama2_c_writes_them(model: Hyperparameters) -> None:
    head = [*of_layers(NORMS), outer("norm")]
    matrices = [outer("tok_embeddings"), *of_layers(ATTENTION + FEED_FORWARD)]
    matrices += [] if model.tied else [outer("output")]
    numbers, size = in_a_row(256, [*head, *matrices])
    assert repr(layout_v1(model, 0)) == repr(Layout(model, 0, numbers, {}, {}, size))

    norms, at = in_a_row(256, head)
    first = second = at
    apart, together = dict(norms), dict(norms)
    scales, behind = {}, {}
    for name, elements in matrices:
        apart[name] = first
        first += elements
        together[name], behind[name] = second, second + elements
        second += elements + elements // 8 * 4
    for name, elements in matrices:
        scales[name] = first
        first += elements // 8 * 4
    assert repr(layout_v1(model, 8)) == repr(Layout(model, 8, apart, scales, {}, first))
    assert repr(layout_v2(model, 8)) == repr(Layout(model, 8, together, behind, {}, second, halved=False))
    assert first == second


def test_weights_are_counted() -> None:
    assert matrix_elements(TIED) == 29 * 48 + 3 * A_LAYER
    assert matrix_elements(MODEL) == 2 * 29 * 48 + 3 * A_LAYER
    assert parameters(MODEL) == matrix_elements(MODEL) + 7 * 48
    for model in (MODEL, TIED):
        assert parameters(model) == sum(map(prod, model.shapes().values()))


@pytest.mark.parametrize("vocab_size", [29, -29])
def test_a_v0_has_just_the_size_of_its_counts(vocab_size: int) -> None:
    header = struct.pack("<7i", *COUNTS[:5], vocab_size, 33)
    model = TIED if vocab_size > 0 else MODEL
    assert v0_model(header) == v0_model(header + bytes(9)) == model
    size = 28 + 4 * (3 * A_LAYER + 7 * 48 + (1 if vocab_size > 0 else 2) * 29 * 48 + 33 * 8)
    assert [is_llama2c_bin(header, size + off) for off in (-1, 0, 1)] == [False, True, False]
    assert v0_model(header[:27]) is None
    assert not is_llama2c_bin(header[:27], size)
    assert v0_model(struct.pack("<7i", *COUNTS[:5], 0, 33)) is None
    for one in (1, -1):
        least = v0_model(struct.pack("<7i", *COUNTS[:5], one, 33))
        assert least is not None
        assert (least.vocab_size, least.tied) == (1, one > 0)


@pytest.mark.parametrize(("version", "known"), [(0, False), (1, True), (2, True), (3, False), (257, False)])
def test_v1_and_v2_begin_with_the_magic_and_their_version(version: int, known: bool) -> None:
    beginning = b"24ka" + struct.pack("<2i", version, 48)
    assert is_llama2c_bin(beginning, 12) == known
    assert not is_llama2c_bin(b"25ka" + struct.pack("<i", version), 8)


@pytest.mark.parametrize("group_size", [8, 7, 100_000])
def test_the_size_of_a_q8_file_is_that_of_its_layouts(group_size: int) -> None:
    """Where no group divides the matrices, a damaged header says so: the size is still a whole number."""
    for model in (MODEL, TIED):
        matrices = (1 if model.tied else 2) * 29 * 48 + 3 * A_LAYER
        expected = 256 + 4 * 7 * 48 + matrices + 4 * (matrices // group_size)
        assert repr(size_of_q8(model, group_size)) == repr(expected)
    assert size_of_q8(MODEL, 8) == layout_v1(MODEL, 8).size
