"""TokenizerModel: everything that text to token ids and back depends on, whichever format it was read from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# "bytes": pieces are the text's bytes. "characters": SentencePiece's, in which U+2581 stands for a space.
Kind = Literal["bytes", "characters"]
Pattern = Literal["none", "gpt2", "llama3", "qwen2"]

# Larger than any vocabulary, and small enough that a wrong file is refused at once.
MOST_TOKENS = 1 << 24
LONGEST_PIECE = 1 << 16
MOST_TEMPLATE_BYTES = 1 << 20
# SentencePiece's sign for a space
SPACE = "\u2581"
# run.c merges only pairs whose score exceeds this
SCORE_FLOOR = -1e10


@dataclass(frozen=True)
class AddedToken:
    """A token that is found in the text before anything else, where its piece stands there as it is.

    special: a control token and not text. lstrip, rstrip: it takes the white space beside it. single_word: it counts
    only as a whole word. normalized: it is sought in the normalized text.
    """

    id: int
    special: bool = True
    lstrip: bool = False
    rstrip: bool = False
    single_word: bool = False
    normalized: bool = False


@dataclass(frozen=True)
class TokenizerModel:
    """One tokenizer.

    where: the file, for messages. pieces: by id, as bytes; an id without a piece has none. scores: by id, where they
    decide which pair merges, else None. merges: pairs of ids by rank. reserved: ids whose pieces no merge makes.
    pattern: the regular expression that cuts a text into words. begins_with_bos, ends_with_eos: what encoding adds.
    nfc: the text is normalized to NFC. digits: each digit is a word. space_first: a space is put before the text.
    byte_fallback: a character without a piece becomes tokens of its bytes, with pieces such as <0x0A>. whole_words: a
    word that is a piece is not merged. strips_spaces: SentencePiece's remove_extra_whitespaces. eos: the token that
    encoding appends. eos_ids: those at which generation stops. template: of a chat, in Jinja.
    """

    where: str
    kind: Kind
    pieces: tuple[bytes, ...]
    scores: tuple[float, ...] | None = None
    merges: tuple[tuple[int, int], ...] = ()
    added: tuple[AddedToken, ...] = ()
    reserved: frozenset[int] = frozenset()
    pattern: Pattern = "none"
    begins_with_bos: bool = False
    ends_with_eos: bool = False
    nfc: bool = False
    digits: bool = False
    space_first: bool = False
    byte_fallback: bool = False
    whole_words: bool = False
    strips_spaces: bool = False
    bos: int | None = None
    eos: int | None = None
    unk: int | None = None
    eos_ids: tuple[int, ...] = ()
    template: str = ""

    def shown(self, token: int) -> str:
        """Return an id with its piece, for messages: 7 'abc'."""
        text = self.pieces[token].decode(errors="backslashreplace")
        return f"{token} {text[:40]!a}"


def byte_piece(byte: int) -> bytes:
    """Return SentencePiece's piece for a byte that no character's piece covers: <0x0A>."""
    return f"<0x{byte:02X}>".encode()
