"""tokenizer.bin and .tokenizer: entries to the byte, and told apart by what they hold."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from verify.tokenizers.plain_files import Form, PlainFileError, form_of, parse_plain
from verify.tokenizers.plain_rules import plain_differences, plain_expectation, unfit
from verify.tokenizers.rules import Rules, SourceRules

ENTRIES = ((b"<unk>", 0.0), (b"\n<s>\n", 0.0), (b"\n</s>\n", 0.0), (b"a", -1.5))


def file(form: Form, entries: tuple[tuple[bytes, float], ...] = ENTRIES) -> bytes:
    head = struct.pack("<I", 6) if form == "llama2c" else struct.pack("<III", 6, 1, 2)
    return head + b"".join(struct.pack("<fI", score, len(piece)) + piece for piece, score in entries)


@pytest.mark.parametrize("form", ["llama2c", "qwen3c"])
def test_entries_are_read_to_the_byte(form: Form) -> None:
    content = file(form)
    found = parse_plain(content, form, 4)
    assert (found.pieces, found.scores, found.longest) == (*map(tuple, zip(*ENTRIES, strict=True)), 6)
    assert (found.bos, found.eos) == ((None, None) if form == "llama2c" else (1, 2))
    assert form_of(Path("x"), content, 4) == form


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\0\0", "size: expected at least 4 bytes, found 2"),
        (file("llama2c")[:-5], "id 3: expected a score and a length, found the end of the file"),
        (file("llama2c")[:-1], "id 3: expected 1 bytes, found 0"),
        (file("llama2c") + bytes(8), "tokens: expected the model's 4, found 5"),
    ],
)
def test_a_file_that_ends_elsewhere_is_named(content: bytes, message: str) -> None:
    with pytest.raises(PlainFileError) as error:
        parse_plain(content, "llama2c", 4)
    assert str(error.value) == message


def test_a_file_of_neither_form_has_that_of_its_name() -> None:
    assert (form_of(Path("a.tokenizer"), b"x", 4), form_of(Path("a.bin"), b"x", 4)) == ("qwen3c", "llama2c")


def test_a_source_that_run_c_cannot_follow_is_named() -> None:
    rules = Rules(kind="bytes", pieces=(b"a",), bos=5, nfc=True)
    assert [reason.removeprefix("llama2.c's format cannot hold ") for reason in unfit(rules, "llama2c")] == [
        "byte-level BPE",
        "a bos of 5",
        "no space before a text",
        "NFC",
        "byte pieces that do not begin at id 3",
    ]
    assert unfit(rules, "qwen3c") == []


def test_scores_of_a_source_with_ranks_fall_from_merge_to_merge() -> None:
    rules = Rules(kind="bytes", pieces=(b"a", b"b", b"ab", b"abb"), merges=((0, 1), (2, 1)), bos=1, eos=2)
    source = plain_expectation(SourceRules(rules), "qwen3c", 4)

    def judged(scores: tuple[float, ...]) -> list[str]:
        entries = tuple(zip(rules.pieces, scores, strict=True))
        content = struct.pack("<III", 3, 1, 2) + file("qwen3c", entries)[12:]
        return [one.detail for one in plain_differences(source, parse_plain(content, "qwen3c", 4))]

    assert judged((-1e6, -1e6, 0.0, -0.7)) == []
    wrong = "id 3: score: expected less than -0.699999988, that of id 2, which merges before it, found 0"
    assert judged((-1e6, -1e6, -0.699999988079071, 0.0)) == [wrong]
