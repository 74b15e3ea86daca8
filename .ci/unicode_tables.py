"""Write reader_c/src/unicode_tables.h: what Hugging Face's tokenizers library knows of each code point.

    python .ci/unicode_tables.py [OUT]

The library has four engines, each of its own version of Unicode: Oniguruma for the regular expressions of
pre-tokenizers, Rust's own classes for Digits, Rust's regular expressions for added tokens, and a crate for NFC. The
reader must split a text as they do, so the tables hold what they answer, not what Python's unicodedata says. Only the
values of canonical combining classes and the two halves of a decomposition come from unicodedata, where the library
confirms them: it has no call that gives them.
"""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import tokenizers
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers

OUT = Path(__file__).parents[1] / "reader_c" / "src" / "unicode_tables.h"
LETTER, NUMBER, SPACE, DIGIT, WORD, UNSTABLE = (1 << bit for bit in range(6))
SHIFT = 7
LAST = 0x10FFFF
HANGUL = range(0xAC00, 0xD7A4)
# jamo that a syllable may end with; computed, so that no table has them
JAMO = (*range(0x1161, 0x1176), *range(0x11A8, 0x11C3))
_AT_ONCE = 4096
_MARK = "\x01"
_WIDTH = 118

Table = dict[int, int]


def code_points() -> list[int]:
    """Return every code point that a str can have in UTF-8."""
    return [code for code in range(LAST + 1) if not 0xD800 <= code <= 0xDFFF]


def _parts(codes: Sequence[int]) -> Iterator[Sequence[int]]:
    for first in range(0, len(codes), _AT_ONCE):
        yield codes[first : first + _AT_ONCE]


def matched(pattern: str, codes: Sequence[int]) -> set[int]:
    """Return the code points that Oniguruma matches with a pattern of one character."""
    removed, found = pre_tokenizers.Split(Regex(pattern), "removed"), set(codes)
    for part in _parts(codes):
        for piece, _ in removed.pre_tokenize_str("".join(map(chr, part))):
            found -= set(map(ord, piece))
    return found


def digits(codes: Sequence[int]) -> set[int]:
    """Return the code points that the pre-tokenizer Digits takes for a digit."""
    split, found = pre_tokenizers.Digits(individual_digits=True), set()
    for part in _parts(codes):
        # beside a letter, what is no digit is never alone
        for piece, _ in split.pre_tokenize_str("a" + "a".join(map(chr, part)) + "a"):
            if len(piece) == 1 and piece != "a":
                found.add(ord(piece))
    return found


def words(codes: Sequence[int]) -> set[int]:
    """Return the code points beside which an added token is not a single word."""
    tokenizer = Tokenizer(models.WordLevel({"unknown": 0}, unk_token="unknown"))
    tokenizer.add_tokens([AddedToken(_MARK, single_word=True, normalized=False)])
    found = set()
    for part in _parts([code for code in codes if chr(code) != _MARK]):
        encoding = tokenizer.encode(" ".join(chr(code) + _MARK for code in part))
        tokens = zip(encoding.tokens, encoding.offsets, strict=True)
        alone = {begin for token, (begin, _) in tokens if token == _MARK}
        found |= {code for number, code in enumerate(part) if 3 * number + 1 not in alone}
    return found


def combining_classes(codes: Sequence[int]) -> Table:
    """Return the canonical combining classes but 0: those of unicodedata, where the library moves the character."""
    decompose: Callable[[str], str] = normalizers.NFD().normalize_str
    found = {}
    for code in codes:
        value, character = unicodedata.combining(chr(code)), chr(code)
        if value and not unicodedata.decomposition(character):
            low, high = (character, "\u0345") if value == 1 else ("\u0334", character)
            if decompose(f"a{high}{low}") == f"a{low}{high}":
                found[code] = value
    # these decompose, and what they become has the same class
    found.update({code: 230 for code in (0x340, 0x341, 0x343, 0x344) if unicodedata.combining(chr(code)) == 230})
    return found


def decompositions(codes: Sequence[int]) -> dict[int, tuple[int, int]]:
    """Return the canonical decompositions into two code points, or into one and 0, but for Hangul's."""
    decompose: Callable[[str], str] = normalizers.NFD().normalize_str
    found = {}
    for code in codes:
        if code not in HANGUL and decompose(chr(code)) != chr(code):
            parts = [int(part, 16) for part in unicodedata.decomposition(chr(code)).split()]
            if decompose(chr(code)) != decompose("".join(map(chr, parts))):
                raise ValueError(f"U+{code:04X}: the library decomposes it otherwise than unicodedata")
            found[code] = (parts[0], parts[1] if len(parts) > 1 else 0)
    return found


def compositions(pairs: dict[int, tuple[int, int]]) -> dict[tuple[int, int], int]:
    """Return which two code points the library composes, and to what."""
    compose: Callable[[str], str] = normalizers.NFC().normalize_str
    return {
        pair: code for code, pair in pairs.items() if pair[1] and compose(chr(pair[0]) + chr(pair[1])) == chr(code)
    }


def _numbers(values: Sequence[int]) -> str:
    lines, line = [], "   "
    for value in values:
        if len(line) + len(f" {value},") > _WIDTH:
            lines.append(line)
            line = "   "
        line += f" {value},"
    return "\n".join([*lines, line])


def _array(declaration: str, values: Sequence[int]) -> str:
    return f"{declaration} = {{\n{_numbers(values)}\n}};\n"


def _structs(declaration: str, rows: Sequence[Sequence[int]]) -> str:
    lines, line = [], "   "
    for row in rows:
        entry = " {" + ", ".join(map(str, row)) + "},"
        if len(line) + len(entry) > _WIDTH:
            lines.append(line)
            line = "   "
        line += entry
    return declaration + " = {\n" + "\n".join([*lines, line]) + "\n};\n"


def _classes(codes: Sequence[int], unstable: set[int]) -> tuple[list[int], list[int]]:
    """Return the number of each block of code points, and the blocks that differ from each other."""
    members = {LETTER: matched(r"\p{L}", codes), NUMBER: matched(r"\p{N}", codes), SPACE: matched(r"\s", codes)}
    members |= {DIGIT: digits(codes), WORD: words(codes), UNSTABLE: unstable}
    value = [0] * (LAST + 1)
    for bit, holding in members.items():
        for code in holding:
            value[code] |= bit
    blocks: dict[tuple[int, ...], int] = {}
    numbers = []
    for first in range(0, LAST + 1, 1 << SHIFT):
        block = tuple(value[first : first + (1 << SHIFT)])
        numbers.append(blocks.setdefault(block, len(blocks)))
    return numbers, [value for block in blocks for value in block]


def _ranges(classes: Table) -> list[tuple[int, int, int]]:
    found: list[tuple[int, int, int]] = []
    for code, value in sorted(classes.items()):
        if found and found[-1][1] == code - 1 and found[-1][2] == value:
            found[-1] = (found[-1][0], code, value)
        else:
            found.append((code, code, value))
    return found


def generate() -> str:
    """Return the whole header."""
    codes = code_points()
    classes, halves = combining_classes(codes), decompositions(codes)
    pairs = compositions(halves)
    compose = normalizers.NFC().normalize_str
    unstable = {*classes, *JAMO, *(second for _, second in pairs)}
    unstable |= {code for code in halves if compose(chr(code)) != chr(code)}
    numbers, blocks = _classes(codes, unstable)
    ranges = _ranges(classes)
    return "\n".join(
        [
            "/* Written by .ci/unicode_tables.py, from the answers of Hugging Face's tokenizers "
            f"{tokenizers.__version__}. Do not edit. */",
            "#ifndef EXPORT_AND_VERIFY_UNICODE_TABLES_H",
            "#define EXPORT_AND_VERIFY_UNICODE_TABLES_H\n",
            '#include "unicode.h"\n',
            _array(f"static const uint8_t rc_class_blocks[{len(numbers)}]", numbers),
            _array(f"static const uint8_t rc_classes[{len(blocks)}]", blocks),
            _structs(f"static const rc_combining rc_combinings[{len(ranges)}]", ranges),
            _structs(
                f"static const rc_decomposition rc_decompositions[{len(halves)}]",
                [(code, *halves[code]) for code in sorted(halves)],
            ),
            _structs(
                f"static const rc_composition rc_compositions[{len(pairs)}]",
                [(*pair, pairs[pair]) for pair in sorted(pairs)],
            ),
            "#endif\n",
        ]
    )


def main() -> None:
    """Write the file where the reader has it, or to the path of the command line."""
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else OUT
    out.write_text(generate(), encoding="utf-8")
    print(f"{out}: {out.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
