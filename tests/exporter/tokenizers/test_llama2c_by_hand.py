"""llama2.c's tokenizer.bin of tokenizers made by hand: limits from both sides, and control pieces."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from exporter.errors import FormatError
from exporter.tokenizers import llama2c
from exporter.tokenizers.llama2c import write_llama2c
from exporter.tokenizers.model import SCORE_FLOOR, TokenizerModel, byte_piece

BYTES = [byte_piece(byte) for byte in range(256)]
SPACE = "\u2581".encode()


def model(*pieces: bytes, scored: bool = True, **fields: object) -> TokenizerModel:
    """A tokenizer with these pieces behind the bytes' and the space; all before them are reserved."""
    every = (b"<unk>", b"<s>", b"</s>", *BYTES, SPACE, *pieces)
    known = {
        "scores": tuple(-float(token) for token in range(len(every))) if scored else None,
        "reserved": frozenset(range(259)),
    }
    rules = dict.fromkeys(("begins_with_bos", "space_first", "byte_fallback"), True)
    return TokenizerModel(
        "here",
        "characters",
        every,
        bos=1,
        eos=2,
        unk=0,
        **{**rules, **known, **fields},  # type: ignore[arg-type]
    )


def scores(content: bytes) -> list[float]:
    found, at = [], 4
    while at < len(content):
        score, length = np.frombuffer(content[at : at + 8], np.dtype([("score", "<f4"), ("length", "<i4")]))[0]
        found.append(float(score))
        at += 8 + int(length)
    return found


def refusal(one: TokenizerModel) -> str:
    with pytest.raises(FormatError) as refused:
        write_llama2c(one)
    return str(refused.value).removeprefix("here: llama2c: ")


def changed(one: TokenizerModel, token: int, score: float) -> TokenizerModel:
    assert one.scores is not None
    return dataclasses.replace(one, scores=(*one.scores[:token], score, *one.scores[token + 1 :]))


def test_a_control_piece_that_one_character_begins_gets_the_lowest_score() -> None:
    found = scores(write_llama2c(model(b"<", b"unk>")))
    assert found[0] == SCORE_FLOOR
    assert found[1:] == [-float(token) for token in range(1, 262)]
    assert scores(write_llama2c(model(b"<unk", b">")))[0] == SCORE_FLOOR
    # neither half alone makes it
    assert scores(write_llama2c(model(b"<", b">", b"nk>")))[0] == 0.0


def test_a_piece_that_merges_make_has_a_score_above_the_floor() -> None:
    above = float(np.nextafter(np.float32(SCORE_FLOOR), np.float32(0)))
    joined = model(b"a", b"b", b"ab")
    assert scores(write_llama2c(changed(joined, 262, above)))[262] == above
    said = "token 262: score: expected above -1e+10, found -10000000000.0"
    assert refusal(changed(joined, 262, SCORE_FLOOR)) == said
    # run.c's own file has no reserved pieces, and the lowest score for what no merge makes
    unreserved = dataclasses.replace(changed(joined, 262, SCORE_FLOOR), reserved=frozenset())
    assert scores(write_llama2c(unreserved))[262] == SCORE_FLOOR


def test_a_control_piece_in_a_piece_counts_where_the_rest_is_a_piece() -> None:
    for piece in (b"<0x41>q", b"q<0x41>"):
        assert scores(write_llama2c(model(piece)))[260] == -260.0
    assert refusal(model(b"q", b"<0x41>q")) == (
        "token 261: expected no control piece in it, found 68 '<0x41>' and 260 'q'"
    )
    assert refusal(model(b"q", b"q<0x41>")) == (
        "token 261: expected no control piece in it, found 260 'q' and 68 '<0x41>'"
    )


def test_the_last_byte_has_its_piece() -> None:
    one = model()
    pieces = (*one.pieces[:258], b"x!", *one.pieces[259:])
    assert refusal(dataclasses.replace(one, pieces=pieces)) == "token 258: expected <0xFF>, found 258 'x!'"


def test_every_piece_has_a_score() -> None:
    one = model()
    with pytest.raises(ValueError, match="zip"):
        write_llama2c(dataclasses.replace(one, scores=(one.scores or ())[:-1]))


def test_ranks_are_integers_that_float32_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    most = llama2c._MOST_RANKS
    assert [int(np.float32(most + step)) - most for step in (-1, 0, 1)] == [-1, 0, 0]
    ranked = model(b"a", b"b", b"ab", b"ba", scored=False, merges=((260, 261), (261, 260)), reserved=frozenset())
    monkeypatch.setattr(llama2c, "_MOST_RANKS", 2)
    assert scores(write_llama2c(ranked)) == [SCORE_FLOOR] * 262 + [0.0, -1.0]
    monkeypatch.setattr(llama2c, "_MOST_RANKS", 1)
    assert refusal(ranked) == "merges: expected at most 1, found 2"
