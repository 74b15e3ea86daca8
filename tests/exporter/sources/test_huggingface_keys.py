"""The exporter's table of keys that transformers reads, for every family."""

from __future__ import annotations

import pytest
from helpers.config_keys import FAMILIES, recorded

from exporter import families
from exporter.sources.huggingface_keys import READ


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_the_table_lists_what_transformers_reads(family: str) -> None:
    assert READ[family] == recorded(family), "run python tests/campaigns/config_keys.py, and say what a new key means"


def test_every_family_has_a_table_whose_keys_are_understood_or_must_be_the_default() -> None:
    assert families.FAMILIES.keys() == READ.keys() == set(FAMILIES)
    for name, family in families.FAMILIES.items():
        own = f"{family.understood} {family.without_effect}".split()
        # what a family understands, transformers reads
        assert READ[name].issuperset(set(own) - {"embd_pdrop"}), name
