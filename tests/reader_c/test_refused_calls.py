"""Where the system refuses the reader memory, a thread or a byte, the reader says so and keeps nothing."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.counted import Counted
from helpers.models import BIN_FORMATS, checkpoint, config, toy_file
from helpers.refused import build
from helpers.tokenizer_bins import byte_entries, save
from helpers.tokenizer_blocks import BEGINS, BYTE_PIECES, ENDS, GPT2, NFC, NORMALIZED, PREFIX, SPECIAL, Block

import exporter

pytestmark = pytest.mark.slow

SANITIZE = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer")


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory for both programs, which share the reader's objects."""
    return tmp_path_factory.mktemp("driver")


@pytest.fixture(scope="module")
def driver(room: Path) -> Path:
    program = room / "refused"
    build(program, "gcc", *SANITIZE)
    return program


@pytest.fixture(scope="module")
def words(room: Path) -> Path:
    program = room / "refused_words"
    build(program, "gcc", *SANITIZE, driver="refused_words.c")
    return program


def refused(driver: Path, *given: object) -> dict[str, int]:
    """How many calls of each kind were refused, of all that were made; all promises were kept."""
    # a library that somebody preloads would come before the sanitizer's
    result = subprocess.run([driver, *map(str, given)], capture_output=True, text=True, check=False, env={})
    assert result.returncode == 0, result.stderr
    lines = [line.rpartition(": ") for line in result.stdout.splitlines()]
    return {name: int(count) for name, _, count in lines}


@pytest.mark.parametrize("format_name", BIN_FORMATS)
def test_every_call_that_the_system_may_refuse_comes_out_as_its_code_and_leaks_nothing(
    tmp_path: Path, driver: Path, format_name: str, counted: Counted
) -> None:
    path = toy_file(tmp_path, format_name)
    if format_name == "v3":
        exporter.export(checkpoint(config()), path, format="v3", storage="q8_0", group_size=8, overwrite=True)
    counts = refused(driver, path)
    # a file small enough for small pages: nothing is advised
    assert {name for name, count in counts.items() if not count} == {"madvise"}
    assert counts["memory"] > 20
    for what, count in counts.items():
        if count:
            counted(f"{what} refused to the C reader, at each call in its turn", count, "told, nothing leaked")


def test_a_file_of_huge_pages_is_read_without_them(tmp_path: Path, driver: Path) -> None:
    # RoPE tables, which cost nothing to compute with
    path = toy_file(tmp_path, "v0", max_seq_len=140_000)
    assert path.stat().st_size > 4 << 20
    assert refused(driver, path)["madvise"] > 0


def test_every_allocation_of_a_tokenizer_may_be_refused(tmp_path: Path, words: Path, counted: Counted) -> None:
    entries = [*byte_entries(), (b" ", 0.0), (b"a", 0.0), (b"aa", 1.0), (b"aaaa", 2.0)]
    counts = refused(words, save(tmp_path / "tokenizer.bin", entries), len(entries), "aaaaaaaa b " * 9, "bin")
    assert counts["memory"] >= 12
    counted("memory refused to the tokenizer, at each call in its turn", counts["memory"], "told, nothing leaked")


# between them, blocks that ask for every kind of memory
BLOCKS = {
    "bytes": Block(
        flags=BEGINS | ENDS | NFC | PREFIX,
        pretokenizer=GPT2,
        pieces=[b"a", b"b", b" ", b"aa", b"aaaa", b"<s>", b"x\xcc\x81x", b"\xc3", b"\xa9"],
        merges=[(0, 0), (3, 3)],
        added=[(5, SPECIAL), (6, NORMALIZED)],
        bos=5,
        eos=5,
        eos_ids=[5],
        template=b"{}",
    ),
    "characters": Block(
        kind=2,
        flags=BEGINS | ENDS | NFC | PREFIX | BYTE_PIECES,
        pieces=[b"a", b"\xe2\x96\x81", b"aa", b"aaaa", b"<s>", b"x"],
        scores=[0, 0, 1, 2, 0, 0],
        added=[(4, SPECIAL), (5, NORMALIZED)],
        bos=4,
        eos=4,
    ),
}


def filled(block: Block) -> Block:
    """Return the block with so long a template that no padding follows: the sanitizer sees a byte too far."""
    sizes = [len(replace(block, template=block.template + b" " * more).content()) for more in range(65)]
    return replace(block, template=block.template + b" " * (sizes.count(sizes[0]) - 1))


@pytest.mark.parametrize("name", BLOCKS)
def test_every_allocation_of_a_block_may_be_refused(tmp_path: Path, words: Path, counted: Counted, name: str) -> None:
    file = tmp_path / "block"
    file.write_bytes(filled(BLOCKS[name]).content())
    text = "a<s>" + "a" * 200 + "\u0301\u0327" * 20 + "x\u0301x b" * 9 + "e\u0301 " * 9
    counts = refused(words, file, 16, text, "block")
    assert counts["memory"] >= 20
    counted(
        f"memory refused to a block of {name}, at each call in its turn", counts["memory"], "told, nothing leaked"
    )
