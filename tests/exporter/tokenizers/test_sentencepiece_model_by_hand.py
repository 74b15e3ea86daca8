"""SentencePiece's tokenizer.model written field by field: defaults of absent fields, names, and limits."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from exporter.errors import CheckpointError
from exporter.tokenizers.files import Files
from exporter.tokenizers.model import TokenizerModel
from exporter.tokenizers.sentencepiece_model import read_sentencepiece
from exporter.tokenizers.settings import read_settings


def varint(number: int) -> bytes:
    return (bytes([number & 0x7F | 0x80]) + varint(number >> 7)) if number > 0x7F else bytes([number])


def field(number: int, content: bytes | int) -> bytes:
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    return varint(number << 3 | 2) + varint(len(content)) + content


def piece(text: bytes, kind: int = 1) -> bytes:
    return field(1, field(1, text) + b"\x15" + struct.pack("<f", -1.5) + field(3, kind))


PIECES = piece(b"<s>", 3) + piece(b"</s>", 3) + piece(b"a") + piece(b"<begin>", 3) + piece(b"<end>", 3)


def read(tmp_path: Path, content: bytes) -> TokenizerModel:
    path = tmp_path / "tokenizer.model"
    path.write_bytes(content)
    return read_sentencepiece(Files(path), read_settings(Files(path)))


def refusal(tmp_path: Path, content: bytes) -> str:
    with pytest.raises(CheckpointError) as refused:
        read(tmp_path, content)
    return str(refused.value).removeprefix(f"{tmp_path}/tokenizer.model: ")


def test_absent_fields_have_the_defaults_of_the_format(tmp_path: Path) -> None:
    model = read(tmp_path, PIECES + field(2, field(3, 2)))
    assert (model.bos, model.eos, model.unk, model.eos_ids) == (0, 1, None, (1,))
    assert (model.space_first, model.byte_fallback, model.strips_spaces) == (True, False, True)
    assert (model.begins_with_bos, model.ends_with_eos) == (True, False)


def test_each_field_says_what_its_number_means(tmp_path: Path) -> None:
    trainer = field(2, field(3, 2) + field(35, 1) + field(45, b"</s>") + field(46, b"<begin>") + field(47, b"<end>"))
    model = read(tmp_path, PIECES + trainer + field(3, field(3, 0) + field(4, 0)))
    assert (model.bos, model.eos, model.eos_ids) == (3, 4, (4,))
    assert (model.space_first, model.byte_fallback, model.strips_spaces) == (False, True, False)
    assert (model.pieces, model.scores) == ((b"<s>", b"</s>", b"a", b"<begin>", b"<end>"), (-1.5,) * 5)
    # what is no control piece begins no text
    assert read(tmp_path, PIECES + field(2, field(3, 2) + field(46, b"a"))).bos is None


@pytest.mark.parametrize(("number", "name"), [(1, "unigram"), (3, "word"), (4, "char"), (5, "5")])
def test_another_algorithm_is_refused_by_its_name(tmp_path: Path, number: int, name: str) -> None:
    said = f"trainer_spec: model_type: expected BPE, found {name}"
    assert refusal(tmp_path, PIECES + field(2, field(3, number))) == said


def test_there_are_so_many_pieces_and_so_long_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bpe = field(2, field(3, 2))
    assert refusal(tmp_path, bpe) == "pieces: expected 1 to 16777216, found 0"
    assert read(tmp_path, piece(b"x" * 65536) + bpe).pieces == (b"x" * 65536,)
    assert refusal(tmp_path, piece(b"x" * 65537) + bpe) == "piece 0: expected 1 to 65536 bytes, found 65537"
    monkeypatch.setattr("exporter.tokenizers.sentencepiece_model.MOST_TOKENS", 5)
    assert len(read(tmp_path, PIECES + bpe).pieces) == 5
    assert refusal(tmp_path, PIECES + piece(b"b") + bpe) == "pieces: expected 1 to 5, found 6"
