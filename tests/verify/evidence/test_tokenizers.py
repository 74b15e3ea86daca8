"""A text becomes token ids by the source's own tokenizer, and a tokenizer that fails is refused in one line."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from verify.demo import CHECKPOINT, HELD_OUT_TEXT
from verify.errors import CannotJudgeError
from verify.evidence import Evidence
from verify.evidence.seed import Seed
from verify.evidence.tokenizers import decode, encode
from verify.sources import Source, open_source
from verify.system.signals import Interrupted

SEED = Seed(0, "given")
SENTENCEPIECE = CHECKPOINT.with_name("tokenizer.model")


@pytest.fixture(scope="module")
def source() -> Source:
    return open_source(CHECKPOINT)


def test_sentencepiece_gets_the_beginning_of_text_token_before_each_line(tmp_path: Path) -> None:
    first, second, both = (tmp_path / name for name in ("first", "second", "both"))
    first.write_text("In the beginning")
    second.write_text("And the earth")
    both.write_text("In the beginning\n\n  \nAnd the earth\n")
    ids = [encode(text, SENTENCEPIECE, 512).tolist() for text in (first, second, both)]
    assert ids[2] == ids[0] + ids[1]
    assert ids[0][0] == ids[1][0] == 1
    assert decode(SENTENCEPIECE, ids[0]) == "In the beginning"


def test_without_a_tokenizer_a_report_shows_no_text(tmp_path: Path) -> None:
    assert decode(tmp_path / "tokenizer.model", [1, 2]) == ""


def fast_tokenizer(directory: Path, tokens: int) -> Path:
    """Words become ids from 2 on; 1 begins every text; longer texts are to be cut, if one obeys the file."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    vocabulary = {"<unk>": 0, "<s>": 1, **{f"w{n}": n for n in range(2, tokens)}}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    tokenizer.enable_truncation(max_length=3)
    tokenizer.enable_padding(length=9)
    path = directory / "tokenizer.json"
    tokenizer.save(str(path))
    return path


def test_tokenizer_json_encodes_the_text_as_a_whole(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("w5 w6\nw7\n\nw8 unheard")
    path = fast_tokenizer(tmp_path, 10)
    assert encode(text, path, 512).tolist() == [1, 5, 6, 7, 8, 0]
    assert decode(path, [5, 6, 7]) == "w5 w6 w7"
    text.write_text(" \n")
    assert encode(text, path, 512).size == 0


def test_more_tokens_than_the_model_has_matter_where_they_are_used(source: Source, tmp_path: Path) -> None:
    path, text = fast_tokenizer(tmp_path, 600), tmp_path / "text.txt"
    text.write_text("w5 w511")
    assert Evidence(text=text, tokenizer=path).collect(source, 256, SEED)[0].tokens.tolist() == [1, 5, 511]
    text.write_text("w5 w512")
    with pytest.raises(
        CannotJudgeError,
        match=r"token: expected ids below the model's vocab_size of 512, found 512 in .*: tokenizer and model do not",
    ):
        Evidence(text=text, tokenizer=path).collect(source, 256, SEED)
    with pytest.raises(CannotJudgeError, match=r"expected ids below the model's vocab_size of 100, found"):
        encode(HELD_OUT_TEXT, source.tokenizer_path, 100)


def test_a_tokenizer_json_that_is_none_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "tokenizer.json"
    with pytest.raises(CannotJudgeError, match=r"expected a tokenizer, found no such file"):
        encode(HELD_OUT_TEXT, path, 512)
    path.write_text("{}")
    with pytest.raises(CannotJudgeError, match=r"expected a tokenizer.json, found none that loads: "):
        encode(HELD_OUT_TEXT, path, 512)
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(CannotJudgeError, match=r"^tokenizers: .*pip install 'export-and-verify\[huggingface\]'$"):
        encode(HELD_OUT_TEXT, path, 512)


WORDS = {"type": "WordLevel", "vocab": {"a": 0, "[UNK]": 1}, "unk_token": "[UNK]"}
PIECES = {"unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100}
TEMPLATE = {"single": [{"SpecialToken": {"id": "none", "type_id": 0}}], "pair": [], "special_tokens": {}}


def saved_tokenizer(directory: Path, **parts: Any) -> Path:
    path = directory / "tokenizer.json"
    parts = {"version": "1.0", "added_tokens": [], "pre_tokenizer": {"type": "Whitespace"}, "model": WORDS, **parts}
    path.write_text(json.dumps(parts))
    return path


@pytest.mark.parametrize(
    "parts",
    [
        {"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"}},  # panics
        {"post_processor": {"type": "TemplateProcessing", **TEMPLATE}},
        {"model": {"type": "WordLevel", "vocab": {"b": 0}, "unk_token": "[UNK]"}},  # loads, and cannot encode
        {"model": {"type": "Unigram", "unk_id": None, "vocab": [["b", -1.0]]}},
        {"model": {"type": "WordPiece", "vocab": {"b": 0}, **PIECES}},
        {"model": {"type": "BPE", "vocab": {"b": 0}, "merges": [], "unk_token": "[UNK]"}},
    ],
    ids=["Precompiled", "TemplateProcessing", "WordLevel", "Unigram", "WordPiece", "BPE"],
)
def test_a_tokenizer_that_cannot_encode_is_refused_in_one_line(
    source: Source, tmp_path: Path, parts: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    text = tmp_path / "text.txt"
    text.write_text("a a a")
    path = saved_tokenizer(tmp_path, **parts)
    with pytest.raises(CannotJudgeError, match=r"tokenizer\.json: expected a tokenizer.*, found none that ") as error:
        Evidence(text=text, tokenizer=path).collect(source, 256, SEED)
    assert len(str(error.value).splitlines()) == 1
    assert capfd.readouterr() == ("", "")
    sys.stderr.write("still heard\n")
    assert capfd.readouterr().err == "still heard\n"


def test_a_tokenizer_that_cannot_decode_is_refused_in_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = saved_tokenizer(tmp_path, decoder={"type": "Strip", "content": "a", "start": 1, "stop": 1})
    with pytest.raises(CannotJudgeError, match=r"tokenizer\.json: expected a tokenizer that decodes"):
        decode(path, [0])
    assert capfd.readouterr() == ("", "")


def test_a_sentencepiece_model_without_beginning_of_text_is_refused(tmp_path: Path) -> None:
    def field(number: int, content: bytes) -> bytes:
        return bytes([number << 3 | 2, len(content)]) + content

    # as protobuf has them: piece, and its kind (unknown, control, normal)
    pieces = ((b"<unk>", 2), (b"</s>", 3), (b"a", 1), ("\u2581".encode(), 1))
    path = tmp_path / "tokenizer.model"
    path.write_bytes(b"".join(field(1, field(1, piece) + bytes([3 << 3, kind])) for piece, kind in pieces))
    text = tmp_path / "text.txt"
    text.write_text("a a a")
    with pytest.raises(CannotJudgeError, match=r"tokenizer\.model: expected a tokenizer that encodes .*BOS"):
        encode(text, path, 512)


@pytest.mark.parametrize("raised", [KeyboardInterrupt(), Interrupted(130)])
def test_a_signal_while_a_tokenizer_works_is_not_taken_for_its_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raised: BaseException
) -> None:
    import tokenizers

    class Slow:
        def from_file(self, _path: str) -> None:
            raise raised

    monkeypatch.setattr(tokenizers, "Tokenizer", Slow())
    with pytest.raises(type(raised)):
        encode(HELD_OUT_TEXT, saved_tokenizer(tmp_path), 512)
