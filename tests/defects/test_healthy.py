"""Healthy exports of any model, in every format and storage: no check blames them."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from helpers.defects.healthy import STORAGES, judged
from helpers.defects.kinds import FORMATS, TOYS
from helpers.models import LEGACY_FORMATS
from hypothesis import given, settings
from hypothesis import strategies as st

from verify.testing import configs

CHECKS = ("config", "file", "tensors", "operations", "execution", "storage", "quantization")


@pytest.mark.parametrize("format_name", FORMATS)
def test_a_healthy_file_of_each_toy_passes_every_check(tmp_path: Path, format_name: str) -> None:
    for model in TOYS:
        found = judged(model, FORMATS[format_name], 0, tmp_path)
        assert tuple(found.checks) == CHECKS
        assert {finding.status for finding in found.checks.values()} == {"pass"}, (model, found)


@settings(max_examples=max(20, settings().max_examples // 3))
@given(st.data())
def test_no_check_but_policy_blames_any_healthy_export(data: st.DataObject) -> None:
    """What quantization costs a random model of a few dimensions is no matter of law."""
    # one token more than a window of two, the shortest that is judged
    if data.draw(st.booleans()):
        model = data.draw(configs(least_positions=3))
        options: dict[str, object] = {"format": data.draw(st.sampled_from(LEGACY_FORMATS))}
    else:
        switches = {"head_sizes": True, "scalings": True, "biases": True, "activations": True, "numbers": True}
        model = data.draw(configs(least_positions=3, **switches))
        options = {"format": "v3", "storage": data.draw(st.sampled_from(STORAGES))}
    with tempfile.TemporaryDirectory() as directory:
        found = judged(model, options, data.draw(st.integers(0, 99)), Path(directory))
    blamed = [name for name in CHECKS if found.status(name) != "pass"]
    lossy = options["format"] in ("v1", "v2") or options.get("storage") not in (None, "source", "fp32")
    assert blamed in ([], ["quantization"]) if lossy else blamed == [], (model, options, found)
