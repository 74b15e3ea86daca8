"""Diagnose a written tokenizer that differs from the source's: which known mistake gives what was written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from verify.diagnosis.result import Diagnosis
from verify.diagnosis.tokenizer_mistakes import explanations
from verify.tokenizers.plain_files import PlainTokens
from verify.tokenizers.rules import Rules, SourceRules

# Fields whose difference follows from that of the pieces: ids that moved move everywhere.
_OF_IDS = ("added", "merges", "scores", "bos", "unk", "eos", "ends")
_MOVED = ("ids-shifted", "pieces-swapped", "pieces-missing")


def diagnose_tokenizer(expected: SourceRules, found: Rules | PlainTokens, fields: Sequence[str]) -> Diagnosis | None:
    """Return what was most likely done wrong; None where no known mistake gives what was written.

    expected: in the form of the file. fields: those that differ, in their order.
    """
    right = expected.rules
    written = found if isinstance(found, Rules) else _as_rules(right, found)
    known = list(explanations(right, written, fields))
    # a mistake that explains only what may follow from the first difference is not named
    if not known or known[0].field != fields[0]:
        return None
    signature = known[0].signature
    rest = [field for field in fields if field not in {one.field for one in known}]
    if signature in _MOVED:
        known, rest = known[:1], [field for field in rest if field not in _OF_IDS]
    sentence = f"the tokenizer: {'; '.join(one.what for one in known)}"
    if rest:
        sentence += f"; this leaves {', '.join(rest)} unexplained"
    return Diagnosis(signature, sentence, (), len(known) / (len(known) + len(rest)))


def _as_rules(right: Rules, found: PlainTokens) -> Rules:
    """Return the source's rules with what a plain file states of them."""
    scores = found.scores if right.scores is None else found.scores[: len(right.scores)]
    bos = right.bos if found.bos is None else found.bos
    eos = right.eos if found.eos is None else found.eos
    return replace(right, pieces=found.pieces, scores=scores, bos=bos, eos=eos)
