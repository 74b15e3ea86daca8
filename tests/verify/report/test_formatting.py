"""Metrics and free values in words."""

from __future__ import annotations

import dataclasses
import math

import pytest
from helpers.reports import METRICS

from verify.report.formatting import anything, config_in_words, describe


def test_metrics_are_one_line_with_what_they_cover() -> None:
    assert describe(METRICS) == (
        "24 positions; KL mean 0.001 (0.0005 to 0.002), max 0.02 nats; top-1 95.00%; largest logit error 0.4; "
        "perplexity 8.0000 -> 8.0010, ratio (0.999 to 1.001)"
    )
    bare = dataclasses.replace(METRICS, positions=1, kl_mean_ci=None, top1_agreement=0.999999, perplexity_source=None)
    assert describe(bare) == "1 position; KL mean 0.001, max 0.02 nats; top-1 99.9999%; largest logit error 0.4"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (0.123456789, "0.123457"),
        (math.nan, "nan"),
        ([1, (2.5, None)], "[1, [2.5, -]]"),
        ("x", "x"),
        (True, "True"),
    ],
)
def test_any_value_is_one_line(value: object, text: str) -> None:
    assert anything(value) == text


def test_layers_are_shown_by_their_kinds() -> None:
    seeing, local = {"windowed": False, "rope": "first"}, {"windowed": True, "rope": "second"}
    blind = {"windowed": False, "rope": "none"}
    config = {"dim": 8, "window": 4}
    assert config_in_words({**config, "layers": (seeing, seeing)}) == {**config, "layers": "all positions, RoPE"}
    assert config_in_words({**config, "layers": (local, local, seeing, blind)})["layers"] == (
        "the last 4 positions, the second RoPE: 0, 1; all positions, RoPE: 2; all positions, no RoPE: 3"
    )
    assert config_in_words(config) is config
