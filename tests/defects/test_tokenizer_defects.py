"""Mistakes of who writes a tokenizer, or encodes by it: caught at their place and named; healthy ones pass."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.defects.tokenizers import TOKENIZER_DEFECTS, TokenizerDefect, judged
from helpers.tokenizer_families import FAMILIES


@pytest.mark.parametrize("defect", TOKENIZER_DEFECTS, ids=str)
def test_a_defect_is_caught_where_it_is_and_named(tmp_path: Path, defect: TokenizerDefect) -> None:
    found = judged(defect, defect.family, tmp_path, defect.form)
    assert (found.status, found.field) == ("fail", defect.field), found.detail
    assert found.diagnosis == defect.diagnosis


@pytest.mark.parametrize("family", FAMILIES)
def test_a_healthy_block_passes(tmp_path: Path, family: str) -> None:
    found = judged(None, family, tmp_path)
    assert (found.status, found.field, found.diagnosis) == ("pass", None, None), found.detail


def test_a_healthy_tokenizer_bin_passes(tmp_path: Path) -> None:
    found = judged(None, "sentencepiece", tmp_path, "llama2c")
    assert (found.status, found.diagnosis) == ("pass", None), found.detail
