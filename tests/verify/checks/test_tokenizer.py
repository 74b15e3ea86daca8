"""The check `tokenizer` step by step: its sentence, its place and its counts, for each thing that can be wrong."""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jinja2
import pytest
from helpers.rule_blocks import PlainEncoder, block_of
from helpers.tokenizer_bins import content, from_sentencepiece
from helpers.tokenizer_families import processor_of, source

from verify.checks import tokenizer
from verify.checks.result import CheckResult, exact
from verify.checks.tokenizer import TokenizerFindings, TokenizerReport, WrittenTokenizer, check_tokenizer, merged
from verify.tokenizers.chat import FIXTURES, Message
from verify.tokenizers.encoders import PlainReader
from verify.tokenizers.rules import Rules
from verify.tokenizers.source_tokenizer import open_source_tokenizer

QUICK, STANDARD = 30, 40
_SPACES = "texts with extra spaces, which the source's library removes, were not compared"


def rendered(template: str, messages: Sequence[Message], *, bos: str, eos: str, answer: bool) -> str:
    said = {"messages": messages, "bos_token": bos, "eos_token": eos, "add_generation_prompt": answer}
    return jinja2.Template(template).render(said)


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compare few texts, and render without a process for each."""
    monkeypatch.setattr(tokenizer, "TEXTS", {"quick": QUICK, "standard": STANDARD})
    monkeypatch.setattr(tokenizer, "rendered_or_refused", rendered)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return source("llama3", tmp_path_factory.mktemp("source"))


@pytest.fixture(scope="module")
def rules(path: Path) -> Rules:
    return open_source_tokenizer(path).expected.rules


def judged(path: Path, rules: Rules, encodes: Rules | None = None, **options: Any) -> TokenizerFindings:
    block = block_of(rules)
    written = WrittenTokenizer("v3", block, len(rules.pieces), None, lambda: PlainEncoder(encodes or rules))
    return check_tokenizer(written, path, "standard", **options)


def test_a_healthy_block_says_on_how_much_it_was_judged(path: Path, rules: Rules) -> None:
    found, block = judged(path, rules, own_lines=["mine", "  ", "yours"]), block_of(rules)
    merges = len(rules.merges)
    sha256 = hashlib.sha256(block).hexdigest()
    report = found.report
    expected = TokenizerReport(
        "v3", None, len(block), sha256, "tokenizer.json", "tokenizers", 805, 5, merges, STANDARD, report.decoded, 4
    )
    assert report == expected
    assert 20 < report.decoded <= STANDARD
    said = (
        f"805 ids are the source's; {merges} merges and {STANDARD} texts encode as tokenizers encodes them; "
        f"{report.decoded} texts come back from their ids; 4 conversations rendered alike"
    )
    assert found.verdict == exact("tokenizer", 0, said, {"seed": int(sha256[:13], 16)})
    assert (found.found, found.fields) == (rules, ())
    assert found.expected is not None
    assert found.expected.rules == rules


def test_bytes_that_are_no_block_end_the_check(path: Path) -> None:
    found = check_tokenizer(WrittenTokenizer("v3", bytes(64), 805), path, "quick")
    assert found.verdict == exact("tokenizer", 1, "kind: expected 1 or 2, found 0", {"field": "kind"})
    nothing = dict.fromkeys(("tokens", "added", "merges", "texts", "decoded", "chats"), 0)
    sha256 = hashlib.sha256(bytes(64)).hexdigest()
    said = {"form": "v3", "path": None, "bytes": 64, "sha256": sha256, "source": "tokenizer.json", "library": ""}
    assert (vars(found.report), found.found) == (said | nothing, None)
    found = check_tokenizer(WrittenTokenizer("llama2c", b"\0", 805, "a.bin"), path, "quick")
    assert found.verdict == exact("tokenizer", 1, "size: expected at least 4 bytes, found 1")


def test_a_source_that_no_library_reads_skips_the_check(rules: Rules, tmp_path: Path) -> None:
    bad = tmp_path / "tokenizer.json"
    bad.write_text("{}")
    found = judged(bad, rules)
    assert (found.verdict.status, found.verdict.bound, found.found) == ("skipped", "exact", rules)
    assert found.verdict.detail.startswith(f"{bad}: expected a tokenizer.json, found none that loads")


def test_a_source_that_no_format_holds_fails(rules: Rules, tmp_path: Path) -> None:
    other = source("gpt2", tmp_path)
    other.write_text(other.read_text().replace('"normalizer": null', '"normalizer": {"type": "Lowercase"}'))
    found = judged(other, rules)
    detail = "tokenizer.json: expected a tokenizer that the format can hold, found a normalizer Lowercase"
    assert found.verdict == exact("tokenizer", 1, detail, {"field": "source"})
    assert found.found == rules


@pytest.mark.parametrize(
    ("change", "place", "findings"),
    [
        ({"nfc": True}, {"field": "nfc"}, 1),
        # the first conversation, too
        ({"template": "{{ x }}"}, {"field": "template", "character": 1}, 2),
        ({"merges": ()}, {"field": "merges", "rank": 0}, 1),
        ({"added": {}}, {"field": "added", "id": 800}, 1),
    ],
)
def test_rules_that_differ_are_found_at_their_place(
    path: Path, rules: Rules, change: dict[str, Any], place: dict[str, Any], findings: int
) -> None:
    found = judged(path, replace(rules, **change), rules)
    assert found.fields == (place["field"],)
    assert found.verdict.where == place
    assert found.verdict.observed == findings
    # less is encoded where a rule is wrong already
    assert found.report.texts == QUICK


def test_an_engine_that_encodes_by_other_rules_is_found_text_by_text(path: Path, rules: Rules) -> None:
    found = judged(path, rules, replace(rules, merges=(), ignore_merges=False))
    details = found.verdict.detail.split("; ")
    assert details[0].startswith("merge '")
    assert details[1] == f"{len(rules.merges) - 1} more differ"
    assert found.verdict.where["field"] == "merge"
    assert (found.verdict.observed, found.fields) == (2.0, ())
    assert (found.report.merges, found.report.texts) == (len(rules.merges), STANDARD)


def test_merges_are_encoded_bare_and_texts_with_what_begins_them(path: Path, rules: Rules) -> None:
    found = judged(path, rules, replace(rules, add_bos=False))
    assert found.verdict.where == {"field": "text", "text": ""}
    assert found.verdict.detail.startswith("text '': id 0 of its ids: expected 800, found none")


def test_an_engine_that_does_not_open_is_a_finding(path: Path, rules: Rules) -> None:
    from reader_c import ReaderError

    def opened() -> PlainEncoder:
        raise ReaderError("a.bin", "size", 3, 4, 5)

    written = WrittenTokenizer("v3", block_of(rules), len(rules.pieces), None, opened)
    found = check_tokenizer(written, path, "quick")
    assert found.verdict == exact("tokenizer", 1, str(ReaderError("a.bin", "size", 3, 4, 5)), {"field": "opening"})


def test_conversations_are_compared_to_the_character(path: Path, rules: Rules) -> None:
    wrong = rules.template.replace("message['content']", "message['content'] | trim")
    found = judged(path, replace(rules, template=wrong), rules)
    first, second = found.verdict.detail.split("; conversation ")
    assert first.startswith("chat template: character ")
    expected, own = " A place.\\n<|im_end|>\\n", "A place.<|im_end|>\\n"
    assert second.startswith("1: expected '")
    assert expected in second.split(", found ")[0]
    assert own in second.split(", found ")[1]
    assert (found.report.chats, found.verdict.observed) == (2, 2.0)
    messages, answer = FIXTURES[1]
    ends = {"bos": "<|begin_of_text|>", "eos": "<|eot_id|>"}
    whole, other = (rendered(one, messages, **ends, answer=answer) for one in (rules.template, wrong))
    at = next(n for n, (a, b) in enumerate(zip(whole, other, strict=False)) if a != b)
    assert at > 10
    assert second == f"1: expected {whole[at - 10 : at + 50]!r}, found {other[at - 10 : at + 50]!r}"


def test_of_conversations_that_differ_at_once_the_beginning_is_shown(path: Path, rules: Rules) -> None:
    found = judged(path, replace(rules, template=f"?{rules.template}"), rules)
    said = found.verdict.detail.split("; conversation ")[1]
    whole = said.removeprefix("0: expected ").split(", found ")[0]
    assert len(eval(whole)) == 60
    assert said == f"0: expected {whole}, found {'?' + eval(whole)[:59]!r}"


def test_a_text_that_differs_is_named_by_its_first_80_characters(path: Path, rules: Rules) -> None:
    class Wrong(PlainEncoder):
        def encode(self, text: str, *, special: bool) -> list[int]:
            return [] if text.startswith("long ") else super().encode(text, special=special)

    written = WrittenTokenizer("v3", block_of(rules), len(rules.pieces), None, lambda: Wrong(rules))
    line = "long " * 20
    found = check_tokenizer(written, path, "standard", [line])
    assert found.verdict.where == {"field": "text", "text": line[:80]}


def of_qwen3_c(rules: Rules) -> WrittenTokenizer:
    """Write qwen3.c's .tokenizer: what merges earlier has the larger score."""
    scores = dict.fromkeys(rules.pieces, -1e6)
    for rank, (left, right) in reversed([*enumerate(rules.merges)]):
        scores[rules.pieces[left] + rules.pieces[right]] = -float(rank)
    entries = [struct.pack("<fI", scores[piece], len(piece)) + piece for piece in rules.pieces]
    head = struct.pack("<III", max(map(len, rules.pieces)), rules.bos, rules.ends[0])
    return WrittenTokenizer("qwen3c", head + b"".join(entries), len(rules.pieces), "m.bin.tokenizer")


def test_of_qwen3_c_s_file_the_texts_that_it_encodes_otherwise_are_counted(path: Path, rules: Rules) -> None:
    written = of_qwen3_c(rules)
    said = rf"qwen3\.c, which .* normalizes none, encodes \d+ of {QUICK} drawn texts otherwise than tokenizers"
    found = check_tokenizer(written, path, "standard").verdict
    assert re.fullmatch(rf"805 ids are the source's; {said}", found.detail)
    found = check_tokenizer(replace(written, content=written.content[:-1] + b"?"), path, "standard").verdict
    assert found.status == "fail"
    assert "qwen3.c" not in found.detail
    # no library reads a v3 file
    found = check_tokenizer(written, path, "standard", source_block=block_of(rules)).verdict
    assert found.detail == "805 ids are the source's; the source is a v3 file, whose tokenizer no library reads"


def test_only_a_form_without_the_rule_leaves_extra_spaces_out(tmp_path: Path) -> None:
    path = source("sentencepiece", tmp_path)
    rules = open_source_tokenizer(path).expected.rules
    assert rules.single_spaces
    found = check_tokenizer(WrittenTokenizer("v3", block_of(rules), len(rules.pieces)), path, "quick").verdict
    assert found.status == "pass"
    assert _SPACES not in found.detail


@pytest.mark.parametrize("side", ["source", "file"])
def test_without_a_template_nothing_is_rendered(rules: Rules, tmp_path: Path, side: str) -> None:
    bare = source("llama3", tmp_path)
    if side == "source":
        (tmp_path / "chat_template.jinja").unlink()
    found = judged(bare, rules if side == "source" else replace(rules, template=""), rules)
    assert found.report.chats == 0
    assert found.fields == ("template",)


def test_a_file_of_run_c_has_no_letter_for_spaces(tmp_path: Path) -> None:
    path = source("sentencepiece", tmp_path)
    file = tmp_path / "tokenizer.bin"
    file.write_bytes(content(from_sentencepiece(processor_of(path))))
    seen: list[str] = []

    class Listening(PlainReader):
        def encode(self, text: str, *, special: bool) -> list[int]:
            assert not special
            seen.append(text)
            return super().encode(text, special=special)

    def written(encoder: Callable[[], PlainReader] | None) -> WrittenTokenizer:
        return WrittenTokenizer("llama2c", file.read_bytes(), 512, str(file), encoder)

    found = check_tokenizer(written(lambda: Listening(file, 512)), path, "standard", ["a\0b \u2581 c  d"])
    assert found.verdict.status == "pass"
    assert "ab c d" in seen
    assert not any(letter in text for text in seen for letter in ("\0", "\u2581"))
    report = found.report
    assert (report.added, report.chats, report.library) == (0, 0, "sentencepiece")
    assert report.merges > 100
    assert found.verdict.detail == (
        f"512 ids are the source's; {report.merges} pieces and {STANDARD} texts encode as sentencepiece encodes "
        f"them; {report.decoded} texts come back from their ids; {_SPACES}"
    )
    silent = check_tokenizer(written(None), path, "standard")
    assert silent.verdict.status == "pass"
    assert (silent.report.merges, silent.report.texts) == (0, 0)


def test_what_run_c_cannot_follow_is_the_source_s_fault(path: Path, rules: Rules) -> None:
    written = WrittenTokenizer("llama2c", content([(piece, 0.0) for piece in rules.pieces]), 805, "a.bin")
    found = check_tokenizer(written, path, "quick")
    assert found.verdict.where == {"field": "source"}
    assert found.verdict.detail.startswith("llama2.c's format cannot hold byte-level BPE; ")


def test_own_lines_take_at_most_half_of_the_texts(path: Path, rules: Rules) -> None:
    seen: list[str] = []

    class Listening(PlainEncoder):
        def encode(self, text: str, *, special: bool) -> list[int]:
            if special:
                seen.append(text)
            return super().encode(text, special=special)

    written = WrittenTokenizer("v3", block_of(rules), len(rules.pieces), None, lambda: Listening(rules))
    check_tokenizer(written, path, "standard", ["\t", "", *(f"own {n}" for n in range(99))])
    own = [text for text in seen if text.startswith("own ")]
    assert own == [f"own {n}" for n in range(STANDARD // 2)]


def test_a_v3_file_is_its_own_source(path: Path, rules: Rules) -> None:
    block = block_of(rules)
    found = judged(path, rules, source_block=block)
    assert found.report.library == "none"
    assert found.verdict.detail == (
        "805 ids are the source's; the source is a v3 file, whose tokenizer no library reads; "
        "4 conversations rendered alike"
    )
    other = judged(path, replace(rules, nfc=True), source_block=block)
    assert other.verdict.where == {"field": "nfc"}


def findings(*statuses: str) -> Sequence[TokenizerFindings]:
    results = [CheckResult("tokenizer", status, "exact", 0.0, 0.0, f"says {status}") for status in statuses]  # type: ignore[arg-type]
    paths = [None, *(f"{n}.bin" for n in range(9))]
    return [
        TokenizerFindings(result, TokenizerReport("v3", path, 0, "", "", ""))
        for result, path in zip(results, paths, strict=False)
    ]


@pytest.mark.parametrize(
    ("statuses", "status", "detail"),
    [
        (["pass"], "pass", "says pass"),
        (["pass", "pass"], "pass", "the block: says pass; 0.bin: says pass"),
        (["pass", "skipped", "fail"], "fail", "says fail"),
        (["skipped", "pass"], "skipped", "says skipped"),
    ],
)
def test_of_several_the_first_that_does_not_pass_decides(statuses: list[str], status: str, detail: str) -> None:
    found = merged(findings(*statuses))
    assert (found.status, found.detail) == (status, detail)


def test_of_several_that_pass_the_first_gives_its_place() -> None:
    made = [
        replace(one, verdict=replace(one.verdict, where={"seed": n})) for n, one in enumerate(findings(*["pass"] * 3))
    ]
    assert merged(made).where == {"seed": 0}


@pytest.mark.parametrize("form", ["v3", "llama2c", "qwen3c"])
@pytest.mark.parametrize("library", [None, True, False])
def test_added_tokens_are_drawn_where_the_library_and_the_form_find_them(form: Any, library: bool | None) -> None:
    of_library = None if library is None else SimpleNamespace(finds_added=library)
    made: Any = SimpleNamespace(library=of_library, expected=None)
    of_file: Any = None
    judgement = tokenizer._Judgement(WrittenTokenizer(form, b"", 5), made, of_file, of_file)
    assert judgement._finds_added is (library is True and form != "llama2c")
    assert judgement._removes_spaces is (form == "v3")
