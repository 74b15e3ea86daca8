"""RoPE's tables are cosines and sines, and a float32 table is within their bounds."""

from __future__ import annotations

import numpy as np
import torch
from helpers.mistake_files import hyperparameters
from helpers.models import config

from exporter import RopeScaling
from verify.operations.rope_tables import rope_tables


def test_the_tables_are_of_position_times_frequency() -> None:
    hyper = hyperparameters(config(rope_theta=500.0))
    cosine, sine = rope_tables(hyper, 9)
    half = hyper.head_dim // 2
    angle = torch.arange(9.0, dtype=torch.float64)[:, None] / 500 ** (torch.arange(half).double() / half)
    torch.testing.assert_close(cosine.exact, angle.cos(), rtol=0, atol=1e-14)
    torch.testing.assert_close(sine.exact, angle.sin(), rtol=0, atol=1e-14)


def test_a_table_in_float32_is_within_the_bound_and_one_of_the_next_position_is_not() -> None:
    hyper = hyperparameters(config())
    half = hyper.head_dim // 2
    frequency = 1 / np.float32(1e4) ** (np.arange(half, dtype=np.float32) / np.float32(half))
    angle = np.arange(10, dtype=np.float32)[:, None] * frequency
    for table, own in zip(rope_tables(hyper, 9), (np.cos(angle), np.sin(angle)), strict=True):
        made = torch.from_numpy(own.astype(np.float32)).double()
        assert ((made[:9] - table.exact).abs() <= table.bound).all()
        assert not ((made[1:] - table.exact).abs() <= table.bound).all()


def test_yarn_s_factor_is_part_of_the_table() -> None:
    scaling = RopeScaling("yarn", 4.0, 32, beta_fast=32.0, beta_slow=1.0, attention_factor=1.5, truncate=True)
    cosine, _ = rope_tables(hyperparameters(config(rope_scaling=scaling)), 3)
    assert cosine.exact[0].tolist() == [1.5] * (config().head_dim // 2)
