"""tokenizer.json is understood exactly, or refused by its name and place."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from helpers.tokenizer_sources import byte_level_json, llama2_json, save_json, template
from helpers.tokenizers import LLAMA3, trained
from tokenizers import Tokenizer

from exporter.errors import CheckpointError
from exporter.tokenizers.read import read_tokenizer

File = dict[str, Any]
QWEN2 = LLAMA3.replace("{1,3}", "")
SPLIT = {"type": "Split", "pattern": {"Regex": LLAMA3}, "behavior": "Isolated", "invert": False}
BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
WITHOUT = {**BYTE_LEVEL, "use_regex": False}
EXPECTED_CUTTER = (
    "ByteLevel alone, after Digits, or after the regular expression of Llama 3 or Qwen 2 with use_regex false"
)


@pytest.fixture(scope="module")
def byte_level() -> File:
    return byte_level_json(trained(None, 300))


@pytest.fixture(scope="module")
def characters() -> File:
    return llama2_json(300)


def sequence(*steps: File) -> File:
    return {"type": "Sequence", "pretokenizers": list(steps)}


@pytest.mark.parametrize(
    ("cutter", "normalizer", "expected"),
    [
        (BYTE_LEVEL, None, {"pattern": "gpt2"}),
        (BYTE_LEVEL, {"type": "NFC"}, {"pattern": "gpt2", "nfc": True}),
        ({**BYTE_LEVEL, "add_prefix_space": True}, None, {"pattern": "gpt2", "space_first": True}),
        (WITHOUT, None, {"pattern": "none"}),
        (
            sequence({"type": "Digits", "individual_digits": True}, BYTE_LEVEL),
            None,
            {"pattern": "gpt2", "digits": True},
        ),
        (sequence(SPLIT, WITHOUT), None, {"pattern": "llama3"}),
        (
            sequence({**SPLIT, "pattern": {"Regex": QWEN2}}, WITHOUT),
            {"type": "NFC"},
            {"pattern": "qwen2", "nfc": True},
        ),
    ],
)
def test_published_pre_tokenizers_are_recognised(
    byte_level: File, cutter: File, normalizer: File | None, expected: File, tmp_path: Path
) -> None:
    file = {**byte_level, "pre_tokenizer": cutter, "normalizer": normalizer}
    model = read_tokenizer(save_json(tmp_path / "tokenizer.json", file))
    found = {name: getattr(model, name) for name in ("pattern", "nfc", "space_first", "digits")}
    assert found == {"pattern": "none", "nfc": False, "space_first": False, "digits": False, **expected}
    assert model.kind == "bytes"


def with_(file: File, path: str, value: object) -> File:
    """Return a copy in which the field at a path such as "model.dropout" has a value."""
    changed = copy.deepcopy(file)
    *parents, last = path.split(".")
    inner = changed
    for name in parents:
        inner = inner[int(name)] if isinstance(inner, list) else inner[name]
    inner[int(last) if isinstance(inner, list) else last] = value
    return changed


OF_BYTES: list[tuple[str, object, str]] = [
    ("model.type", "Unigram", "model: type: expected BPE, found 'Unigram'"),
    ("model.type", "WordPiece", "model: type: expected BPE, found 'WordPiece'"),
    ("model.dropout", 0.1, "model: dropout: expected none, found 0.1"),
    ("model.continuing_subword_prefix", "##", "model: continuing_subword_prefix: expected none, found '##'"),
    ("model.end_of_word_suffix", "</w>", "model: end_of_word_suffix: expected none, found '</w>'"),
    ("model.byte_fallback", True, "model: byte_fallback: expected false with ByteLevel, found true"),
    ("model.ignore_merges", 1, "model: ignore_merges: expected true or false, found 1"),
    ("model.cache", 3, "model: expected one of type, vocab, merges, unk_token, fuse_unk, byte_fallback, "
     "ignore_merges, found 'cache'"),
    ("model.merges", {}, "model: expected an object vocab and a list merges, found no such pair"),
    ("model.merges", ["a b c"], "merges: 0: expected two pieces, found 'a b c'"),
    ("model.merges", [["a", "zzzz"]], "merges: 0: expected pieces of the vocabulary, found 'zzzz'"),
    ("model.merges", [["e", "r"], ["e", "r"]], "merges: 1: expected a new pair, found that of 0"),
    ("model.vocab", {"a": 0, "b": 0}, "vocab: 'b': expected an id of its own, found 0 again"),
    ("model.vocab", {"a": -1}, "vocab: 'a': expected an id from 0 to 16777215, found -1"),
    ("model.vocab", {"a": True}, "vocab: 'a': expected an id from 0 to 16777215, found True"),
    ("model", None, "model: expected an object, found None"),
    ("normalizer", {"type": "NFKC"}, "normalizer: expected none or NFC, found NFKC"),
    ("normalizer", {"type": "Lowercase"}, "normalizer: expected none or NFC, found Lowercase"),
    ("decoder", {"type": "WordPiece", "prefix": "##"}, "decoder: expected ByteLevel, found WordPiece (prefix '##')"),
    ("decoder", None, "decoder: expected ByteLevel, found none"),
    ("pre_tokenizer", sequence({**SPLIT, "pattern": {"Regex": r"\d+"}}, WITHOUT),
     f"pre_tokenizer: expected {EXPECTED_CUTTER}, found Split (pattern '\\\\d+', behavior 'Isolated', invert False), "
     "ByteLevel (add_prefix_space False, trim_offsets True, use_regex False)"),
    ("pre_tokenizer", sequence({**SPLIT, "behavior": "Removed"}, WITHOUT), None),
    ("pre_tokenizer", sequence(SPLIT, BYTE_LEVEL), None),
    ("pre_tokenizer", sequence(SPLIT, {**WITHOUT, "add_prefix_space": True}), None),
    ("pre_tokenizer", sequence({"type": "Digits", "individual_digits": False}, BYTE_LEVEL), None),
    ("pre_tokenizer", sequence(BYTE_LEVEL, SPLIT), None),
    ("pre_tokenizer", {**WITHOUT, "add_prefix_space": True}, None),
    ("pre_tokenizer", {"type": "Whitespace"},
     "pre_tokenizer: expected none, or one with ByteLevel, found Whitespace"),
    ("post_processor", {"type": "BertProcessing", "sep": ["a", 1]},
     "post_processor: expected none, ByteLevel or one TemplateProcessing, found BertProcessing (sep ['a', 1])"),
    ("post_processor", template(["<|begin|>"] * 2, {"<|begin|>": 300}),
     "post_processor: expected at most one token at each end, found 2 and 0"),
    ("post_processor", template(["<|begin|>"], {}),
     "post_processor: special_tokens: '<|begin|>': expected ids, found None"),
    ("post_processor", template(["<|begin|>"], {"<|begin|>": 3000}),
     "post_processor: expected an id of the vocabulary, found 3000"),
    ("added_tokens.0.id", 999, "added token '<|begin|>': id: expected 300, the next one, found 999"),
    ("added_tokens.0.content", "", "added_tokens: 0: content: expected a text of 1 to 65536 bytes, found ''"),
    ("added_tokens.1.content", "<|begin|>", "added_tokens: 1: expected a new token, found '<|begin|>' again"),
    ("added_tokens.0.lstrip", "no", "added_tokens: 0: lstrip: expected true or false, found 'no'"),
    ("added_tokens.0", [], "added_tokens: 0: expected an object, found []"),
    ("added_tokens.0.content", "\ud800",
     "added_tokens: 0: content: expected text that UTF-8 can express, found '\\ud800'"),
    ("added_tokens", 3, "added_tokens: expected a list, found 3"),
]  # fmt: skip
OF_CHARACTERS: list[tuple[str, object, str]] = [
    ("model.byte_fallback", False, "model: byte_fallback: expected true without ByteLevel, found false"),
    ("normalizer", None, "normalizer: expected Replace of a space by U+2581, with Prepend or without, found none"),
    ("pre_tokenizer", {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "first", "split": False},
     "pre_tokenizer: expected none, or one with ByteLevel, found Metaspace (replacement '\\u2581', "
     "prepend_scheme 'first', split False)"),
    ("decoder", {"type": "Fuse"}, "decoder: expected Replace, ByteFallback, Fuse, Strip, found Fuse"),
    ("added_tokens.1.normalized", True, "added token '<s>': normalized: expected false, found true"),
]  # fmt: skip


def refusal(path: Path, file: File) -> str:
    save_json(path, file)
    with pytest.raises(CheckpointError) as refused:
        read_tokenizer(path)
    message = str(refused.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message.removeprefix(f"{path}: ")


@pytest.mark.parametrize(("field", "value", "message"), OF_BYTES)
def test_what_is_not_understood_of_a_byte_level_file_is_refused(
    byte_level: File, field: str, value: object, message: str | None, tmp_path: Path
) -> None:
    found = refusal(tmp_path / "tokenizer.json", with_(byte_level, field, value))
    assert (
        found.startswith(f"pre_tokenizer: expected {EXPECTED_CUTTER}, found ")
        if message is None
        else found == message
    )


@pytest.mark.parametrize(("field", "value", "message"), OF_CHARACTERS)
def test_what_is_not_understood_of_a_file_over_characters_is_refused(
    characters: File, field: str, value: object, message: str, tmp_path: Path
) -> None:
    assert refusal(tmp_path / "tokenizer.json", with_(characters, field, value)) == message


def test_a_byte_without_a_piece_is_refused_where_something_else_would_stand_for_it(
    byte_level: File, characters: File, tmp_path: Path
) -> None:
    def without(file: File, text: str) -> File:
        file = copy.deepcopy(file)
        file["model"]["vocab"][f"{text}{text}{text}"] = file["model"]["vocab"].pop(text)
        file["model"]["merges"] = []
        return file

    path = tmp_path / "tokenizer.json"
    unknown = with_(without(byte_level, "a"), "model.unk_token", "<|end|>")
    assert refusal(path, unknown) == ("model: unk_token: expected none where byte 0x61 has no piece, found '<|end|>'")
    assert read_tokenizer(save_json(path, without(byte_level, "a"))).unk is None
    missing = refusal(path, without(characters, "<0x0A>"))
    assert missing == "vocab: expected pieces for all bytes, found none for <0x0A>"


def test_gemma_s_file_puts_no_space_before_the_text(characters: File, tmp_path: Path) -> None:
    file = copy.deepcopy(characters)
    file["normalizer"] = file["normalizer"]["normalizers"][1]
    file["decoder"]["decoders"].pop()
    file["pre_tokenizer"] = {
        "type": "Split",
        "pattern": {"String": " "},
        "behavior": "MergedWithPrevious",
        "invert": False,
    }
    model = read_tokenizer(save_json(tmp_path / "tokenizer.json", file))
    assert (model.kind, model.space_first, model.byte_fallback, model.unk) == ("characters", False, True, 0)


def test_added_tokens_of_the_vocabulary_keep_their_ids_and_new_ones_follow(byte_level: File, tmp_path: Path) -> None:
    file = copy.deepcopy(byte_level)
    first, second, third = file["added_tokens"]
    old = {**first, "id": file["model"]["vocab"]["a"], "content": "a"}
    file["added_tokens"] = [old, first, {**old, "id": file["model"]["vocab"]["b"], "content": "b"}, second, third]
    path = save_json(tmp_path / "tokenizer.json", file)
    model, judge = read_tokenizer(path), Tokenizer.from_file(str(path))
    texts = ["a", "b", "<|begin|>", "<|end|>", "<|turn|>"]
    assert [token.id for token in model.added] == sorted(judge.token_to_id(text) or 0 for text in texts)
    assert [model.pieces[token.id].decode() for token in model.added] == texts


def test_old_files_write_merges_as_one_text(byte_level: File, tmp_path: Path) -> None:
    file = copy.deepcopy(byte_level)
    pairs = file["model"]["merges"]
    file["model"]["merges"] = [" ".join(pair) for pair in pairs]
    del file["model"]["type"]
    old = read_tokenizer(save_json(tmp_path / "tokenizer.json", file))
    new = read_tokenizer(save_json(tmp_path / "tokenizer.json", byte_level))
    assert old == new
    assert len(new.merges) == len(pairs)


def test_post_processor_decides_what_begins_and_ends_a_text(byte_level: File, tmp_path: Path) -> None:
    ids = {"<|begin|>": 300, "<|end|>": 301}
    steps = [{**BYTE_LEVEL}, template(["<|begin|>"], ids, ["<|end|>"])]
    file = {**byte_level, "post_processor": {"type": "Sequence", "processors": steps}}
    config = {"add_bos_token": False, "bos_token": "<|turn|>", "eos_token": "<|turn|>"}
    model = read_tokenizer(save_json(tmp_path / "tokenizer.json", file, config))
    assert (model.bos, model.eos, model.begins_with_bos, model.ends_with_eos) == (300, 301, True, True)
    model = read_tokenizer(save_json(tmp_path / "tokenizer.json", {**byte_level, "post_processor": None}, config))
    assert (model.bos, model.eos, model.begins_with_bos, model.ends_with_eos) == (302, 302, False, False)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"model": {}, "model": {}}', "expected each key once, found 'model' twice"),
        (b"{", "expected JSON, found otherwise: "),
        (b'{"model": NaN}', "expected numbers that JSON has, found NaN"),
        (b'{"a": ' + b"[" * 100_000, "expected JSON of a few levels, found too many"),
    ],
)
def test_json_is_read_strictly(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_bytes(content)
    with pytest.raises(CheckpointError) as refused:
        read_tokenizer(path)
    assert str(refused.value).startswith(f"{path}: {message}")


@pytest.mark.parametrize("other", [{}, [], None, 7, "x", [{}], {"type": {}}, {"type": "Sequence"}])
def test_every_field_of_another_type_is_refused_in_one_line(byte_level: File, other: object, tmp_path: Path) -> None:
    """Each field that is replaced is refused, or means what its absence means; nothing else comes out."""
    of_model = [f"model.{name}" for name in byte_level["model"]]
    of_token = [f"added_tokens.0.{name}" for name in byte_level["added_tokens"][0]]
    messages = []
    for field in (*byte_level, *of_model, *of_token):
        path = save_json(tmp_path / "tokenizer.json", with_(byte_level, field, other))
        try:
            read_tokenizer(path)
        except CheckpointError as error:
            messages.append(str(error))
    assert len(messages) > 5
    assert not any("\n" in message for message in messages)
