"""Text of unknown origin, made safe for a terminal. Imports nothing, so that an early refusal is quick."""

from __future__ import annotations


def printable(text: str) -> str:
    """What a terminal would obey is shown instead, a line's end included: no name and no metadata can pass for a line
    of ours, or erase one."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
