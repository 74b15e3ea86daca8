"""Draw texts on which tokenizers differ: scripts, spaces, digits, emoji, marks, control characters, added tokens."""

from __future__ import annotations

import random
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from functools import cache

from verify.tokenizers.rules import SPACE, SourceRules

# How many texts each depth compares.
TEXTS = {"quick": 2_000, "standard": 20_000, "full": 200_000}

_MOST_PARTS = 12
_MOST_OF_A_LINE = 200

_FIXED = (
    "",
    "a",
    " ",
    "\n",
    "  two  spaces ",
    "It's 1234567 DON'T we'Ll, they'VE I'm",
    "caf\u00e9 cafe\u0301 A\u030a \u212b \uac00 \u1100\u1161 q\u0323\u0307 q\u0307\u0323",
    "\U0001f469\u200d\U0001f680 \U0001f1e9\U0001f1ea \u2764\ufe0f \U0001f44d\U0001f3fd",
    "tab\tline\r\nnext\n\n\nlast \u00a0\u2003\u3000 \u2028 \u2029",
    "\u0661\u0662\u0663 \u00bd \u2167 \u4e94 1st 3.14 1,000,000",
    "<0x41> <unk> <s> [INST] <|x|>",
    "\x01\x1f\x7f\x85\ufeff\u200b\ufffd",
)
_SPACES = (
    " ",
    "  ",
    "   ",
    "\t",
    "\n",
    "\n\n",
    "\r\n",
    "\r",
    " \n ",
    "\u00a0",
    "\u2003",
    "\u3000",
    "\u200b",
    "\x0b",
    "\x85",
)
_ENDINGS = ("'s", "'t", "'re", "'ve", "'m", "'ll", "'d", "'S", "'LL", "\u2019s", "'", "n't")
_EMOJI = (
    "\U0001f600",
    "\U0001f469\u200d\U0001f680",
    "\u2764\ufe0f",
    "\U0001f1e9\U0001f1ea",
    "\U0001f44d\U0001f3fd",
    "\u200d",
)
_MARKS = tuple(
    chr(code) for code in (0x300, 0x301, 0x302, 0x308, 0x30A, 0x323, 0x327, 0x5B0, 0x64B, 0x93C, 0xE38, 0x3099)
)
_BASES = "aeiouqAOnc\u05d0\u0628\u0915\u304b\u1100\u1161\u11a8\u212b\u2126\u0958\uf900"
# First and last code points of scripts and signs.
_RANGES = (
    (0x20, 0x7E),
    (0xA1, 0x17F),
    (0x370, 0x3FF),
    (0x400, 0x45F),
    (0x5D0, 0x5EA),
    (0x621, 0x64A),
    (0x660, 0x669),
    (0x905, 0x939),
    (0xE01, 0xE3A),
    (0x1100, 0x11FF),
    (0x2000, 0x206F),
    (0x2150, 0x2189),
    (0x3041, 0x30FF),
    (0x4E00, 0x9FA5),
    (0xAC00, 0xD7A3),
    (0x1D400, 0x1D7FF),
    (0x1F300, 0x1F64F),
)
_CONTROLS = tuple(map(chr, (*range(1, 32), *range(127, 160))))
_EXTRA_SPACES = re.compile(" {2,}")

Part = Callable[[random.Random], str]


class Drawing:
    """Draws texts for one tokenizer from a seed.

    added: whether texts may contain the added tokens. without: characters that the format cannot hold.
    spaces: whether texts may contain spaces that the source's library removes.
    """

    def __init__(
        self, source: SourceRules, seed: int, *, added: bool, without: str = "", spaces: bool = True
    ) -> None:
        rules = source.rules
        self._random = random.Random(seed)  # nothing here is secret
        self._single_spaces = rules.single_spaces and not spaces
        self._without = str.maketrans("", "", without)
        self._avoided = [] if added else [_text(rules.pieces[token]) for token in rules.added]
        self._added = [_text(rules.pieces[token]) for token in rules.added] if added else []
        space = rules.kind == "characters"
        ordinary = [_text(piece) for token, piece in enumerate(rules.pieces) if piece and token not in rules.added]
        self._pieces = [text.replace(SPACE, " ") if space else text for text in ordinary if "\ufffd" not in text]

    def texts(self, count: int, own: Sequence[str] = ()) -> Iterator[str]:
        """Yield the fixed texts, the source's own lines, and as many more as make `count`."""
        given = [*_FIXED, *(line[:_MOST_OF_A_LINE] for line in own)][:count]
        yield from map(self.fitting, given)
        for _ in range(count - len(given)):
            yield self.fitting("".join(self._part() for _ in range(self._random.randint(1, _MOST_PARTS))))

    def _part(self) -> str:
        kind = self._random.choice(_KINDS)
        return self._known() if kind is None else kind(self._random)

    def _known(self) -> str:
        """Return a piece of the vocabulary, or an added token with or without a space beside it."""
        if self._added and self._random.random() < 0.5:
            around = self._random.choice(("{}", " {}", "{} ", " {} ", "{0}{0}", "x{}y", "\n{}"))
            return around.format(self._random.choice(self._added))
        return self._random.choice(self._pieces) if self._pieces else ""

    def fitting(self, text: str) -> str:
        """Return a text without what the format cannot hold, and without what the source's library removes."""
        text = text.translate(self._without)
        for token in self._avoided:
            text = text.replace(token, "") if token else text
        return _EXTRA_SPACES.sub(" ", text).strip(" ") if self._single_spaces else text


def _text(piece: bytes) -> str:
    return piece.decode(errors="replace")


def _word(draw: random.Random) -> str:
    letters = "".join(draw.choices("etaoinshrdlucmfwypvbgkqjxz", k=draw.randint(1, 9)))
    return draw.choice((letters, letters.title(), letters.upper(), f" {letters}", f" {letters}"))


def _digits(draw: random.Random) -> str:
    return draw.choice(("", " ")) + "".join(draw.choices("0123456789", k=draw.randint(1, 8)))


def _of_a_script(draw: random.Random) -> str:
    first, last = draw.choice(_RANGES)
    drawn = (chr(draw.randint(first, last)) for _ in range(draw.randint(1, 6)))
    return "".join(letter for letter in drawn if unicodedata.category(letter) != "Cn")


def _marked(draw: random.Random) -> str:
    return draw.choice(_BASES) + "".join(draw.choices(_MARKS, k=draw.randint(1, 3)))


def _punctuation(draw: random.Random) -> str:
    return "".join(draw.choices("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~", k=draw.randint(1, 4)))


def _any_character(draw: random.Random) -> str:
    return chr(draw.choice(_assigned()))


def _one_of(choices: Sequence[str]) -> Part:
    return lambda draw: draw.choice(choices)


# None: what the tokenizer knows, a piece or an added token.
_KINDS: tuple[Part | None, ...] = (
    *(_word,) * 4,
    *(_one_of(_SPACES),) * 3,
    *(None,) * 3,
    _digits,
    _punctuation,
    _of_a_script,
    _of_a_script,
    _marked,
    _any_character,
    _one_of(_ENDINGS),
    _one_of(_EMOJI),
    _one_of(_CONTROLS),
)


@cache
def _assigned() -> tuple[int, ...]:
    """Return every code point that stands for a character; what is assigned later has no class in older tables."""
    return tuple(code for code in range(1, 0x30000) if unicodedata.category(chr(code)) not in ("Cn", "Cs", "Co"))
