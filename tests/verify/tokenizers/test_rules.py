"""The rules of a source's tokenizer: what they allow where nothing else is said."""

from __future__ import annotations

from verify.tokenizers.rules import Rules, SourceRules

RULES = Rules(kind="bytes", pieces=(b"a",))


def test_a_source_allows_nothing_but_its_own_rules_unless_it_says_so() -> None:
    found = SourceRules(RULES)
    assert (found.rules, found.bos, found.unk, found.eos, found.ends) == (RULES, *[frozenset()] * 4)
    assert (found.pieces, found.more_merges) == ({}, False)
    assert found == SourceRules(RULES) != SourceRules(RULES, more_merges=True)
