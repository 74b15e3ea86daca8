"""Numbers of a llama2.c checkpoint: float64 is read where float32 holds it, and refused where it does not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers.checkpoints import save, state_dict

from verify.errors import CannotJudgeError
from verify.sources import open_source

NAME = "layers.1.attention.wo.weight"


def test_float64_is_read_where_float32_holds_it(tmp_path: Path) -> None:
    state = state_dict()
    expected = state[NAME].clone()
    state[NAME] = expected.double()
    path = save(tmp_path, state)
    source = open_source(path)
    assert torch.equal(source.tensor(NAME), expected)
    assert (source.tensor(NAME).dtype, source.dtype(NAME)) == (torch.float32, "fp32")
    state[NAME][3, 2] = 1 + 2.0**-24
    source = open_source(save(tmp_path, state))
    with pytest.raises(CannotJudgeError) as caught:
        source.tensor(NAME)
    assert str(caught.value) == f"{path}: {NAME}: expected values that float32 can hold, found others"


def test_a_tensor_is_no_view_of_the_file(tmp_path: Path) -> None:
    source = open_source(save(tmp_path, state_dict()))
    first = source.tensor(NAME)
    first.zero_()
    assert torch.equal(source.tensor(NAME), state_dict()[NAME])
