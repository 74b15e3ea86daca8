"""Rows of a tensor are derived as the format stores them."""

from __future__ import annotations

import torch
from helpers.mistake_files import hyperparameters
from helpers.mistake_tables import SMALL

from verify.diagnosis.derivation import Rows, healthy
from verify.oracle.expected import parts

WEIGHTS = torch.arange(48.0).view(6, 8) - 20


def test_a_healthy_derivation_is_what_the_whole_tensor_has_in_these_rows() -> None:
    for storage in ("fp32", "fp16", "bf16", "q8_0"):
        whole = parts(WEIGHTS, storage, 4)
        rows = Rows("x", WEIGHTS, 2, 5, storage, 4, hyperparameters(SMALL[0]))
        assert torch.equal(rows.own, WEIGHTS[2:5])
        assert rows.numbers.tolist() == [2, 3, 4]
        found = healthy(rows)
        assert found.keys() == whole.keys()
        assert all(torch.equal(found[part], whole[part][2:5]) for part in whole)
        assert all(torch.equal(rows.stored(WEIGHTS[:3])[part], whole[part][:3]) for part in whole)
