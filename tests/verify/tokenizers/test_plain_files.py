"""tokenizer.bin and .tokenizer: entries to the byte, and told apart by what they hold."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from verify.errors import CannotJudgeError
from verify.tokenizers.plain_files import Form, PlainFileError, form_of, parse_plain, read_plain
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


def test_only_qwen3_c_s_file_may_have_fewer_tokens_than_the_model() -> None:
    assert len(parse_plain(file("qwen3c"), "qwen3c", 5).pieces) == 4
    for form, count, most in (("qwen3c", 3, "at most "), ("llama2c", 3, ""), ("llama2c", 5, "")):
        with pytest.raises(PlainFileError) as error:
            parse_plain(file(form), form, count)  # type: ignore[arg-type]
        assert str(error.value) == f"tokens: expected {most}the model's {count}, found 4"


@pytest.mark.parametrize(("form", "size"), [("llama2c", 4), ("qwen3c", 12)])
def test_a_head_has_all_of_its_bytes(form: Form, size: int) -> None:
    assert parse_plain(bytes(size), form, 0).pieces == ()
    with pytest.raises(PlainFileError, match=f"^size: expected at least {size} bytes, found {size - 1}$"):
        parse_plain(bytes(size - 1), form, 0)


def test_an_entry_may_be_empty_and_has_a_whole_head() -> None:
    found = parse_plain(file("llama2c", ((b"", 1.0), (b"a", 0.0))), "llama2c", 2)
    assert (found.pieces, found.scores) == ((b"", b"a"), (1.0, 0.0))
    for missing in (1, 7):
        with pytest.raises(PlainFileError, match=r"^id 1: expected a score and a length, found the end of the file$"):
            parse_plain(file("llama2c", ((b"", 1.0), (b"", 0.0)))[:-missing], "llama2c", 2)


def test_a_tokenizer_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.bin"
    with pytest.raises(CannotJudgeError, match=f"^{path}: expected a tokenizer, found: no such file or directory$"):
        read_plain(path)
    path.write_bytes(b"x")
    assert read_plain(path) == b"x"


def test_a_tokenizer_may_have_256_mib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("verify.tokenizers.plain_files.read_given", lambda _, most: str(most).encode())
    assert read_plain(Path("x")) == b"268435456"
