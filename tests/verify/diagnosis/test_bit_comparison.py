"""A file is compared with its source bit by bit, and a mistake explains a tensor only by every bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.mistake_files import comparison, written
from helpers.mistake_seeds import patch_parts, to_parts
from helpers.mistake_tables import SMALL, healthy

from verify.diagnosis.conversions import changed, requantized, towards_zero
from verify.diagnosis.derivation import healthy as unchanged

NAME = "layers.1.feed_forward.w1.weight"
MODEL = SMALL[0]


@pytest.mark.parametrize("kind", ["v0", "v2", "v3-bf16"])
def test_a_healthy_file_differs_nowhere_and_no_mistake_explains_it(tmp_path: Path, kind: str) -> None:
    right = healthy(0, MODEL)
    with comparison(written(tmp_path / "x.bin", MODEL, right, kind), MODEL, right) as compared:
        for name in right:
            assert compared.first_difference(name) is None
            assert not compared.explains(name, unchanged)


def test_the_first_row_that_differs_is_found_to_the_bit(tmp_path: Path) -> None:
    right = healthy(0, MODEL)
    wrong = {**right, NAME: right[NAME].copy()}
    wrong[NAME][5, 3] = np.nextafter(wrong[NAME][5, 3], np.float32(9))
    with comparison(written(tmp_path / "x.bin", MODEL, wrong, "v0"), MODEL, right) as compared:
        assert compared.first_difference(NAME) == 5
        assert [name for name in right if compared.first_difference(name) is not None] == [NAME]


def test_a_mistake_explains_a_tensor_only_with_every_bit_of_every_part(tmp_path: Path) -> None:
    right = healthy(0, MODEL)
    path = written(tmp_path / "x.bin", MODEL, right, "v2")
    negate = changed("int8", change=lambda part: -part)
    patch_parts(path, [NAME], right, to_parts("int8", change=np.negative))
    with comparison(path, MODEL, right) as compared:
        assert compared.explains(NAME, negate)
        assert not compared.explains(NAME, requantized(steps=towards_zero))
    # one scale besides: no longer every bit
    patch_parts(path, [NAME], right, to_parts("scale", change=lambda scale: scale * np.float32(1 + 2**-23)))
    with comparison(path, MODEL, right) as compared:
        assert not compared.explains(NAME, negate)


def test_unknown_rows_must_be_few(tmp_path: Path) -> None:
    right = healthy(0, MODEL)
    wrong = {**right, NAME: right[NAME] * np.float32(2)}
    wrong[NAME][7] = 3.0
    double = changed("fp32", change=lambda part: part * 2)
    with comparison(written(tmp_path / "x.bin", MODEL, wrong, "v0"), MODEL, right) as compared:
        assert not compared.explains(NAME, double)
        assert compared.explains(NAME, double, unknown=1)
        # in a tensor of two rows, one unknown row is too many
        assert not compared._gives(NAME, double, 1, first=7, last=9)
