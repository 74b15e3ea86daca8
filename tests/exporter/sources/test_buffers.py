"""Buffers of old checkpoints: how far each number may be off, from both sides, and which shapes they have."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from helpers.models import config

import exporter
from exporter.sources import buffers
from exporter.sources.buffers import check_buffer, check_table, is_buffer, note_of

# frequencies 1, 1/4, 1/16 and 1/64
MODEL = config(rope_theta=256.0)
FREQUENCIES = np.array([1, 0.25, 0.0625, 0.015625])
ANGLES = np.outer(np.arange(9.0), FREQUENCIES)
SLACK = 2.0**-19
Array = np.ndarray[Any, Any]


def check(name: str, found: Array, model: exporter.ModelConfig = MODEL) -> None:
    flat = found.reshape(-1, found.shape[-1]) if found.ndim else found.reshape(1, 1)
    check_buffer("here", name, found.shape, lambda rows: flat[rows.start : rows.stop], model)


def refused(name: str, found: Array, model: exporter.ModelConfig = MODEL) -> str:
    with pytest.raises(exporter.CheckpointError) as caught:
        check(name, found, model)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("rotary_emb.inv_freq", True),
        ("a.b.rotary_emb.inv_freq", True),
        ("rope.freqs", True),
        ("freqs_cos", True),
        ("x.freqs_sin", True),
        ("freqs_cis", True),
        ("layers.0.attention.mask", True),
        ("attn.mask", True),
        ("my_rotary_emb.inv_freq", False),
        ("freqs", False),
        ("freqs_tan", False),
        ("mask", False),
        ("rope.freqs.weight", False),
    ],
)
def test_buffers_are_known_by_name(name: str, is_one: bool) -> None:
    assert is_buffer(name) == is_one


@pytest.mark.parametrize("name", ["rotary_emb.inv_freq", "rope.freqs"])
@pytest.mark.parametrize("pair", range(4))
def test_a_frequency_may_be_off_by_its_2_to_the_minus_19(name: str, pair: int) -> None:
    for off in (0.99, -0.99, 1.01, -1.01):
        found = FREQUENCIES.copy()
        found[pair] *= 1 + off * SLACK
        if abs(off) < 1:
            check(name, found)
        else:
            assert refused(name, found) == (
                f"here: expected RoPE's frequencies for theta = 256, {FREQUENCIES[pair]:.9g} at [{pair}], "
                f"found {found[pair]:.9g}"
            )


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_a_stored_type_adds_half_a_step_of_it(dtype: Any) -> None:
    eps = float(ml_dtypes.finfo(dtype).eps)  # type: ignore[no-untyped-call]
    # between two numbers of the type: both are as near
    model = config(rope_theta=float((4 / (1 + eps / 2)) ** 4))
    exact = np.array([model.rope_theta ** (-pair / 4) for pair in range(4)])
    nearest = exact.astype(dtype)
    check("rope.freqs", nearest, model)
    for pair in range(1, 4):
        for factor in (1 + 1.6 * eps, 1 - 1.6 * eps):
            far = exact.copy()
            far[pair] *= factor
            assert "expected RoPE's frequencies" in refused("rope.freqs", far.astype(dtype), model)


def test_a_number_too_small_for_its_type_may_be_off_by_half_the_smallest() -> None:
    model = config(head_dim=4, rope_theta=1e20)  # 1 and 1e-10
    check("rope.freqs", np.array([1, 0], np.float16), model)
    assert "1e-10 at [1], found 5.96046448e-08" in refused("rope.freqs", np.array([1, 2.0**-24], np.float16), model)
    # 0.9 of half of the smallest rounds to 0, and not to the smallest
    model = config(head_dim=4, rope_theta=(0.9 * 2.0**-25) ** -2)
    check("rope.freqs", np.array([1, 0], np.float16), model)
    assert "at [1]" in refused("rope.freqs", np.array([1, 2.0**-24], np.float16), model)


def test_frequencies_may_be_scaled_or_not() -> None:
    model = config(rope_theta=256.0, rope_scaling=exporter.RopeScaling("linear", factor=2.0))
    check("rope.freqs", FREQUENCIES, model)
    check("rope.freqs", FREQUENCIES / 2, model)
    # told by the scaled ones
    found = refused("rope.freqs", FREQUENCIES / 4, model)
    assert found == "here: expected RoPE's frequencies for theta = 256, 0.5 at [0], found 0.25"


@pytest.mark.parametrize("shape", [(3,), (5,), (1, 4), (2, 2)])
def test_frequencies_are_one_a_pair(shape: tuple[int, ...]) -> None:
    assert refused("rope.freqs", np.ones(shape)) == (
        f"here: expected 4 frequencies, as config has pairs, found shape {shape}"
    )


@pytest.mark.parametrize("block", [1, 4, 8, 12, 1 << 20])
@pytest.mark.parametrize("name", ["freqs_cos", "a.freqs_sin", "freqs_cis"])
def test_a_rotation_may_be_off_by_its_angle(monkeypatch: pytest.MonkeyPatch, name: str, block: int) -> None:
    """And by a step of 1, of the type that it is stored in, in every block and both parts."""
    monkeypatch.setattr(buffers, "_BLOCK", block)
    both = np.exp(1j * ANGLES)
    right = {"freqs_cos": both.real, "a.freqs_sin": both.imag, "freqs_cis": both}[name]
    check(name, right)
    check(name, right[:4])
    for position in (0, 1, 3, 8):
        for pair in (0, 3):
            for off in (0.99, -0.99, 1.01, -1.01):
                for unit in (1, 1j) if name == "freqs_cis" else (1,):
                    amount = ANGLES[position, pair] * SLACK * off + np.sign(off) * 2.0**-53
                    found = right.copy()
                    found[position, pair] += amount * unit
                    if abs(off) < 1:
                        check(name, found)
                    elif position:
                        message = refused(name, found)
                        assert message.startswith("here: expected RoPE's table for theta = 256, ")
                        assert f" at [{position}, {pair}], found " in message


def test_a_table_in_half_precision_may_be_off_by_its_step() -> None:
    check("freqs_cos", np.cos(ANGLES).astype(np.float16))
    check("freqs_cos", np.cos(ANGLES).astype(np.float32))
    for steps in (1, 2, 3, 4):
        found = np.cos(ANGLES).astype(np.float16)
        found[0, 2] = 1 - steps * 2.0**-11
        if steps <= 2:
            check("freqs_cos", found)
        else:
            assert refused("freqs_cos", found) == (
                f"here: expected RoPE's table for theta = 256, 1 at [0, 2], found {1 - steps * 2.0**-11:.9g}"
            )


def test_the_first_number_that_is_wrong_is_told() -> None:
    table = np.cos(ANGLES)
    table[3:, 1:] = 7
    assert " at [3, 1], found 7" in refused("freqs_cos", table)
    wrong = mask(5)
    wrong[2:, 1:] = 7
    assert " at [2, 1], found 7" in refused("attn.mask", wrong)


@pytest.mark.parametrize("shape", [(9, 3), (9, 5), (36,), (9, 4, 1), (1, 9, 4)])
def test_a_table_has_a_row_a_position(shape: tuple[int, ...]) -> None:
    assert refused("freqs_cos", np.zeros(shape)) == (
        f"here: expected rows of 4, as config has pairs, found shape {shape}"
    )
    with pytest.raises(exporter.CheckpointError, match="expected rows of 4"):
        check_table("here", "freqs_sin", shape, lambda _rows: np.zeros(shape), MODEL)


def mask(length: int) -> Array:
    return np.triu(np.full((length, length), -np.inf), 1)


@pytest.mark.parametrize("block", [1, 5, 10, 1 << 20])
def test_a_mask_is_causal_in_every_number(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(buffers, "_BLOCK", block)
    for length in (1, 2, 5):
        check("attention.mask", mask(length))
    check("attn.mask", mask(5)[None, None].astype(np.float16))
    for row in range(5):
        for column in range(5):
            future = column > row
            for other in (1.0, 0.0 if future else -np.inf):
                wrong = mask(5)
                wrong[row, column] = other
                assert refused("attention.mask", wrong) == (
                    f"here: expected a causal mask, {'-inf' if future else '0'} at [{row}, {column}], found {other:g}"
                )


@pytest.mark.parametrize("shape", [(), (9,), (2, 3), (3, 2), (2, 3, 3), (2, 1, 3, 3)])
def test_a_mask_is_one_square(shape: tuple[int, ...]) -> None:
    assert refused("attention.mask", np.zeros(shape)) == f"here: expected a square mask, found shape {shape}"
    check_buffer("here", "attention.mask", (0, 0), lambda _rows: np.zeros((0, 0)), MODEL)


@pytest.mark.parametrize(
    ("names", "note"),
    [
        (["a.rotary_emb.inv_freq", "b.rotary_emb.inv_freq"], "2 buffers (rotary_emb.inv_freq)"),
        (["x.freqs_sin", "freqs_cos"], "2 buffers (freqs_cos, x.freqs_sin)"),
    ],
)
def test_the_note_counts_buffers(names: list[str], note: str) -> None:
    assert note_of([]) == []
    assert note_of(names) == [f"left out, since they hold what follows from the config: {note}"]
