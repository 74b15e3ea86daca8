"""llama2.c's tokenizer.bin: run.c's ids are those of the source, or the source is refused by name."""

from __future__ import annotations

import dataclasses
import json
import random
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
from helpers import tokenizer_bins
from helpers.tokenizer_sources import drawn_text, llama2_json, save_json, save_sentencepiece
from tokenizers import Tokenizer

import reader_c
import verify.demo
from exporter.errors import FormatError
from exporter.tokenizers.llama2c import notes_of_llama2c, write_llama2c
from exporter.tokenizers.model import SCORE_FLOOR, AddedToken, TokenizerModel
from exporter.tokenizers.read import read_tokenizer

DEMO = Path(verify.demo.__file__).with_name("tokenizer.model")


@pytest.fixture(scope="module")
def sp_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_sentencepiece(tmp_path_factory.mktemp("sp") / "tokenizer.model")


@pytest.fixture(scope="module")
def json_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_json(tmp_path_factory.mktemp("json") / "tokenizer.json", llama2_json(), LLAMA_CONFIG)


LLAMA_CONFIG = {"bos_token": "<s>", "eos_token": {"content": "</s>"}}


def written(model: TokenizerModel, directory: Path) -> reader_c.Tokenizer:
    path = directory / "tokenizer.bin"
    path.write_bytes(write_llama2c(model))
    return reader_c.Tokenizer(path, len(model.pieces))


def test_a_sentencepiece_model_has_its_own_ids(sp_path: Path, tmp_path: Path) -> None:
    judge = sentencepiece.SentencePieceProcessor(model_file=str(sp_path))
    tokenizer = written(read_tokenizer(sp_path), tmp_path)
    draw = random.Random(1)
    for text in (drawn_text(draw) for _ in range(3000)):
        assert tokenizer.encode(text, bos=True) == judge.encode(text, add_bos=True), text


def test_the_demo_s_tokenizer_has_its_own_ids_where_no_spaces_are_dropped(tmp_path: Path) -> None:
    judge = sentencepiece.SentencePieceProcessor(model_file=str(DEMO))
    model = read_tokenizer(DEMO)
    tokenizer = written(model, tmp_path)
    draw = random.Random(2)
    for text in (" ".join(drawn_text(draw).split()) for _ in range(2000)):
        assert tokenizer.encode(text) == judge.encode(text), text
    assert notes_of_llama2c(model) == (
        f"{DEMO}: SentencePiece drops spaces at the ends of a text and repeated ones (remove_extra_whitespaces); "
        "run.c keeps them: such texts have other token ids there",
    )


@pytest.mark.parametrize("path", [DEMO, None])
def test_the_bytes_are_those_of_llama2_c_s_own_writer(path: Path | None, sp_path: Path) -> None:
    path = path or sp_path
    processor = sentencepiece.SentencePieceProcessor(model_file=str(path))
    expected = tokenizer_bins.content(tokenizer_bins.from_sentencepiece(processor))
    assert write_llama2c(read_tokenizer(path)) == expected


def test_a_tokenizer_bin_is_read_and_written_as_the_same_bytes(
    sp_path: Path, json_path: Path, tmp_path: Path
) -> None:
    for source in (sp_path, json_path):
        content = write_llama2c(read_tokenizer(source))
        (tmp_path / "tokenizer.bin").write_bytes(content)
        assert write_llama2c(read_tokenizer(tmp_path / "tokenizer.bin")) == content


def test_merges_by_rank_become_scores_that_give_the_library_s_ids(json_path: Path, tmp_path: Path) -> None:
    judge = Tokenizer.from_file(str(json_path))
    tokenizer = written(read_tokenizer(json_path), tmp_path)
    draw = random.Random(3)
    # the library finds special tokens in a text, and run.c does not
    texts = (drawn_text(draw).replace("<s>", "").replace("</s>", "") for _ in range(3000))
    for text in (text for text in texts if text and "<s>" not in text):
        assert tokenizer.encode(text, bos=True) == judge.encode(text).ids, text


def test_merges_that_cannot_happen_and_pieces_that_no_merge_makes_change_nothing(
    json_path: Path, tmp_path: Path
) -> None:
    """Two splits of one piece, in both orders, and whole words that only a merge list of another kind would reach."""
    file = json.loads(json_path.read_text())
    vocab, merges = file["model"]["vocab"], file["model"]["merges"]
    for text in ("aa", "aaa", "aaaa", "xyxy", "zzz"):
        vocab.setdefault(text, len(vocab))
    file["model"]["merges"] = [["a", "a"], ["aa", "a"], ["a", "aa"], ["aa", "aa"], ["a", "aaa"], *merges]
    path = save_json(tmp_path / "tokenizer.json", file, LLAMA_CONFIG)
    judge = Tokenizer.from_file(str(path))
    tokenizer = written(read_tokenizer(path), tmp_path)
    draw = random.Random(4)
    for _ in range(3000):
        text = "".join(draw.choice(["a", "a", "x", "y", "z", " ", "the"]) for _ in range(draw.randrange(1, 14)))
        assert tokenizer.encode(text, bos=True) == judge.encode(text).ids, text


def test_control_pieces_that_run_c_would_merge_get_the_lowest_score(sp_path: Path, tmp_path: Path) -> None:
    """A text that spells <unk> would be token 0 where "<un" and "k>" are pieces; SentencePiece never does that."""
    model = read_tokenizer(sp_path)
    count = len(model.pieces)
    pieces, scores = list(model.pieces), list(model.scores or ())
    # SentencePiece's characters come last, and after the bytes come its first merges
    pieces[259:264] = [b"un", b"<un", b"k>", b"<", b">"]
    scores[259:264] = [-1.0, -2.0, -3.0, -4.0, -5.0]
    changed = dataclasses.replace(model, pieces=tuple(pieces), scores=tuple(scores))
    content = write_llama2c(changed)
    (tmp_path / "tokenizer.bin").write_bytes(content)
    assert 0 not in reader_c.Tokenizer(tmp_path / "tokenizer.bin", count).encode("<unk>")
    again = read_tokenizer(tmp_path / "tokenizer.bin")
    assert again.scores is not None
    assert again.scores[0] == SCORE_FLOOR
    unreserved = dataclasses.replace(changed, reserved=frozenset())
    (tmp_path / "tokenizer.bin").write_bytes(write_llama2c(unreserved))
    assert 0 in reader_c.Tokenizer(tmp_path / "tokenizer.bin", count).encode("<unk>")


def replaced(model: TokenizerModel, token: int, piece: bytes) -> tuple[bytes, ...]:
    return (*model.pieces[:token], piece, *model.pieces[token + 1 :])


def changes(model: TokenizerModel) -> list[tuple[dict[str, Any], str]]:
    last = len(model.pieces) - 1
    space = model.pieces.index("\u2581".encode())
    return [
        ({"pattern": "gpt2"}, "pre-tokenizer: expected none, found GPT-2's regular expression"),
        ({"pattern": "llama3"}, "pre-tokenizer: expected none, found Llama 3's regular expression"),
        ({"pattern": "qwen2"}, "pre-tokenizer: expected none, found Qwen 2's regular expression"),
        ({"digits": True}, "pre-tokenizer: expected none, found one that cuts digits apart"),
        ({"nfc": True}, "normalizer: expected none, found NFC"),
        ({"kind": "bytes"}, "pieces: expected characters as in SentencePiece, found bytes"),
        ({"whole_words": True}, "ignore_merges: expected false, found true"),
        ({"space_first": False}, "space before the text: expected one, found none"),
        ({"byte_fallback": False}, "byte_fallback: expected true, found false"),
        ({"bos": 0}, "bos: expected 1, found 0"),
        ({"bos": None}, "bos: expected 1, found none"),
        ({"eos": 3}, "eos: expected 2, found 3"),
        ({"begins_with_bos": False}, "text: expected bos before it, found none"),
        ({"ends_with_eos": True}, "text: expected no eos behind it, found one"),
        (
            {"added": (AddedToken(300),), "pieces": replaced(model, 300, b"<|im_start|>")},
            "added tokens: expected unk, bos and eos alone, found 300 '<|im_start|>'",
        ),
        ({"pieces": replaced(model, 13, b"x!")}, "token 13: expected <0x0A>, found 13 'x!'"),
        ({"pieces": model.pieces[:100]}, "token 100: expected <0x61>, found 100 tokens"),
        ({"pieces": replaced(model, last, b"")}, f"token {last}: expected a piece, found none"),
        (
            {"pieces": replaced(model, last, b"a\0")},
            f"token {last}: expected no zero byte in the piece, found {last} 'a\\x00'",
        ),
        (
            {"pieces": replaced(model, last, model.pieces[last - 1])},
            f"token {last}: expected a piece of its own, found that of token {last - 1}",
        ),
        (
            {"pieces": replaced(model, space, b"@@")},
            "pieces: expected one for a space, which begins every text, found none",
        ),
    ]


def test_each_thing_that_the_format_cannot_hold_is_refused_by_name(sp_path: Path) -> None:
    model = read_tokenizer(sp_path)
    for change, message in changes(model):
        with pytest.raises(FormatError) as refused:
            write_llama2c(dataclasses.replace(model, **change))
        assert str(refused.value) == f"{sp_path}: llama2c: {message}"


def test_pieces_that_contain_control_pieces_are_refused(sp_path: Path) -> None:
    model = read_tokenizer(sp_path)
    with pytest.raises(FormatError, match="token 260: expected no control piece in it, found 68 '<0x41>' and"):
        write_llama2c(dataclasses.replace(model, pieces=replaced(model, 260, b"<0x41>" + model.pieces[-1])))
    with pytest.raises(FormatError, match="token 0: expected no control piece of one character, found 0"):
        write_llama2c(dataclasses.replace(model, bos=1, pieces=replaced(model, 0, b"\xc3\xa9")))
