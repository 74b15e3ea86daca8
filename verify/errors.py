"""What keeps a file from being judged at all, as opposed to being judged and failed."""

from __future__ import annotations


class CannotJudgeError(ValueError):
    """Bad input or an unsupported model. The message is one line: what, where, expected, found."""
