"""Find where what a saved report says of greedy text contradicts itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from verify.checks.certificates import GreedyText
from verify.checks.execution import LIMIT_SIGMAS


def contradictions_of(texts: Sequence[GreedyText]) -> Iterator[str]:
    """Yield each contradiction as "where: expected X, found Y"."""
    for number, text in enumerate(texts):
        where = f"greedy_texts: {number}"
        every = text.certain == text.tokens
        if text.certain > text.tokens:
            yield f"{where}: certain: expected at most its {text.tokens} tokens, found {text.certain}"
        elif every != (text.tie is None):
            expected, found = ("none", "one") if every else ("one", "none")
            yield f"{where}: tie: expected {expected}, as {text.certain} of {text.tokens} are certain, found {found}"
        elif text.tie is None and text.smallest_margin < LIMIT_SIGMAS:
            found = f"{text.smallest_margin:g}"
            yield f"{where}: smallest_margin: expected at least {LIMIT_SIGMAS:g}, as all are certain, found {found}"
        elif text.tie is not None and not text.smallest_margin <= text.tie.sigmas < LIMIT_SIGMAS:
            least = f"{text.smallest_margin:g}, the smallest margin"
            yield f"{where}: tie: sigmas: expected {least}, to {LIMIT_SIGMAS:g}, found {text.tie.sigmas:g}"
