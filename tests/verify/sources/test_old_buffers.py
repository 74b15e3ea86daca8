"""Buffers of old checkpoints: how far each number may be off, from both sides, and which shapes they have."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from verify.errors import CannotJudgeError
from verify.sources import old_buffers
from verify.sources.old_buffers import check_frequencies, check_mask, check_rotations, plain_frequencies
from verify.sources.source import Hyperparameters

MODEL = Hyperparameters(
    dim=24,
    hidden_dim=4,
    n_layers=1,
    n_heads=3,
    n_kv_heads=3,
    head_dim=8,
    vocab_size=3,
    max_seq_len=9,
    tied=True,
    norm_eps=1e-5,
    rope_theta=256.0,
)
# 256^(-2i / 8)
FREQUENCIES = torch.tensor([1.0, 0.25, 0.0625, 0.015625], dtype=torch.float64)
ANGLES = torch.outer(torch.arange(9.0, dtype=torch.float64), FREQUENCIES)
SLACK = 2.0**-20


def refused(check: Any, *given: Any) -> str:
    with pytest.raises(CannotJudgeError) as caught:
        check("a file", *given)
    return str(caught.value)


def test_plain_frequencies_are_powers_of_theta() -> None:
    assert torch.equal(plain_frequencies(MODEL), FREQUENCIES)
    assert torch.equal(plain_frequencies(dataclasses.replace(MODEL, head_dim=2)), FREQUENCIES[:1])


OTHERS = "a file: inv_freq: expected the frequencies of rope_theta 256 and head size 8, found others"


@pytest.mark.parametrize("pair", range(4))
@pytest.mark.parametrize("sign", [1, -1])
def test_a_frequency_may_be_off_by_its_2_to_the_minus_20(pair: int, sign: int) -> None:
    for share, fits in ((0.99, True), (1.01, False)):
        found = FREQUENCIES.clone()
        found[pair] *= 1 + sign * share * SLACK
        if fits:
            check_frequencies("a file", "inv_freq", found, MODEL)
            check_frequencies("a file", "inv_freq", found.view(1, 2, 2), MODEL)
        else:
            assert refused(check_frequencies, "inv_freq", found, MODEL) == OTHERS


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_a_stored_type_adds_one_step_of_it(dtype: torch.dtype) -> None:
    about = torch.finfo(dtype)
    # float32's own step is below the slack: 8 and 9 of them are just inside and outside of both together
    inside, outside = (1, 2) if about.eps > SLACK else (9, 10)
    for steps in (inside, -inside):
        found = (FREQUENCIES * (1 + steps * about.eps)).to(dtype)
        check_frequencies("a file", "inv_freq", found, MODEL)
    found = (FREQUENCIES * (1 + outside * about.eps)).to(dtype)
    assert refused(check_frequencies, "inv_freq", found, MODEL) == OTHERS


def test_a_number_too_small_for_its_type_may_be_off_by_the_smallest() -> None:
    model = dataclasses.replace(MODEL, head_dim=4, rope_theta=1e40)  # 1 and 1e-20
    least = 2.0**-24  # of float16
    for number in (0.0, least):
        check_frequencies("a file", "inv_freq", torch.tensor([1.0, number]).half(), model)
    for number in (2 * least, -2 * least):
        assert "found others" in refused(check_frequencies, "inv_freq", torch.tensor([1.0, number]).half(), model)


@pytest.mark.parametrize("count", [3, 5, 1])
def test_frequencies_are_one_a_pair(count: int) -> None:
    found = torch.ones(count, dtype=torch.float64)
    assert refused(check_frequencies, "inv_freq", found, MODEL) == OTHERS


def tables() -> dict[str, torch.Tensor]:
    cos, sin = ANGLES.cos(), ANGLES.sin()
    return {"freqs_cos": cos, "x.freqs_sin": sin, "freqs_cis": torch.stack((cos, sin), dim=-1)}


@pytest.mark.parametrize("block", [1, 4, 8, 12, 1 << 20])
@pytest.mark.parametrize("name", ["freqs_cos", "x.freqs_sin", "freqs_cis"])
def test_a_rotation_may_be_off_by_its_angle_and_one(monkeypatch: pytest.MonkeyPatch, name: str, block: int) -> None:
    """In every block, and by as much as float32's angle may be."""
    monkeypatch.setattr(old_buffers, "_BLOCK", block)
    right = tables()[name]
    check_rotations("a file", name, right, MODEL)
    check_rotations("a file", name, right[:4], MODEL)  # as long as some program made it
    if name == "freqs_cis":
        check_rotations("a file", name, torch.view_as_complex(right), MODEL)
    message = f"a file: {name}: expected rotations by rope_theta 256 of 4 pairs, found others"
    for position in (0, 1, 3, 8):
        for pair in (0, 3):
            for off in (0.99, -0.99, 1.01, -1.01):
                found = right.clone()
                # of freqs_cis the sines, which are the second part
                place = (position, pair, 1)[: found.dim()]
                found[place] += off * (ANGLES[position, pair] + 1) * SLACK
                if abs(off) < 1:
                    check_rotations("a file", name, found, MODEL)
                else:
                    assert refused(check_rotations, name, found, MODEL) == message
    if name == "freqs_cis":
        found = right.clone()
        found[2, 1, 0] += 1.01 * (ANGLES[2, 1] + 1) * SLACK
        assert refused(check_rotations, name, found, MODEL) == message


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("freqs_cos", (9, 5)),
        ("freqs_cos", (9, 3)),
        ("freqs_cos", (36,)),
        ("freqs_cos", (9, 4, 1)),
        ("freqs_cos", (9, 4, 2)),
        ("freqs_cis", (9, 4)),
        ("freqs_cis", (9, 4, 3)),
        ("freqs_cis", (9, 5, 2)),
    ],
)
def test_rotations_have_a_row_a_position(name: str, shape: tuple[int, ...]) -> None:
    message = f"a file: {name}: expected rotations by rope_theta 256 of 4 pairs, found the shape {shape}"
    assert refused(check_rotations, name, torch.zeros(shape), MODEL) == message


def mask(length: int) -> torch.Tensor:
    return torch.full((length, length), -torch.inf).triu(1)


@pytest.mark.parametrize("block", [1, 5, 10, 1 << 20])
def test_a_mask_is_causal_in_every_number(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(old_buffers, "_BLOCK", block)
    for length in (1, 2, 5):
        check_mask("a file", "mask", mask(length))
    check_mask("a file", "mask", mask(5).view(1, 1, 5, 5).half())
    message = "a file: mask: expected a causal mask: 0, and minus infinity above the diagonal, found other numbers"
    for row in range(5):
        for column in range(5):
            for other in (1.0, 0.0 if column > row else -torch.inf):
                wrong = mask(5)
                wrong[row, column] = other
                assert refused(check_mask, "mask", wrong) == message


@pytest.mark.parametrize("shape", [(9,), (1,), (2, 3), (3, 2), (2, 3, 3), (2, 4, 2), (2, 2, 4), (0, 0), (1, 9)])
def test_a_mask_is_one_square(shape: tuple[int, ...]) -> None:
    message = f"a file: mask: expected a causal mask, as long as it is wide, found the shape {shape}"
    assert refused(check_mask, "mask", torch.zeros(shape)) == message


@pytest.mark.parametrize("check", [check_mask, check_frequencies, check_rotations])
def test_a_buffer_is_dense_and_has_all_its_numbers(check: Any) -> None:
    model = [] if check is check_mask else [MODEL]
    for found in (torch.zeros(4, 4, dtype=torch.int32), torch.zeros(4, 4).to_sparse()):
        expected = "a file: freqs_cos: expected a dense float tensor, found otherwise"
        assert refused(check, "freqs_cos", found, *model) == expected
    for found in (torch.zeros(1).expand(4, 4), torch.zeros(9).as_strided((4, 4), (1, 1))):
        expected = "a file: freqs_cos: expected as many numbers as it has elements, found a view that repeats some"
        assert refused(check, "freqs_cos", found, *model) == expected
    assert "a view that repeats some" in refused(check, "freqs_cos", torch.zeros(4, 4, device="meta"), *model)


def test_a_buffer_may_be_a_part_of_more() -> None:
    whole = torch.zeros(3, 4, dtype=torch.float64)
    whole[1] = FREQUENCIES
    check_frequencies("a file", "inv_freq", whole[1], MODEL)
