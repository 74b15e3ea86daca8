"""SentencePiece's tokenizer.model: read field by field, and everything but plain byte pair encoding refused."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
from helpers.tokenizer_sources import save_sentencepiece, sentencepiece_model

from exporter.errors import CheckpointError
from exporter.tokenizers.model import TokenizerModel
from exporter.tokenizers.protobuf import Message
from exporter.tokenizers.read import read_tokenizer


def test_everything_is_as_the_library_reads_it(tmp_path: Path) -> None:
    path = save_sentencepiece(tmp_path / "tokenizer.model")
    judge = sentencepiece.SentencePieceProcessor(model_file=str(path))
    model = read_tokenizer(path)
    tokens = range(judge.vocab_size())
    assert [piece.decode() for piece in model.pieces] == [judge.id_to_piece(token) for token in tokens]
    assert model.scores == tuple(judge.get_score(token) for token in tokens)
    special = {t for t in tokens if judge.is_control(t) or judge.is_unknown(t) or judge.is_byte(t)}
    assert model.reserved == special
    assert (model.bos, model.eos, model.unk) == (judge.bos_id(), judge.eos_id(), judge.unk_id())
    assert (model.kind, model.space_first, model.byte_fallback, model.strips_spaces) == (
        "characters",
        True,
        True,
        False,
    )
    assert (model.begins_with_bos, model.ends_with_eos, model.eos_ids) == (True, False, (2,))


def read(path: Path, **options: Any) -> TokenizerModel:
    return read_tokenizer(save_sentencepiece(path / "tokenizer.model", **options))


def test_options_of_the_training_are_read(tmp_path: Path) -> None:
    model = read(
        tmp_path,
        add_dummy_prefix=False,
        remove_extra_whitespaces=True,
        byte_fallback=False,
        bos_id=-1,
        eos_piece="<end>",
        vocab_size=300,
    )
    assert (model.space_first, model.strips_spaces, model.byte_fallback) == (False, True, False)
    assert (model.bos, model.begins_with_bos) == (None, False)
    assert model.pieces[model.eos or 0] == b"<end>"


def test_tokenizer_config_says_what_begins_and_ends_a_text(tmp_path: Path) -> None:
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"add_bos_token": False, "add_eos_token": True}))
    model = read(tmp_path)
    assert (model.begins_with_bos, model.ends_with_eos) == (False, True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"model_type": "unigram", "byte_fallback": False, "vocab_size": 200},
            "trainer_spec: model_type: expected BPE, found unigram",
        ),
        (
            {"model_type": "char", "byte_fallback": False, "vocab_size": 40},
            "trainer_spec: model_type: expected BPE, found char",
        ),
        (
            {"normalization_rule_name": "nmt_nfkc"},
            "normalizer_spec: expected no normalizer (identity), found 'nmt_nfkc'",
        ),
        (
            {"treat_whitespace_as_suffix": True},
            "trainer_spec: treat_whitespace_as_suffix: expected false, found true",
        ),
        (
            {"user_defined_symbols": ["<x>"]},
            "piece 3: type: expected normal, unknown, control or byte, found user defined ('<x>'): "
            "give the model's tokenizer.json",
        ),
    ],
)
def test_what_no_format_holds_is_refused_by_name(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError) as refused:
        read(tmp_path, **options)
    assert str(refused.value) == f"{tmp_path / 'tokenizer.model'}: {message}"


def field(number: int, content: bytes) -> bytes:
    return bytes([number << 3 | 2, len(content)]) + content


def piece(text: bytes, score: float = 0.0, kind: int = 1) -> bytes:
    return field(1, field(1, text) + b"\x15" + struct.pack("<f", score) + bytes([0x18, kind]))


BPE = field(2, b"\x18\x02")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (piece(b"a"), "trainer_spec: model_type: expected BPE, found unigram"),
        (piece(b"a") + piece(b"a") + BPE, "piece 1: expected a new piece, found that of 0"),
        (piece(b"") + BPE, "piece 0: expected 1 to 65536 bytes, found 0"),
        (piece(b"\xff") + BPE, "piece 0: expected UTF-8, found"),
        (piece(b"a", math.inf) + BPE, "piece 0: score: expected a finite number, found inf"),
        (piece(b"a", math.nan) + BPE, "piece 0: score: expected a finite number, found nan"),
        (piece(b"a", kind=5) + BPE, "piece 0: type: expected normal, unknown, control or byte, found unused ('a')"),
        (piece(b"a", kind=9) + BPE, "piece 0: type: expected normal, unknown, control or byte, found 9 ('a')"),
        (piece(b"a b") + BPE, "piece 0: expected '\\u2581' for a space, found a space in 'a b'"),
        (
            piece(b"a") + BPE + field(3, b"\x28\x00"),
            "normalizer_spec: escape_whitespaces: expected true, found false",
        ),
        (piece(b"a") + BPE + field(5, field(1, b"x") + field(2, b"y")), "denormalizer_spec: expected no normalizer"),
        (field(1, b"\x0a\x05a"), "trainer_spec: model_type"),
        (piece(b"a") + BPE + b"\x0a\x7f", "byte 18: field 1: expected 127 bytes, found 0"),
        (piece(b"a") + b"\x0b", "byte 13: expected a field of SentencePiece's model, found type 3"),
        (piece(b"a") + b"\x0a\xff", "byte 14: expected the rest of an integer, found the end"),
        (piece(b"a") + b"\x0a" + b"\xff" * 12, "byte 13: expected an integer of at most 10 bytes, found more"),
        (piece(b"a") + BPE + b"\x08\x01", "field 1: expected bytes, found an integer"),
    ],
)
def test_damaged_files_are_refused_at_their_place(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "tokenizer.model"
    path.write_bytes(content)
    with pytest.raises(CheckpointError) as refused:
        read_tokenizer(path)
    assert str(refused.value).startswith(f"{path}: {message}")


def test_fields_of_another_type_are_refused() -> None:
    with pytest.raises(CheckpointError, match="here: field 1: expected an integer, found bytes"):
        Message("here", field(1, b"a")).integer(1, 0)
    with pytest.raises(CheckpointError, match="here: field 2: expected 4 bytes, found 8"):
        Message("here", b"\x11" + bytes(8)).float32(2)


def test_every_truncation_and_changed_byte_is_read_or_refused_in_one_line(tmp_path: Path) -> None:
    content = sentencepiece_model(350)
    path = tmp_path / "tokenizer.model"
    refused = 0
    for at in range(0, len(content), 23):
        for changed in (content[:at], content[:at] + bytes([content[at] ^ 0x55]) + content[at + 1 :]):
            path.write_bytes(changed)
            try:
                read_tokenizer(path)
            except CheckpointError:
                refused += 1
    assert refused > 100
