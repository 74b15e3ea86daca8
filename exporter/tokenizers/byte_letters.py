"""GPT-2's letters: how vocabularies of byte-level tokenizers write the 256 bytes as printable characters."""

from __future__ import annotations

_PRINTABLE = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
_OTHERS = [byte for byte in range(256) if byte not in _PRINTABLE]
_BYTES = {chr(byte): byte for byte in _PRINTABLE} | {chr(256 + n): byte for n, byte in enumerate(_OTHERS)}


def bytes_of(letters: str) -> bytes | None:
    """Return the bytes that letters stand for, None where one of them stands for none."""
    if any(letter not in _BYTES for letter in letters):
        return None
    return bytes(_BYTES[letter] for letter in letters)
