"""Explain how a field of a written tokenizer differs from the source's: each function knows one mistake.

An explanation changes the source's rules and must give exactly what was written; None if it does not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.tokenizers.pre_tokenizers import LETTERS
from verify.tokenizers.rules import NONE, SPACE, Rules

# A shift by more ids than this is no mistake that anybody is known to make.
_MOST_SHIFT = 512
_LETTER_OF = {byte: letter for letter, byte in LETTERS.items()}

Explain = Callable[[Rules, Rules], str | None]


def shifted(right: Rules, found: Rules) -> str | None:
    """Every piece stands k ids earlier or later."""
    a, b = right.pieces, found.pieces
    for k in range(1, min(_MOST_SHIFT, len(a) - 1)):
        for sign, (one, other) in ((1, (a, b)), (-1, (b, a))):
            common = min(len(one), len(other) - k)
            if common > len(a) // 2 and one[:common] == other[k : k + common]:
                return f"every piece stands {k} {'id' if k == 1 else 'ids'} {'late' if sign == 1 else 'early'}"
    return None


def swapped(right: Rules, found: Rules) -> str | None:
    wrong = [n for n, (a, b) in enumerate(zip(right.pieces, found.pieces, strict=False)) if a != b]
    if len(right.pieces) != len(found.pieces) or len(wrong) != 2:
        return None
    i, j = wrong
    swapped = right.pieces[i] == found.pieces[j] and right.pieces[j] == found.pieces[i]
    return f"the pieces of ids {i} and {j} are swapped" if swapped else None


def changed(change: Callable[[bytes], bytes], what: str) -> Explain:
    """Every ordinary piece is changed in one way, those without a change included."""

    def explain(right: Rules, found: Rules) -> str | None:
        made = tuple(piece if n in right.added else change(piece) for n, piece in enumerate(right.pieces))
        everywhere = tuple(map(change, right.pieces))
        return what if found.pieces in (made, everywhere) else None

    return explain


def letters(piece: bytes) -> bytes:
    return "".join(_LETTER_OF[byte] for byte in piece).encode()


def replaced(piece: bytes) -> bytes:
    """Return a piece as text in which bytes that are no characters were replaced."""
    return piece.decode(errors="replace").encode()


def stripped(piece: bytes) -> bytes:
    return piece.strip(b" ").removeprefix(SPACE.encode())


def without_nul(piece: bytes) -> bytes:
    return piece.split(b"\0", 1)[0]


def byte_pieces(right: Rules, found: Rules) -> str | None:
    """Pieces such as <0x0A> hold the byte itself."""
    names = {f"<0x{byte:02X}>".encode(): bytes([byte]) for byte in range(256)}
    made = tuple(names.get(piece, piece) for piece in right.pieces)
    return "byte pieces such as <0x0A> hold the byte instead of its name" if made == found.pieces else None


def tail(right: Rules, found: Rules) -> str | None:
    """The last pieces are missing: those of the added tokens, or more."""
    kept = len(found.pieces)
    while kept and not found.pieces[kept - 1]:
        kept -= 1
    if not 0 < kept < len(right.pieces) or found.pieces[:kept] != right.pieces[:kept]:
        return None
    lost = range(kept, len(right.pieces))
    if all(token in right.added for token in lost):
        return f"the added tokens from id {kept} on have no pieces: only the model's own vocabulary was written"
    return f"the pieces from id {kept} on are missing"


def missing_added(right: Rules, found: Rules) -> str | None:
    lost = right.added.keys() - found.added.keys()
    if not lost or any(right.added[token] != flags for token, flags in found.added.items() if token in right.added):
        return None
    if found.added.keys() - right.added.keys():
        return None
    if not found.added:
        return "no added token is in the file's list, so their texts are split like any other"
    names = ", ".join(name(right, token) for token in sorted(lost)[:4])
    return f"the list of added tokens lacks {names}{' and others' if len(lost) > 4 else ''}"


def more_added(right: Rules, found: Rules) -> str | None:
    more = found.added.keys() - right.added.keys()
    if not more or not right.added.items() <= found.added.items():
        return None
    return f"{name(found, min(more))} is in the list of added tokens and is none in the source"


def flags(right: Rules, found: Rules) -> str | None:
    if right.added.keys() != found.added.keys():
        return None
    lost = 0
    for token, flags in right.added.items():
        lost |= flags ^ found.added[token]
    names = ("special", "lstrip", "rstrip", "single_word", "normalized")
    return f"the flags of added tokens differ in {', '.join(n for bit, n in enumerate(names) if lost >> bit & 1)}"


def merges_cut(right: Rules, found: Rules) -> str | None:
    kept = len(found.merges)
    if kept >= len(right.merges) or found.merges != right.merges[:kept]:
        return None
    return f"the merges end after {kept} of {len(right.merges)}"


def merges_without_first(right: Rules, found: Rules) -> str | None:
    lost = len(right.merges) - len(found.merges)
    if lost <= 0 or found.merges != right.merges[lost:]:
        return None
    return (
        "the first merge is missing, as if it were a header" if lost == 1 else f"the first {lost} merges are missing"
    )


def merges_reversed(right: Rules, found: Rules) -> str | None:
    return "the merges stand in reverse order" if found.merges == right.merges[::-1] else None


def merges_mirrored(right: Rules, found: Rules) -> str | None:
    mirrored = tuple((b, a) for a, b in right.merges)
    return "left and right are exchanged in every merge" if found.merges == mirrored else None


def merges_ordered(right: Rules, found: Rules) -> str | None:
    """The same merges in another order, which is named where it is a known one."""
    if len(found.merges) != len(right.merges) or set(found.merges) != set(right.merges):
        return None
    by_text = tuple(sorted(right.merges, key=lambda pair: (right.pieces[pair[0]], right.pieces[pair[1]])))
    if found.merges == by_text:
        return "the merges are sorted by their text instead of their rank"
    token_of = {piece: token for token, piece in enumerate(right.pieces) if token not in right.added}
    by_id = sorted(right.merges, key=lambda pair: token_of.get(right.pieces[pair[0]] + right.pieces[pair[1]], NONE))
    if found.merges == tuple(by_id):
        return "the merges are sorted by the id that they make instead of their rank"
    wrong = [n for n, (a, b) in enumerate(zip(right.merges, found.merges, strict=True)) if a != b]
    if len(wrong) == 2:
        return f"merges {wrong[0]} and {wrong[1]} are swapped"
    return "the merges stand in another order than their ranks"


def scores(change: Callable[[NDArray[Any]], NDArray[Any]], what: str) -> Explain:
    def explain(right: Rules, found: Rules) -> str | None:
        if right.scores is None or found.scores is None or len(right.scores) != len(found.scores):
            return None
        with np.errstate(all="ignore"):
            made = change(np.array(right.scores, np.float32)).astype(np.float32)
        return what if np.array_equal(made, np.array(found.scores, np.float32)) else None

    return explain


def template_lost(right: Rules, found: Rules) -> str | None:
    return "the file has no chat template" if right.template and not found.template else None


def template_unasked(right: Rules, found: Rules) -> str | None:
    return "the file has a chat template and the source has none" if found.template and not right.template else None


def template_cut(right: Rules, found: Rules) -> str | None:
    cut = right.template.startswith(found.template) or right.template.strip() == found.template.strip()
    return "the chat template is the source's, cut" if cut else None


def template_of_another(right: Rules, found: Rules) -> str | None:
    """A template that names none of the markers that the source's names, or names pieces that the file lacks."""
    markers = {name(right, token) for token in right.added if name(right, token) in right.template}
    named = {marker for marker in markers if marker in found.template}
    if markers and not named:
        return "the chat template is that of another model: it names none of the source's special tokens"
    return None


def name(rules: Rules, token: int) -> str:
    return rules.pieces[token].decode(errors="replace") if token < len(rules.pieces) else str(token)
