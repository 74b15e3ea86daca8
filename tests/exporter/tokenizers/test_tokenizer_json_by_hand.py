"""tokenizer.json of few pieces, written by hand: the edges of what is understood."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from helpers.tokenizer_sources import template
from tokenizers.pre_tokenizers import ByteLevel

from exporter.errors import CheckpointError
from exporter.tokenizers.files import Files
from exporter.tokenizers.model import TokenizerModel
from exporter.tokenizers.settings import read_settings
from exporter.tokenizers.tokenizer_json import read_tokenizer_json

BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
# bytes 0 to 32, 127 to 160 and 173 have letters from U+0100 on, in their order
LETTERS = sorted(ByteLevel.alphabet(), key=lambda letter: (ord(letter) >= 0x100, letter))
BACK = {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "}
DECODERS = [BACK, {"type": "ByteFallback"}, {"type": "Fuse"}]


def of_bytes(**model: Any) -> dict[str, Any]:
    vocab = {letter: number for number, letter in enumerate(LETTERS)}
    return {"model": {"vocab": vocab, "merges": [], **model}, "pre_tokenizer": BYTES, "decoder": BYTES}


def of_characters(*missing: int) -> dict[str, Any]:
    pieces = [f"<0x{byte:02X}>" for byte in range(256) if byte not in missing]
    vocab = {piece: number for number, piece in enumerate([*pieces, "\u2581"])}
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}
    return {
        "model": {"vocab": vocab, "merges": [], "byte_fallback": True},
        "normalizer": replace,
        "decoder": {"type": "Sequence", "decoders": DECODERS},
    }


def read(tmp_path: Path, file: dict[str, Any]) -> TokenizerModel:
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(file))
    return read_tokenizer_json(Files(path), read_settings(Files(path)))


def refusal(tmp_path: Path, file: dict[str, Any]) -> str:
    with pytest.raises(CheckpointError) as refused:
        read(tmp_path, file)
    return str(refused.value).removeprefix(f"{tmp_path}/tokenizer.json: ")


def test_a_post_processor_names_ids_of_the_vocabulary_one_at_each_end(tmp_path: Path) -> None:
    for token in (0, 255):
        model = read(tmp_path, of_bytes() | {"post_processor": template(["x"], {"x": token}, ["x"])})
        assert (model.bos, model.eos, model.begins_with_bos, model.ends_with_eos) == (token, token, True, True)
    for token in (-1, 256):
        said = f"post_processor: expected an id of the vocabulary, found {token}"
        assert refusal(tmp_path, of_bytes() | {"post_processor": template([], {"x": token}, ["x"])}) == said
    said = "post_processor: expected at most one token at each end, found 0 and 2"
    assert refusal(tmp_path, of_bytes() | {"post_processor": template([], {"x": 3}, ["x", "x"])}) == said


def test_an_unknown_token_has_an_id_where_characters_fall_back_to_bytes(tmp_path: Path) -> None:
    assert read(tmp_path, of_bytes(unk_token="a")).unk is None
    file = of_characters()
    assert read(tmp_path, file).unk is None
    file["model"]["unk_token"] = "\u2581"
    assert read(tmp_path, file).unk == 256


def test_what_must_be_absent_may_be_empty(tmp_path: Path) -> None:
    model = read(tmp_path, of_bytes(dropout=0.0, continuing_subword_prefix="", end_of_word_suffix=None))
    assert (model.kind, len(model.pieces), model.whole_words) == ("bytes", 256, False)
    read(tmp_path, of_bytes(dropout=None, end_of_word_suffix=""))
    for value in (1, -1, 1.0, 0.5):
        found = refusal(tmp_path, of_bytes(dropout=value))
        assert found == f"model: dropout: expected none, found {value}"


def test_every_byte_has_a_piece_where_something_else_would_stand_for_it(tmp_path: Path) -> None:
    # 0x7E is the last letter that stands for itself below 0x80, 0xFF the last of all
    for letters, byte in (("~", 0x7E), ("\u00ff", 0xFF), ("~\u00ff", 0x7E)):
        file = of_bytes(unk_token="a")
        for number, letter in enumerate(letters):
            file["model"]["vocab"][f"aa{number}"] = file["model"]["vocab"].pop(letter)
        said = f"model: unk_token: expected none where byte 0x{byte:02X} has no piece, found 'a'"
        assert refusal(tmp_path, file) == said
    for missing, text in (((255,), "<0xFF>"), ((7, 9), "<0x07>")):
        said = f"vocab: expected pieces for all bytes, found none for {text}"
        assert refusal(tmp_path, of_characters(*missing)) == said


@pytest.mark.parametrize(
    ("nfc", "text", "refused"),
    [(True, "\u00e9x", True), (True, "ex", False), (False, "\u00e9x", False), (False, "ex", False)],
)
def test_normalization_may_change_what_is_not_ascii(tmp_path: Path, nfc: bool, text: str, refused: bool) -> None:
    file = of_bytes() | {"normalizer": {"type": "NFC"} if nfc else None}
    file["added_tokens"] = [{"id": 256, "content": text, "normalized": True}]
    if refused:
        said = "added token '\\xe9x': normalized: expected false, found true"
        assert refusal(tmp_path, file) == said
    else:
        assert read(tmp_path, file).added[0].normalized
