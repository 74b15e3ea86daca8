"""What a tokenizer.json does before and after byte pair encoding, step by step: each is understood or named."""

from __future__ import annotations

from typing import Any

import pytest

from exporter.errors import CheckpointError
from exporter.tokenizers.pipeline import PATTERNS, Pipeline, read_pipeline, read_template

SPACE = "\u2581"
BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
BARE = BYTES | {"use_regex": False}
DIGITS = {"type": "Digits", "individual_digits": True}
NFC = {"type": "NFC"}
REPLACE = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
PREPEND = {"type": "Prepend", "prepend": SPACE}
CUT = {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False}
BACK = {"type": "Replace", "pattern": {"String": SPACE}, "content": " "}
STRIP = {"type": "Strip", "content": " ", "start": 1, "stop": 0}
DECODER = [BACK, {"type": "ByteFallback"}, {"type": "Fuse"}]


def split(name: str, **others: Any) -> dict[str, Any]:
    [pattern] = [text for text, known in PATTERNS.items() if known == name]
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False} | others


def several(key: str, *steps: Any) -> dict[str, Any]:
    return {"type": "Sequence", key: list(steps)}


def of_bytes(pre_tokenizer: Any, normalizer: Any = None, decoder: Any = BYTES) -> dict[str, Any]:
    return {"pre_tokenizer": pre_tokenizer, "normalizer": normalizer, "decoder": decoder}


def of_characters(normalizer: Any, pre_tokenizer: Any = None, *, strips: bool = False) -> dict[str, Any]:
    decoder = several("decoders", *DECODER, *([STRIP] if strips else []))
    return {"pre_tokenizer": pre_tokenizer, "normalizer": normalizer, "decoder": decoder}


def cut(*steps: Any) -> dict[str, Any]:
    return several("pretokenizers", *steps)


def refusal(file: dict[str, Any]) -> str:
    with pytest.raises(CheckpointError) as refused:
        read_pipeline("here", file)
    return str(refused.value)


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        (of_bytes(BYTES), Pipeline("bytes", "gpt2")),
        (of_bytes({"type": "ByteLevel"}), Pipeline("bytes", "gpt2")),
        (of_bytes(BARE), Pipeline("bytes")),
        (of_bytes(BYTES | {"add_prefix_space": True}), Pipeline("bytes", "gpt2", space_first=True)),
        (of_bytes(BYTES, NFC), Pipeline("bytes", "gpt2", nfc=True)),
        (of_bytes(BYTES, several("normalizers", NFC)), Pipeline("bytes", "gpt2", nfc=True)),
        (of_bytes(BYTES, several("normalizers")), Pipeline("bytes", "gpt2")),
        (of_bytes(cut(BYTES)), Pipeline("bytes", "gpt2")),
        (of_bytes(cut(DIGITS, BYTES)), Pipeline("bytes", "gpt2", digits=True)),
        (of_bytes(cut(DIGITS, BYTES), NFC), Pipeline("bytes", "gpt2", nfc=True, digits=True)),
        (of_bytes(cut(split("gpt2"), BARE)), Pipeline("bytes", "gpt2")),
        (of_bytes(cut(split("llama3"), BARE)), Pipeline("bytes", "llama3")),
        (of_bytes(cut(split("qwen2"), BARE), NFC), Pipeline("bytes", "qwen2", nfc=True)),
        (of_characters(REPLACE), Pipeline("characters")),
        (of_characters(REPLACE, CUT), Pipeline("characters")),
        (
            of_characters(several("normalizers", PREPEND, REPLACE), strips=True),
            Pipeline("characters", space_first=True),
        ),
    ],
)
def test_what_formats_hold_is_understood(file: dict[str, Any], expected: Pipeline) -> None:
    assert read_pipeline("here", file) == expected


@pytest.mark.parametrize(
    "steps",
    [
        [BARE | {"add_prefix_space": True}],
        [DIGITS, BARE],
        [DIGITS, BYTES | {"add_prefix_space": True}],
        [DIGITS | {"individual_digits": False}, BYTES],
        [DIGITS, split("llama3"), BARE],
        [split("llama3"), BYTES],
        [split("llama3"), BARE | {"add_prefix_space": True}],
        [split("llama3", invert=True), BARE],
        [split("llama3", behavior="Removed"), BARE],
        [split("llama3", pattern={"Regex": "x"}), BARE],
        [split("llama3", pattern={"Regex": 3}), BARE],
        [split("llama3", pattern={"String": " "}), BARE],
        [split("llama3", pattern=" "), BARE],
        [BYTES, BYTES],
        [BYTES | {"use_regex": 3}],
        [BYTES | {"other": 3}],
    ],
)
def test_other_cutters_of_bytes_are_named(steps: list[dict[str, Any]]) -> None:
    found = refusal(of_bytes(cut(*steps)))
    assert found.startswith(
        "here: pre_tokenizer: expected ByteLevel alone, after Digits, or after the regular expression of Llama 3 or "
        f"Qwen 2 with use_regex false, found {steps[0]['type']} ("
    )


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (of_bytes(BYTES, {"type": "NFD"}), "normalizer: expected none or NFC, found NFD"),
        (of_bytes(BYTES, several("normalizers", NFC, NFC)), "normalizer: expected none or NFC, found NFC, NFC"),
        (of_bytes(BYTES, None, None), "decoder: expected ByteLevel, found none"),
        (of_bytes(BYTES, None, several("decoders", BYTES, {"type": "Fuse"})), "decoder: expected ByteLevel, found "
         "ByteLevel (add_prefix_space False, trim_offsets True, use_regex True), Fuse"),
        (of_bytes(BYTES, 3), "normalizer: expected none or NFC, found 3"),
        (of_bytes(BYTES, several("normalizers", 3)), "normalizer: expected none or NFC, found 3"),
        (of_bytes(BYTES, {"type": "Sequence", "normalizers": 3}), "normalizer: expected none or NFC, found 3"),
        (of_characters(REPLACE, DIGITS),
         "pre_tokenizer: expected none, or one with ByteLevel, found Digits (individual_digits True)"),
        (of_characters(PREPEND), "normalizer: expected Replace of a space by U+2581, with Prepend or without, found "
         "Prepend (prepend '\\u2581')"),
        (of_characters(None),
         "normalizer: expected Replace of a space by U+2581, with Prepend or without, found none"),
        (of_characters(REPLACE, strips=True), "decoder: expected Replace, ByteFallback, Fuse, found Replace "
         "(pattern '\\u2581', content ' '), ByteFallback, Fuse, Strip (content ' ', start 1, stop 0)"),
        (of_characters(several("normalizers", PREPEND, REPLACE)), "decoder: expected Replace, ByteFallback, Fuse, "
         "Strip, found Replace (pattern '\\u2581', content ' '), ByteFallback, Fuse"),
        (of_characters({"type": ["x"], "a": {"b": 1, "c": 2}}), "normalizer: expected Replace of a space by U+2581, "
         "with Prepend or without, found ['x'] (a {'b': 1, 'c': 2})"),
        (of_characters({"type": "x" * 50}), "normalizer: expected Replace of a space by U+2581, with Prepend or "
         f"without, found {'x' * 40}"),
    ],
)  # fmt: skip
def test_other_steps_are_named(file: dict[str, Any], message: str) -> None:
    assert refusal(file) == f"here: {message}"


def text(name: str = "A") -> dict[str, Any]:
    return {"Sequence": {"id": name, "type_id": 0}}


def special(name: str) -> dict[str, Any]:
    return {"SpecialToken": {"id": name, "type_id": 0}}


def template(*single: Any, **ids: Any) -> dict[str, Any]:
    known = {name: {"id": name, "ids": found, "tokens": [name]} for name, found in ids.items()}
    return {"type": "TemplateProcessing", "single": list(single), "pair": [], "special_tokens": known}


def around(*steps: Any) -> tuple[list[int], list[int]]:
    return read_template("here", {"post_processor": several("processors", *steps)})


def test_ids_before_and_behind_a_text() -> None:
    assert read_template("here", {}) == around() == around(BYTES) == ([], [])
    whole = template(special("s"), text(), special("e"), special("f"), s=[1, 9], e=[2], f=[0])
    assert around(whole) == around(BYTES, whole) == ([1, 9], [2, 0])
    assert read_template("here", {"post_processor": whole}) == ([1, 9], [2, 0])
    assert around(template(text())) == ([], [])


_ONE = "expected none, ByteLevel or one TemplateProcessing"


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([template(), template()], f"{_ONE}, found TemplateProcessing ("),
        ([{"type": "Other"}], f"{_ONE}, found Other"),
        (
            [template() | {"single": 3}],
            f"{_ONE}, found TemplateProcessing (",
        ),
        ([template()], "expected one text, found 0"),
        ([template(text(), text())], "expected one text, found 2"),
        ([template(text(), text(), special("s"), s=[1])], "expected special tokens and a text, found dict"),
        ([template(text("B"))], "expected special tokens and a text, found dict"),
        ([template(3)], "expected special tokens and a text, found 3"),
        ([template({"SpecialToken": 3})], "expected special tokens and a text, found {'SpecialToken': 3}"),
        ([template({"SpecialToken": {"id": 3}})], "expected special tokens and a text, found dict"),
        ([template(special("s"))], "special_tokens: 's': expected ids, found None"),
        ([template(special("s"), s=3)], "special_tokens: 's': expected ids, found 3"),
        ([template(special("s"), s=[True])], "special_tokens: 's': expected ids, found [True]"),
        ([template(special("s")) | {"special_tokens": 3}], "special_tokens: 's': expected ids, found None"),
        ([template(special("s")) | {"special_tokens": {"s": 3}}], "special_tokens: 's': expected ids, found None"),
    ],
)
def test_other_templates_are_named(steps: list[Any], message: str) -> None:
    with pytest.raises(CheckpointError) as refused:
        around(*steps)
    assert str(refused.value).startswith(f"here: post_processor: {message}")


def test_a_pipeline_does_nothing_that_it_does_not_say() -> None:
    assert Pipeline("bytes") == Pipeline("bytes", "none", nfc=False, digits=False, space_first=False)
