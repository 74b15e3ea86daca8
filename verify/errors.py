"""What keeps a file from being judged at all, as opposed to being judged and failed."""

from __future__ import annotations


class CannotJudgeError(ValueError):
    """Bad input or an unsupported model. The message is one line: what, where, expected, found."""


class NotFiniteError(CannotJudgeError):
    """A NaN or an infinity in a source's tensor, at its own place there. verify() turns it into a failed check."""
