"""Exporter, reader and verifier each parse v3's tokenizer block: all three accept the same headers."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

import pytest
from helpers import tokenizer_blocks as blocks
from helpers.tokenizer_blocks import Block

import reader_c
from exporter.errors import CheckpointError
from exporter.tokenizers.block_parse import parse_block as parse_as_source
from verify.tokenizers.block import BlockError, parse_block

SPACE = "\u2581".encode()
BYTES = Block(
    flags=blocks.BEGINS | blocks.ENDS,
    pretokenizer=blocks.GPT2,
    pieces=[b"a", b"b", b"ab", b"<s>", b"</s>"],
    merges=[(0, 1)],
    added=[(3, blocks.SPECIAL), (4, blocks.SPECIAL)],
    bos=3,
    eos=4,
    eos_ids=[3, 4],
    template=b"{{ m }}",
)
SCORED = Block(
    kind=2, flags=blocks.BYTE_PIECES, pieces=[b"a", b"b", b"ab", b"<s>", SPACE], scores=[0.0, 0.0, -1.0, 0.0, 0.0]
)
RANKED = Block(kind=2, flags=blocks.BYTE_PIECES, pieces=[b"a", b"b", b"ab", b"<s>", SPACE], merges=[(0, 1)])
UNMERGED = Block(kind=2, flags=blocks.BYTE_PIECES, pieces=[b"a", b"b", SPACE])
BARE = Block(pieces=[b"a", b"b"])
SAMPLES = {"bytes": BYTES, "scored": SCORED, "ranked": RANKED, "neither": UNMERGED, "bare": BARE}
# Numbers at the edge of any field's range, and each bit.
NUMBERS = (0, 3, 4, 5, 6, 7, 2**32 - 1, 2**32 - 2, *(1 << bit for bit in range(32)))


def headers(block: Block) -> Iterator[tuple[str, bytes]]:
    """Yield the block as it is, then with each field of its header changed to each number, and by each bit."""
    content = block.content()
    yield "as it is", content
    for at in range(0, 64, 4):
        (found,) = struct.unpack_from("<I", content, at)
        for number in sorted({*NUMBERS, *(found ^ 1 << bit for bit in range(32))} - {found}):
            yield f"{number} at {at}", content[:at] + struct.pack("<I", number) + content[at + 4 :]


def accepts(parse: Callable[[], object], error: type[Exception]) -> bool:
    try:
        parse()
    except error:
        return False
    return True


@pytest.mark.parametrize("name", SAMPLES)
def test_three_parsers_accept_the_same_headers(name: str) -> None:
    block = SAMPLES[name]
    count = len(block.pieces)
    for what, content in headers(block):
        answers = {
            "exporter": accepts(lambda content=content: parse_as_source("here", content), CheckpointError),
            "reader": accepts(
                lambda content=content: reader_c.Tokenizer.from_block(content, count), reader_c.ReaderError
            ),
            "verifier": accepts(lambda content=content: parse_block(content, count), BlockError),
        }
        # the exporter reads no tokenizer over characters without byte pieces, and says so
        if block.kind == 2 and not struct.unpack_from("<I", content, 4)[0] & blocks.BYTE_PIECES:
            answers.pop("exporter")
        assert len(set(answers.values())) == 1, (what, answers)
        if what == "as it is":
            assert answers["reader"] == (name != "neither")
