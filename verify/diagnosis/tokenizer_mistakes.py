"""The table of mistakes with tokenizers: names, and the sentences of those that a field alone shows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from verify.diagnosis import tokenizer_fields as of
from verify.tokenizers.rules import NONE, SPACE, Rules


@dataclass(frozen=True)
class Explained:
    """A mistake that explains how a field of the file differs. field: of Rules."""

    field: str
    signature: str
    what: str


# field -> mistakes, tried one after another: name and explanation
MISTAKES: dict[str, Sequence[tuple[str, of.Explain]]] = {
    "pieces": (
        ("pieces-swapped", of.swapped),
        ("ids-shifted", of.shifted),
        ("pieces-as-letters", of.changed(of.letters, "pieces hold GPT-2's letters for bytes instead of the bytes")),
        (
            "pieces-replaced",
            of.changed(of.replaced, "U+FFFD replaces bytes that are parts of characters"),
        ),
        ("spaces-lost", of.changed(of.stripped, "pieces have lost the space that begins them")),
        ("space-not-marked", of.changed(lambda p: p.replace(SPACE.encode(), b" "), "pieces have a space for U+2581")),
        ("space-marked", of.changed(lambda p: p.replace(b" ", SPACE.encode()), "pieces have U+2581 for a space")),
        ("cut-at-nul", of.changed(of.without_nul, "pieces end at a zero byte, as strings of C do")),
        ("byte-pieces-decoded", of.byte_pieces),
        ("pieces-missing", of.tail),
    ),
    "added": (
        ("special-token-missing", of.missing_added),
        ("special-token-added", of.more_added),
        ("token-flags", of.flags),
    ),
    "merges": (
        ("merges-reversed", of.merges_reversed),
        ("merges-mirrored", of.merges_mirrored),
        ("merge-order", of.merges_ordered),
        ("merges-cut", of.merges_cut),
        ("first-merges-missing", of.merges_without_first),
    ),
    "scores": (
        ("scores-negated", of.scores(np.negative, "every score is negated")),
        ("scores-zero", of.scores(np.zeros_like, "every score is zero")),
        ("scores-halved", of.scores(lambda s: s.astype(np.float16), "scores were rounded to half precision")),
        ("scores-truncated", of.scores(np.trunc, "scores were truncated to integers")),
        ("scores-exponentiated", of.scores(np.exp, "scores are probabilities instead of their logarithms")),
        ("scores-are-ids", of.scores(lambda s: np.arange(len(s)), "scores are the ids")),
        ("scores-shifted", of.scores(lambda s: np.roll(s, 1), "every score is that of the id before")),
    ),
    "template": (
        ("template-missing", of.template_lost),
        ("template-unasked", of.template_unasked),
        ("template-cut", of.template_cut),
        ("template-of-another-model", of.template_of_another),
    ),
}

# switch -> (name, sentence) where the file lacks it, and where it has it unasked
SWITCHES: dict[str, tuple[tuple[str, str], tuple[str, str]]] = {
    "byte_fallback": (
        ("byte-fallback-missing", "unknown characters do not become byte pieces"),
        ("byte-fallback-unasked", "unknown characters become byte pieces, and the source's become unk"),
    ),
    "prefix": (
        ("dummy-prefix-missing", "no space is put before a text"),
        ("dummy-prefix-unasked", "a space is put before a text, and the source puts none"),
    ),
    "single_spaces": (
        ("extra-spaces-kept", "a text keeps repeated spaces and those at its ends, which the source's loses"),
        ("extra-spaces-removed", "a text loses repeated spaces and those at its ends, which the source's keeps"),
    ),
    "nfc": (
        ("nfc-missing", "a text is not normalized to NFC"),
        ("nfc-unasked", "a text is normalized to NFC, and the source does not normalize"),
    ),
    "digits": (
        ("digits-not-split", "digits are not split one by one"),
        ("digits-split", "digits are split one by one, and the source keeps them together"),
    ),
    "add_bos": (
        ("bos-missing", "a text does not begin with bos"),
        ("bos-unasked", "a text begins with bos, and the source's does not"),
    ),
    "add_eos": (
        ("eos-missing", "a text does not end with eos"),
        ("eos-unasked", "a text ends with eos, and the source's does not"),
    ),
    "ignore_merges": (
        ("ignore-merges-missing", "a word that is a piece goes through the merges"),
        ("ignore-merges-unasked", "a word that is a piece is taken whole, and the source merges it"),
    ),
}


def explanations(right: Rules, found: Rules, fields: Sequence[str]) -> Iterator[Explained]:
    """Yield for each field that differs the mistake that explains it, if the tables have one."""
    for field in fields:
        if field in SWITCHES:
            yield Explained(field, *SWITCHES[field][getattr(found, field)])
        elif field == "pre_tokenizer":
            what = f"texts are cut by the regular expression {found.pre_tokenizer} instead of {right.pre_tokenizer}"
            yield Explained(field, "wrong-regex", what)
        elif field in ("bos", "unk", "eos"):
            token, number = getattr(right, field), getattr(found, field)
            what = f"{field} is {_id(number)} instead of {_id(token)}"
            yield Explained(field, f"{field}-{'missing' if number == NONE else 'wrong'}", what)
        elif field == "ends":
            yield Explained(field, "end-ids-wrong", _ends(right, found))
        elif explained := _first(right, found, field):
            yield explained


def _first(right: Rules, found: Rules, field: str) -> Explained | None:
    for signature, explain in MISTAKES.get(field, ()):
        what = explain(right, found)
        if what is not None:
            return Explained(field, signature, what)
    return None


def _ends(right: Rules, found: Rules) -> str:
    lost = sorted({*right.ends} - {*found.ends})
    if lost:
        return f"{of.name(right, lost[0])} (id {lost[0]}) does not end a text"
    more = sorted({*found.ends} - {*right.ends})
    return f"{of.name(found, more[0])} (id {more[0]}) ends a text, and the source's does not"


def _id(token: int) -> str:
    return "none" if token == NONE else str(token)
