"""The reader's token ids by blocks of v3 against the libraries that their sources belong to.

    python tests/campaigns/tokens.py SMOLLM2      the directory of SmolLM2, for its tokenizer.json

Drawn texts of many scripts, of white space, digits, marks and pieces, with special tokens found and not. 1,000,000
each for the tokenizer of SmolLM2 and for tokenizers with the regular expressions of Llama 3 and Qwen 2; a tenth of
that for each other part that a block can have. The judge is Hugging Face's tokenizers, and sentencepiece for scores.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import tokenizers
from helpers import trained_blocks
from helpers.drawn_words import drawn_text
from helpers.tokenizer_blocks import Block, from_tokenizer
from record import Row, finish, options
from rich.progress import track

import reader_c
from verify.demo import HELD_OUT_TEXT

FAMILIES = ("Llama 3", "Qwen 2")
SCORED: dict[str, dict[str, bool]] = {
    "scores": {},
    "scores, extra spaces removed": {"single_spaces": True},
    "scores, extra spaces removed, no prefix": {"single_spaces": True, "prefix": False},
}
Encode = Callable[[str, bool], list[int]]


def judge(library: tokenizers.Tokenizer) -> Encode:
    def encode(text: str, special: bool) -> list[int]:
        library.encode_special_tokens = not special
        return library.encode(text, add_special_tokens=False).ids

    return encode


def compare(name: str, block: Block, theirs: Encode, texts: int, *, knows_special: bool = True) -> Row:
    ours = reader_c.Tokenizer.from_block(block.content(), len(block.pieces))
    prose = HELD_OUT_TEXT.read_text(encoding="utf-8") + trained_blocks.MORE_TEXT
    spelt = [piece.decode(errors="ignore").replace("\u2581", " ") for piece in block.pieces]
    # those between which a text is split are worth more than their number
    added = [spelt[token] for token, _ in block.added]
    pieces = spelt + [*added, " "] * (len(spelt) // (4 * (len(added) + 1)) + 1)
    rng, wrong, tokens = np.random.default_rng(len(pieces)), 0, 0
    for _ in track(range(texts), name):
        text, special = drawn_text(rng, pieces, prose), knows_special and bool(rng.integers(2))
        expected = theirs(text, special)
        tokens += len(expected)
        if ours.encode(text, bos=False, eos=False, special=special) != expected:
            wrong += 1
            print(f"{name}: {text!r}, special={special}")
    what = f"texts drawn for the tokenizer {name} ({len(block.pieces):,} tokens), encoded as its library does"
    return Row(what, texts, f"{wrong} differ; {tokens:,} token ids", wrong)


def compare_scored(name: str, texts: int, **spaces: bool) -> Row:
    """Compare a block of scores with sentencepiece. spaces: what the model does with spaces."""
    processor = trained_blocks.sentencepiece_model(**spaces)
    block = trained_blocks.scored(processor, **spaces)
    return compare(name, block, lambda text, _: processor.encode(text), texts, knows_special=False)


def round_trips(blocks: Sequence[Block], texts: int) -> Row:
    """Any bytes come back from a block that has a piece for each byte."""
    rng, wrong = np.random.default_rng(7), 0
    every = [reader_c.Tokenizer.from_block(block.content(), len(block.pieces)) for block in blocks]
    for number in track(range(texts), "bytes"):
        text, ours = rng.integers(0, 256, int(rng.integers(0, 40)), np.uint8).tobytes(), every[number % len(every)]
        wrong += ours.decode(ours.encode(text, bos=False, eos=False)) != text
    return Row("texts of any bytes, encoded and decoded", texts, f"{wrong} differ", wrong)


def main() -> None:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    parser = options(__doc__)
    parser.add_argument("smollm2", type=Path)
    parser.add_argument("--texts", type=int, default=1_000_000, help="for each of the three families")
    given = parser.parse_args()
    began, rows = time.monotonic(), []
    every = {"SmolLM2": tokenizers.Tokenizer.from_file(str(given.smollm2 / "tokenizer.json"))}
    every |= trained_blocks.families()
    for name, library in every.items():
        texts = given.texts if name in {"SmolLM2", *FAMILIES} else given.texts // 10
        rows.append(compare(name, from_tokenizer(library), judge(library), texts))
    rows += [compare_scored(name, given.texts // 10, **spaces) for name, spaces in SCORED.items()]
    # neither added tokens, which strip white space, nor a normalizer, nor a prefix
    plain = [trained_blocks.byte_level(None, added=()), trained_blocks.byte_level(None, digits=True, added=())]
    rows.append(round_trips([from_tokenizer(library) for library in plain], given.texts // 10))
    finish("tokens", rows, began, trial=given.trial)


if __name__ == "__main__":
    main()
