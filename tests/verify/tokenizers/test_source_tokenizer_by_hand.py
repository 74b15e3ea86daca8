"""A source's bos, eos and ends from its library and the files beside it, rule by rule; nothing is trained."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from helpers.rule_blocks import block_of
from helpers.tokenizer_families import source

from verify.errors import CannotJudgeError
from verify.tokenizers import source_tokenizer
from verify.tokenizers.companions import Companions
from verify.tokenizers.libraries import FastLibrary
from verify.tokenizers.rules import NONE, NotHeldError, Rules, SourceRules
from verify.tokenizers.source_tokenizer import end_of, of_block, open_source_tokenizer, text_of

RULES = Rules(kind="bytes", pieces=(b"a", b"<s>", b"</s>", b"\xff"), bos=1, eos=2, ends=(2, 3))


class Library:
    """Puts ids around the id 0 of the text "a"."""

    def __init__(self, before: Sequence[int] = (), after: Sequence[int] = (), alone: Sequence[int] = (0,)) -> None:
        self.before, self.after, self.alone = before, after, alone

    def encode(self, texts: Sequence[str], *, special: bool) -> list[list[int]]:
        assert texts == ["a"]
        return [[*self.before, *self.alone, *self.after] if special else [*self.alone]]

    def id_of(self, text: str) -> int | None:
        return {"<s>": 1, "</s>": 2, "<unk>": 3}.get(text)


def with_ids(library: Library, rules: Rules, **said: Any) -> SourceRules:
    parts = {name: said.get(name, {}) for name in ("tokenizer", "special", "generation", "model")}
    return source_tokenizer._with_ids(library, SourceRules(rules), Companions(**parts, template=""))  # type: ignore[arg-type]


PLAIN = Rules(kind="bytes", pieces=(b"a", b"<s>", b"</s>", b"<unk>"))


def test_a_library_that_adds_ids_decides_which() -> None:
    found = with_ids(Library([5], [6]), PLAIN, tokenizer={"bos_token": "<s>", "eos_token": "</s>"})
    rules = found.rules
    assert (rules.add_bos, rules.bos, rules.add_eos, rules.eos) == (True, 5, True, 6)
    assert (found.bos, found.eos) == (frozenset(), frozenset())
    assert (rules.ends, found.ends) == ((2,), {2})


def test_otherwise_the_files_name_them_and_a_file_may_leave_eos_out() -> None:
    found = with_ids(
        Library(),
        PLAIN,
        tokenizer={"bos_token": "<s>", "eos_token": "</s>"},
        model={"bos_token_id": 7, "eos_token_id": [9, 8]},
    )
    rules = found.rules
    assert (rules.add_bos, rules.bos, rules.add_eos, rules.eos) == (False, 1, False, 2)
    assert (found.bos, found.eos) == ({1, 7}, {2, 8, 9, NONE})
    assert (rules.ends, found.ends) == ((8, 9), {2, 8, 9})


def test_ids_alone_are_no_text_of_the_tokenizer() -> None:
    found = with_ids(Library(), PLAIN, generation={"bos_token_id": 7, "eos_token_id": 9})
    assert (found.rules.bos, found.rules.eos, found.rules.ends) == (NONE, NONE, (9,))
    assert (found.bos, found.eos, found.ends) == ({NONE, 7}, {NONE, 9}, {9})
    nothing = with_ids(Library(), PLAIN)
    assert (nothing.rules.bos, nothing.rules.eos, nothing.rules.ends) == (NONE, NONE, ())
    assert (nothing.bos, nothing.eos, nothing.ends) == ({NONE}, {NONE}, frozenset())


@pytest.mark.parametrize(
    ("unk", "said", "others"),
    [(NONE, {"unk_token": "<unk>"}, {3}), (0, {"unk_token": "<unk>"}, set()), (NONE, {}, set())],
)
def test_unk_is_the_model_s_or_may_be_that_of_the_files(unk: int, said: dict[str, str], others: set[int]) -> None:
    found = with_ids(Library(), Rules(kind="bytes", pieces=PLAIN.pieces, unk=unk), tokenizer=said)
    assert (found.rules.unk, found.unk) == (unk, others)


@pytest.mark.parametrize(
    ("before", "after", "alone"),
    [([], [], [0]), ([1], [], [0]), ([], [2], [0]), ([1], [2], [0, 0]), ([0], [], [0]), ([0], [0], [0])],
)
def test_what_stands_around_a_text(before: list[int], after: list[int], alone: list[int]) -> None:
    found = source_tokenizer._around(Library(before, after, alone))  # type: ignore[arg-type]
    # of equal ids, the text may be either
    assert found in ((before, after), ([], [*before, *after]))


@pytest.mark.parametrize(("before", "after"), [([1, 1], []), ([], [2, 2]), ([3, 1], [2])])
def test_more_than_one_id_on_a_side_is_named(before: list[int], after: list[int]) -> None:
    with pytest.raises(NotHeldError, match=r"^more than one special token before or after a text$"):
        source_tokenizer._around(Library(before, after))  # type: ignore[arg-type]


def test_the_text_of_an_id_and_the_end_of_a_text() -> None:
    assert [text_of(RULES, token) for token in (-1, 0, 1, 3, 4)] == ["", "a", "<s>", "\ufffd", ""]
    assert end_of(RULES) == 2
    assert end_of(Rules(kind="bytes", pieces=(), eos=NONE, ends=(3, 4))) == 3
    assert end_of(Rules(kind="bytes", pieces=(), eos=0, ends=(3, 4))) == 0
    assert end_of(Rules(kind="bytes", pieces=())) == NONE


def test_a_v3_file_is_its_own_tokenizer() -> None:
    rules = Rules(kind="bytes", pieces=(b"a", b"<s>", b"</s>"), added={1: 1, 2: 1}, bos=1, ends=(2,))
    found = of_block(Path("model.bin"), block_of(rules), 3)
    assert (found.path, found.expected, found.library) == (Path("model.bin"), SourceRules(rules), None)
    assert (found.begin_text, found.end_text) == ("<s>", "</s>")
    with pytest.raises(
        CannotJudgeError, match=r"^model\.bin: tokenizer block: token_count: expected 1 to 2, found 3$"
    ):
        of_block(Path("model.bin"), block_of(rules), 2)


def beside(directory: Path, **files: Any) -> None:
    for name, said in files.items():
        (directory / f"{name}.json").write_text(json.dumps(said))


@pytest.mark.parametrize(("begins", "ends"), [(None, None), (False, True), (True, False)])
def test_the_config_says_what_sentencepiece_puts_around_a_text(
    tmp_path: Path, begins: bool | None, ends: bool | None
) -> None:
    path = source("sentencepiece", tmp_path)
    said = {"add_bos_token": begins, "add_eos_token": ends, "eos_token": "<end>"}
    beside(tmp_path, tokenizer_config={key: value for key, value in said.items() if value is not None})
    found = open_source_tokenizer(path)
    rules, library = found.expected.rules, found.library
    assert (rules.add_bos, rules.add_eos) == (begins is not False, ends is True)
    assert library is not None
    [ids], [plain] = (library.encode(["God"], special=special) for special in (True, False))
    assert ids == [1] * rules.add_bos + plain + [2] * rules.add_eos
    assert found.expected.eos == (frozenset() if ends else {NONE})
    assert (rules.ends, found.expected.ends) == ((2,), {2})
    assert (found.begin_text, found.end_text) == ("<s>", "<end>")


def test_the_ends_of_sentencepiece_s_generation_are_needed(tmp_path: Path) -> None:
    path = source("sentencepiece", tmp_path)
    beside(tmp_path, generation_config={"eos_token_id": [9, 5]})
    found = open_source_tokenizer(path).expected
    assert (found.rules.ends, found.ends) == ((5, 9), {2, 5, 9})


@pytest.mark.parametrize(
    ("said", "ends"),
    [({}, (801, 809)), ({"eos_token_id": [808, 801]}, (801, 808)), ({"eos_token_id": 3}, (801, 809))],
)
def test_the_ends_of_llama_3_s_generation_are_those_of_its_names(
    tmp_path: Path, said: dict[str, Any], ends: tuple[int, ...]
) -> None:
    path = source("ranks", tmp_path)
    beside(tmp_path, generation_config=said)
    (tmp_path / "chat_template.jinja").write_text("{{ x }}")
    found = open_source_tokenizer(path)
    assert (found.expected.rules.ends, found.expected.rules.template) == (ends, "{{ x }}")
    assert (found.begin_text, found.end_text) == ("<|begin_of_text|>", "<|end_of_text|>")


def test_a_structure_that_nobody_knows_is_no_source(tmp_path: Path) -> None:
    path = source("gpt2", tmp_path)
    path.write_text(path.read_text().replace('"type": "ByteLevel"', '"type": "ByteLevel", "use_regex": 3'))
    path.write_text(path.read_text().replace('"merges"', '"merged"'))
    with pytest.raises(CannotJudgeError, match=f"^{path}: expected a tokenizer"):
        open_source_tokenizer(path)


def test_byte_pairs_are_read_as_their_library_has_them(tmp_path: Path) -> None:
    path = source("byte-pairs", tmp_path)
    found = open_source_tokenizer(path)
    assert isinstance(found.library, FastLibrary)
    vocabulary = json.loads(found.library.json())["model"]["vocab"]
    assert len(found.expected.rules.pieces) >= len(vocabulary) > 256
    assert found.expected.rules.pieces[vocabulary["a"]] == b"a"


def test_a_sentencepiece_model_has_at_most_256_mebibytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limits: list[int] = []

    def read(path: Path, limit: int) -> bytes:
        limits.append(limit)
        return path.read_bytes()

    monkeypatch.setattr(source_tokenizer, "read_given", read)
    open_source_tokenizer(source("sentencepiece", tmp_path))
    assert limits == [1 << 28]
