"""v3's tokenizer block: written as specified, read back by an independent parser and by the exporter's own."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
import struct
from typing import Any

import pytest
from helpers.block_reading import read_block
from helpers.tokenizer_sources import byte_level_json, llama2_json, save_json, save_sentencepiece
from helpers.tokenizers import LLAMA3, trained

from exporter.errors import CheckpointError, ExportError, FormatError
from exporter.tokenizers.block import write_block
from exporter.tokenizers.block_parse import parse_block
from exporter.tokenizers.model import AddedToken, TokenizerModel
from exporter.tokenizers.read import read_tokenizer

TEMPLATE = "{% for m in messages %}{{ m.content }}\u00e9{% endfor %}"
CONFIG = {"bos_token": "<|begin|>", "eos_token": "<|end|>", "chat_template": TEMPLATE}


@pytest.fixture(scope="module")
def byte_level(tmp_path_factory: pytest.TempPathFactory) -> TokenizerModel:
    directory = tmp_path_factory.mktemp("bytes")
    file = byte_level_json(trained(LLAMA3, 320))
    file["model"]["ignore_merges"] = True
    (directory / "generation_config.json").write_text(json.dumps({"eos_token_id": [322, 321]}))
    return read_tokenizer(save_json(directory / "tokenizer.json", file, CONFIG))


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> TokenizerModel:
    return read_tokenizer(save_sentencepiece(tmp_path_factory.mktemp("sp") / "tokenizer.model"))


@pytest.fixture(scope="module")
def models(byte_level: TokenizerModel, scored: TokenizerModel, tmp_path_factory: pytest.TempPathFactory) -> Any:
    config = {"bos_token": "<s>", "eos_token": "</s>"}
    characters = read_tokenizer(
        save_json(tmp_path_factory.mktemp("json") / "tokenizer.json", llama2_json(400), config)
    )
    return {"bytes": byte_level, "scored": scored, "characters": characters}


def test_a_byte_level_block_says_all_that_encoding_needs(byte_level: TokenizerModel) -> None:
    said = read_block(write_block(byte_level))
    assert (said["kind"], said["pre_tokenizer"], said["flags"]) == (1, 2, {"ignore_merges"})
    assert said["pieces"] == list(byte_level.pieces)
    assert said["pieces"][320:] == [b"<|begin|>", b"<|end|>", b"<|turn|>"]
    assert said["merges"] == list(byte_level.merges)
    assert len(said["merges"]) > 50
    assert said["added"] == [(320, 1), (321, 1), (322, 1)]
    assert (said["bos"], said["eos"], said["unk"], said["eos_ids"]) == (320, 321, -1, [321, 322])
    assert (said["scored"], said["template"]) == (0, TEMPLATE)


def test_a_block_says_that_extra_spaces_are_removed(scored: TokenizerModel) -> None:
    block = write_block(dataclasses.replace(scored, strips_spaces=True))
    assert read_block(block)["flags"] == {"begins", "space_first", "byte_fallback", "single_spaces"}
    assert parse_block("here", block).strips_spaces


def test_blocks_over_characters_have_scores_or_merges(models: dict[str, TokenizerModel]) -> None:
    scored, ranked = (read_block(write_block(models[name])) for name in ("scored", "characters"))
    assert scored["flags"] == ranked["flags"] == {"begins", "space_first", "byte_fallback"}
    assert (scored["kind"], scored["scored"], scored["merge_count"]) == (2, 1, 0)
    assert scored["scores"] == list(models["scored"].scores or ())
    assert scored["added"] == []
    assert (ranked["kind"], ranked["scored"]) == (2, 0)
    assert ranked["merges"] == list(models["characters"].merges)
    assert ranked["added"] == [(0, 1), (1, 1), (2, 1)]
    assert (scored["bos"], scored["eos"], scored["unk"], scored["eos_ids"]) == (1, 2, 0, [2])


@pytest.mark.parametrize(
    ("change", "flags"),
    [
        ({"whole_words": True}, {"ignore_merges"}),
        ({"begins_with_bos": True}, {"begins"}),
        ({"ends_with_eos": True}, {"ends"}),
        ({"nfc": True}, {"nfc"}),
        ({"digits": True}, {"digits"}),
        ({"space_first": True}, {"space_first"}),
    ],
)
def test_each_rule_is_a_flag(byte_level: TokenizerModel, change: dict[str, Any], flags: set[str]) -> None:
    model = dataclasses.replace(byte_level, where="here", reserved=frozenset(), **{"whole_words": False, **change})
    block = write_block(model)
    assert read_block(block)["flags"] == flags
    assert parse_block("here", block) == model


@pytest.mark.parametrize(("number", "pattern"), [(0, "none"), (1, "gpt2"), (2, "llama3"), (3, "qwen2")])
def test_each_pre_tokenizer_has_its_number(number: int, pattern: Any) -> None:
    model = TokenizerModel("here", "bytes", (b"a",), pattern=pattern)
    assert read_block(write_block(model))["pre_tokenizer"] == number
    assert parse_block("here", write_block(model)) == model


def test_each_rule_of_an_added_token_is_a_flag(byte_level: TokenizerModel) -> None:
    tokens = (
        AddedToken(320, special=False, lstrip=True),
        AddedToken(321, special=False, rstrip=True),
        AddedToken(322, special=False, single_word=True, normalized=True),
    )
    block = write_block(dataclasses.replace(byte_level, added=tokens))
    assert read_block(block)["added"] == [(320, 2), (321, 4), (322, 8 | 16)]
    assert parse_block("here", block).added == tokens


@pytest.mark.parametrize("name", ["bytes", "scored", "characters"])
def test_a_block_is_read_back_and_every_changed_byte_is_refused_or_means_something_else(
    models: dict[str, TokenizerModel], name: str
) -> None:
    block = write_block(models[name])
    model = parse_block("here", block)
    assert model == dataclasses.replace(models[name], where="here", reserved=frozenset())
    step = max(1, len(block) // 150)
    for at in (*range(64), *range(64, len(block), step), *range(len(block) - 8, len(block))):
        changed = block[:at] + bytes([block[at] ^ (1 << at % 8)]) + block[at + 1 :]
        with contextlib.suppress(CheckpointError):
            other = parse_block("here", changed)
            assert write_block(other) == changed
            # -0.0 is a score of its own, and equals 0.0
            assert repr(other) != repr(model)


def test_truncated_and_longer_blocks_are_refused(byte_level: TokenizerModel) -> None:
    block = write_block(byte_level)
    for size in (*range(130), *range(130, len(block), 517), len(block) - 64):
        with pytest.raises(CheckpointError, match=r"^here: tokenizer block: "):
            parse_block("here", block[:size])
    with pytest.raises(CheckpointError, match=f"byte {len(block)}: expected the only legal one"):
        parse_block("here", block + bytes(64))


def patched(block: bytes, at: int, *numbers: int) -> bytes:
    return block[:at] + struct.pack(f"<{len(numbers)}I", *numbers) + block[at + 4 * len(numbers) :]


@pytest.mark.parametrize(
    ("at", "number", "message"),
    [
        (0, 3, "kind and pre-tokenizer: expected 1 or 2 and 0 to 3, found 3 and 2"),
        (4, 256, "byte 5: expected the only legal one, found another"),
        (8, 4, "kind and pre-tokenizer: expected 1 or 2 and 0 to 3, found 1 and 4"),
        (12, 0, "token_count: expected 1 to 16777216, found 0"),
        (12, 1 << 24, "size: expected 67108864 bytes, found "),
        (44, 2, "scored: expected 0 or 1, found 2"),
        (16, 1 << 31, "size: expected 17179869184 bytes, found "),
        (40, 1 << 30, "chat template: expected 1073741824 bytes, found "),
        (56, 1, "byte 56: expected the only legal one, found another"),
        (64, 5, "pieces: expected ascending ends up to "),
    ],
)
def test_each_wrong_field_is_named(byte_level: TokenizerModel, at: int, number: int, message: str) -> None:
    with pytest.raises(CheckpointError) as refused:
        parse_block("here", patched(write_block(byte_level), at, number))
    assert str(refused.value).startswith(f"here: tokenizer block: {message}")


def test_merges_and_ids_that_lead_nowhere_are_refused(byte_level: TokenizerModel) -> None:
    a, b = byte_level.pieces.index(b"\xc3"), byte_level.pieces.index(b"q")
    count = len(byte_level.pieces)
    emptied = (*byte_level.pieces[:-1], b"")
    for change, message in (
        ({"merges": ((a, count),)}, f"merges: expected ids below {count}, found {count}"),
        ({"added": (AddedToken(count),)}, f"added tokens: expected ids below {count}, found {count}"),
        ({"pieces": emptied, "merges": ((count - 1, b),)}, "merges: expected new pairs that join to a piece, found"),
        ({"pieces": emptied, "merges": ((b, count - 1),)}, "merges: expected new pairs that join to a piece, found"),
        ({"merges": ((a, b),)}, "merges: expected new pairs that join to a piece, found"),
        ({"merges": byte_level.merges[:1] * 2}, "merges: expected new pairs that join to a piece, found"),
        ({"eos_ids": (3, 3)}, "eos: expected ascending ids, found others"),
        ({"added": (AddedToken(9), AddedToken(9))}, "added tokens: expected ascending ids, found others"),
    ):
        with pytest.raises(CheckpointError) as refused:
            parse_block("here", write_block(dataclasses.replace(byte_level, **change)))
        assert str(refused.value).startswith(f"here: tokenizer block: {message}")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"strips_spaces": True, "kind": "bytes"},
            "remove_extra_whitespaces: expected false for pieces of bytes, found true",
        ),
        ({"kind": "bytes"}, "byte_fallback: expected false for pieces of bytes, found true"),
        ({"kind": "bytes", "byte_fallback": False}, "unk: expected none for pieces of bytes, found 0"),
        (
            {"kind": "bytes", "byte_fallback": False, "unk": None},
            "scores: expected none for pieces of bytes with 0 merges, found some",
        ),
        ({"digits": True}, "digits: expected false for pieces of characters, found true"),
        ({"pattern": "gpt2"}, "pre-tokenizer: expected none for pieces of characters, found gpt2"),
        ({"scores": None}, "scores: expected some for pieces of characters with 0 merges, found none"),
        ({"bos": None}, "bos: expected a token, as encoding adds it, found none"),
        ({"unk": 400}, "unk: expected a token below 400, found 400"),
        ({"unk": -1}, "unk: expected a token below 400, found -1"),
        ({"byte_fallback": False}, "byte_fallback: expected true, found false"),
        ({"bos": 4000}, "bos: expected a token below 400, found 4000"),
        ({"eos_ids": (400,)}, "eos: expected a token below 400, found 400"),
        ({"template": "x" * (1 << 20) + "y"}, "chat template: expected at most 1048576 bytes, found 1048577"),
        ({"pieces": (), "scores": ()}, "tokens: expected 1 to 16777216, found 0"),
    ],
)
def test_what_a_block_cannot_hold_is_refused_by_name(
    scored: TokenizerModel, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(FormatError) as refused:
        write_block(dataclasses.replace(scored, **change))
    assert str(refused.value) == f"{scored.where}: v3: {message}"


def test_a_block_of_one_token_and_the_largest_one_are_written_and_read(monkeypatch: pytest.MonkeyPatch) -> None:
    model = TokenizerModel("here", "bytes", (b"a",), template="x" * (1 << 20))
    # without padding behind it
    whole = dataclasses.replace(model, template="x" * 56)
    assert len(write_block(whole)) == 128
    for one in (model, whole, dataclasses.replace(model, bos=0, eos=0, eos_ids=(0,))):
        assert parse_block("here", write_block(one)) == one
    for name in ("block", "block_parse"):
        monkeypatch.setattr(f"exporter.tokenizers.{name}.MOST_TOKENS", 3)
    model = TokenizerModel("here", "bytes", (b"a", b"b", b"c"))
    assert parse_block("here", write_block(model)) == model
    with pytest.raises(FormatError, match="v3: tokens: expected 1 to 3, found 4"):
        write_block(dataclasses.replace(model, pieces=(*model.pieces, b"d")))


def test_equal_pieces_are_refused_unless_one_is_an_added_token(byte_level: TokenizerModel) -> None:
    twice = (*byte_level.pieces[:-1], byte_level.pieces[0])
    assert read_block(write_block(dataclasses.replace(byte_level, pieces=twice)))["pieces"][-1] == twice[0]
    with pytest.raises(FormatError, match="v3: token 322: expected a piece of its own, found that of token 0"):
        write_block(dataclasses.replace(byte_level, pieces=twice, added=byte_level.added[:2]))


def test_only_a_piece_that_merges_make_needs_a_score_above_the_floor(scored: TokenizerModel) -> None:
    assert scored.scores is not None
    known = set(scored.pieces[259:])
    joined = next(
        token
        for token, piece in enumerate(scored.pieces)
        if any({piece[:at], piece[at:]} <= known for at in range(1, len(piece)))
    )
    single = next(token for token, piece in enumerate(scored.pieces) if len(piece) == 1)
    for token, score in ((single, -1e10), (joined, -9.9e9)):
        scores = (*scored.scores[:token], score, *scored.scores[token + 1 :])
        write_block(dataclasses.replace(scored, scores=scores))
    scores = (*scored.scores[:joined], -1e10, *scored.scores[joined + 1 :])
    with pytest.raises(FormatError, match=rf"token {joined}: score: expected above -1e\+10, found -10000000000\.0"):
        write_block(dataclasses.replace(scored, scores=scores))


def test_control_pieces_that_merges_would_make_are_refused(scored: TokenizerModel) -> None:
    pieces = (*scored.pieces[:259], b"<un", b"k>", *scored.pieces[261:])
    with pytest.raises(
        FormatError, match="v3: token 0: expected a control piece that no others make, found 0 '<unk>'"
    ):
        write_block(dataclasses.replace(scored, pieces=pieces))
    before, after = scored.pieces[:259], scored.pieces[261:]
    changes: list[tuple[dict[str, Any], str]] = [
        ({"pieces": (*before, b"<0x41>" + after[-1], b"k>", *after)}, "token 259: expected no control piece in it"),
        ({"pieces": (b"\xc3\xa9", *scored.pieces[1:])}, "token 0: expected a control piece of several characters"),
        ({"pieces": (*before, b"<0x4", b"1>", *after)}, "token 68: expected a control piece that no others make"),
        # bytes are control pieces even where the source reserves none
        *(
            (
                {"pieces": (*before, piece[:4], piece[4:], *after), "reserved": frozenset()},
                f"token {token}: expected a control piece that no others make",
            )
            for token, piece in ((3, b"<0x00>"), (258, b"<0xFF>"))
        ),
        ({"pieces": (*before, b"<", b"unk>", *after)}, "token 0: expected a control piece that no others make"),
        ({"pieces": (*before, b"<unk", b">", *after)}, "token 0: expected a control piece that no others make"),
        ({"scores": (-1e10,) * len(scored.pieces)}, "score: expected above -1e+10, found -10000000000.0"),
    ]
    for change, message in changes:
        with pytest.raises(FormatError, match=re.escape(message)):
            write_block(dataclasses.replace(scored, **change))
    # no byte's piece
    write_block(dataclasses.replace(scored, pieces=(*before, b"<0x10", b"0>", b"<0x100>", *after[1:])))
    with pytest.raises(ExportError, match="chat template: expected text that UTF-8 can express"):
        write_block(dataclasses.replace(scored, template="\ud800"))


def test_what_a_block_lacks_is_said_in_bytes() -> None:
    """A head alone: it has no room for the ends of its pieces."""
    head = patched(bytes(64), 0, 1)
    for tokens, room in ((1, 0), (17, 64)):
        with pytest.raises(CheckpointError) as refused:
            parse_block("here", patched(head + bytes(room), 12, tokens))
        assert str(refused.value) == f"here: tokenizer block: size: expected {4 * tokens} bytes, found {room}"
