"""Define the rules of a tokenizer as plain values, whichever file they were read from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

# Flags of an added token.
SPECIAL, STRIPS_LEFT, STRIPS_RIGHT, WHOLE_WORD, NORMALIZED = 1, 2, 4, 8, 16
NONE = -1

# The space of SentencePiece's pieces.
SPACE = "\u2581"

PreTokenizer = Literal["none", "gpt2", "llama3", "qwen2"]


@dataclass(frozen=True)
class Rules:
    """Holds everything that decides how a text is encoded, and how a conversation becomes text.

    kind: "bytes" for byte-level BPE, whose pieces are the bytes themselves; "characters" for SentencePiece's.
    pieces: by id; an id without a piece is empty. merges: ids of the left and the right piece, by rank.
    scores: by id; they decide which pair merges where there are no merges. added: id -> flags of the tokens that are
    found in a text before anything else. ignore_merges: a pre-token that is a piece is taken whole. digits: every
    digit is a pre-token. prefix: a space is put before the text. byte_fallback: characters without a piece become
    the pieces of their bytes. single_spaces: of neighbouring spaces one stays, and none at the ends of a text, as
    SentencePiece's remove_extra_whitespaces has it. eos: the id that add_eos appends. ends: the ids that end a text.
    """

    kind: Literal["bytes", "characters"]
    pieces: tuple[bytes, ...]
    merges: tuple[tuple[int, int], ...] = ()
    scores: tuple[float, ...] | None = None
    added: Mapping[int, int] = field(default_factory=dict)
    pre_tokenizer: PreTokenizer = "none"
    ignore_merges: bool = False
    add_bos: bool = False
    add_eos: bool = False
    nfc: bool = False
    digits: bool = False
    prefix: bool = False
    byte_fallback: bool = False
    single_spaces: bool = False
    bos: int = NONE
    unk: int = NONE
    eos: int = NONE
    ends: tuple[int, ...] = ()
    template: str = ""


# Fields that are either on or off, with the words for them.
SWITCHES = {
    "ignore_merges": "a pre-token that is a piece is taken whole",
    "add_bos": "encoding begins with bos",
    "add_eos": "encoding ends with eos",
    "nfc": "the text is normalized to NFC",
    "digits": "every digit is a pre-token of its own",
    "prefix": "a space is put before the text",
    "byte_fallback": "unknown characters become byte pieces",
    "single_spaces": "repeated spaces and those at the ends of a text are removed",
}


@dataclass(frozen=True)
class SourceRules:
    """Holds the rules of a source's tokenizer, and what a written tokenizer may say instead of them.

    Some sources name an id in one of their files and another, or none, in the next: bos, unk, eos and ends are the
    ids that a file may have besides the rules' own. pieces: other names for ids that the source does not name itself.
    more_merges: whether pairs may stand among the merges that no text can ever reach.
    """

    rules: Rules
    bos: frozenset[int] = frozenset()
    unk: frozenset[int] = frozenset()
    eos: frozenset[int] = frozenset()
    ends: frozenset[int] = frozenset()
    pieces: Mapping[int, frozenset[bytes]] = field(default_factory=dict)
    more_merges: bool = False


class NotHeldError(Exception):
    """A tokenizer says something that no format of this project can hold; the message says what."""
