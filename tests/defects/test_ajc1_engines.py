"""Mistakes of an engine on a healthy file of qwen3.c's: each is caught at the operation that computes wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.broken_engines import Judge, build
from helpers.defects.engine import Patch
from helpers.defects.judging import save_source
from helpers.qwen3c import qwen3c_config, qwen3c_file
from helpers.reader_source import EPS

from verify.testing import random_arrays

pytestmark = pytest.mark.slow

MISTAKES = {
    "q_rotated": (("        if (p->format == RC_AJC1) {\n", "        if (p->format == RC_V3) {\n"),),
    "cosine": (("of_negative_power(config->rope_theta,", "of_negative_power(1e4,"),),
    "attention_norm": ((EPS, "1e-5f"),),
}


def test_a_wrong_engine_is_caught_where_it_computes_wrong(tmp_path: Path) -> None:
    model = qwen3c_config()
    weights = random_arrays(model, 0)
    file = qwen3c_file(tmp_path / "model.bin", model, weights)
    job = (save_source(tmp_path, model, weights, quick=True), file, 16)
    (tmp_path / "objects").mkdir()
    with Judge() as judge:
        for operation, pieces in MISTAKES.items():
            engine = build(Patch(pieces), tmp_path / operation, tmp_path / "objects")
            (found,) = judge.judge(engine, [job])
            where = found.finding("operations").where
            assert (where["layer"], where["operation"]) == (0, operation)
            assert found.blamed[:2] == ["operations", "execution"]
