"""Read the added tokens of Hugging Face's tokenizers, strictly."""

from __future__ import annotations

from exporter.errors import CheckpointError
from exporter.strict_json import shown
from exporter.tokenizers.model import LONGEST_PIECE, MOST_TOKENS, AddedToken

_FLAGS = ("special", "lstrip", "rstrip", "single_word", "normalized")


def read_added_token(where: str, token: object, entry: object) -> tuple[str, AddedToken]:
    """Return an added token's text and itself. Raises CheckpointError, which begins with where."""
    if not isinstance(entry, dict):
        raise CheckpointError(f"{where}: expected an object, found {shown(entry)}")
    text = entry.get("content")
    if not isinstance(text, str) or not 1 <= len(encoded(f"{where}: content", text)) <= LONGEST_PIECE:
        raise CheckpointError(f"{where}: content: expected a text of 1 to {LONGEST_PIECE} bytes, found {shown(text)}")
    if isinstance(token, bool) or not isinstance(token, int) or not 0 <= token < MOST_TOKENS:
        raise CheckpointError(f"{where}: id: expected 0 to {MOST_TOKENS - 1}, found {shown(token)}")
    flags = {name: entry.get(name, False) for name in _FLAGS}
    for name, value in flags.items():
        if not isinstance(value, bool):
            raise CheckpointError(f"{where}: {name}: expected true or false, found {shown(value)}")
    return text, AddedToken(token, **flags)


def encoded(where: str, text: str) -> bytes:
    """Return a text as UTF-8. Raises CheckpointError for one that JSON made of half a character."""
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise CheckpointError(f"{where}: expected text that UTF-8 can express, found {shown(text)}") from error
