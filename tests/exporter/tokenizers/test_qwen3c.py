"""qwen3.c's .tokenizer, parsed by the layout of its own reader."""

from __future__ import annotations

import dataclasses
import math
import struct
from typing import Any

import numpy as np
import pytest
from helpers.tokenizer_sources import byte_level_json, save_json
from helpers.tokenizers import LLAMA3, trained

from exporter.errors import FormatError
from exporter.tokenizers.model import AddedToken, TokenizerModel
from exporter.tokenizers.qwen3c import notes_of_qwen3c, write_qwen3c
from exporter.tokenizers.read import read_tokenizer


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> TokenizerModel:
    config = {"bos_token": "<|begin|>", "eos_token": "<|end|>"}
    path = tmp_path_factory.mktemp("bytes") / "tokenizer.json"
    return read_tokenizer(save_json(path, byte_level_json(trained(LLAMA3, 400)), config))


def test_each_id_has_its_score_and_bytes(model: TokenizerModel) -> None:
    content = write_qwen3c(model)
    longest, bos, eos = struct.unpack_from("<III", content)
    assert (longest, bos, eos) == (max(map(len, model.pieces)), 400, 401)
    at, entries = 12, []
    while at < len(content):
        score, length = struct.unpack_from("<fI", content, at)
        entries.append((score, content[at + 8 : at + 8 + length]))
        at += 8 + length
    assert tuple(piece for _, piece in entries) == model.pieces
    ranks = {model.pieces[left] + model.pieces[right]: rank for rank, (left, right) in enumerate(model.merges)}
    for score, piece in entries:
        expected = -math.log(ranks[piece] + 1) if piece in ranks else -1e6
        assert score == np.float32(expected)
    assert len(ranks) > 100


def test_what_qwen3_c_leaves_out_is_noted(model: TokenizerModel) -> None:
    both = dataclasses.replace(model, nfc=True)
    assert notes_of_qwen3c(both) == (
        f"{model.where}: qwen3.c cuts no text into words and normalizes no text to NFC, so that some texts have "
        "other token ids there",
    )
    plain = dataclasses.replace(model, pattern="none")
    assert notes_of_qwen3c(plain) == ()
    behind = ", so that some texts have other token ids there"
    for change, said in (({"digits": True}, "cuts no text into words"), ({"nfc": True}, "normalizes no text to NFC")):
        (note,) = notes_of_qwen3c(dataclasses.replace(plain, **change))
        assert note == f"{model.where}: qwen3.c {said}{behind}"


def test_the_first_and_the_last_id_and_a_token_of_64_bytes_are_held(model: TokenizerModel) -> None:
    pieces = (*model.pieces[:400], b"<" + b"x" * 62 + b">", *model.pieces[401:])
    content = write_qwen3c(dataclasses.replace(model, bos=0, eos=402, pieces=pieces))
    assert struct.unpack_from("<III", content) == (64, 0, 402)
    content = write_qwen3c(dataclasses.replace(model, bos=402, eos=0))
    assert struct.unpack_from("<II", content, 4) == (402, 0)


def test_each_thing_that_the_format_cannot_hold_is_refused_by_name(model: TokenizerModel) -> None:
    named = (*model.pieces[:400], b"[INST]", *model.pieces[401:])
    long = (*model.pieces[:400], b"<" + b"x" * 63 + b">", *model.pieces[401:])
    changes: list[tuple[dict[str, Any], str]] = [
        ({"kind": "characters"}, "pieces: expected bytes as in GPT-2 and Qwen, found characters"),
        ({"space_first": True}, "space before the text: expected none, found one"),
        ({"bos": None}, "bos: expected a token below 403, found none"),
        ({"eos": 403}, "eos: expected a token below 403, found 403"),
        ({"pieces": named}, "added tokens: expected <...> of at most 64 bytes, found 400 '[INST]'"),
        ({"pieces": long}, f"added tokens: expected <...> of at most 64 bytes, found 400 '<{'x' * 39}'"),
        *(
            (
                {"added": (AddedToken(402, **{rule: True}),)},
                "added tokens: expected no white space rules, found 402 '<|turn|>'",
            )
            for rule in ("lstrip", "rstrip", "single_word")
        ),
        *(
            (
                {"pieces": (*model.pieces[:400], piece, *model.pieces[401:])},
                f"added tokens: expected <...> of at most 64 bytes, found 400 {piece.decode()!r}",
            )
            for piece in (b"<s", b"s>")
        ),
        ({"pieces": (*model.pieces[:-1], b""), "added": ()}, "token 402: expected a piece, found none"),
        (
            {"pieces": (*model.pieces[:-1], model.pieces[5]), "added": ()},
            "token 402: expected a piece of its own, found that of token 5",
        ),
    ]
    for change, message in changes:
        with pytest.raises(FormatError) as refused:
            write_qwen3c(dataclasses.replace(model, **change))
        assert str(refused.value) == f"{model.where}: qwen3c: {message}"
