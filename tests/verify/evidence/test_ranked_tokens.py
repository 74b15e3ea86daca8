"""tiktoken's file, line by line, and where Meta's code cuts a text. Quick: tiktoken itself is not loaded."""

from __future__ import annotations

import base64
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from verify.errors import CannotJudgeError
from verify.evidence import ranked_tokens
from verify.evidence.ranked_tokens import RankedTokens, _parts, _ranks

NO_ENTRY = "line 257: expected a token in base64 and its rank, found "
BYTES = [bytes([byte]) for byte in range(256)]


def written(directory: Path, *tokens: bytes, lines: list[bytes] | None = None) -> Path:
    path = directory / "tokenizer.model"
    made = [base64.b64encode(token) + b" %d" % rank for rank, token in enumerate(tokens)]
    path.write_bytes(b"\n".join(made if lines is None else lines))
    return path


def lines_of(*tokens: bytes) -> list[bytes]:
    return [base64.b64encode(token) + b" %d" % rank for rank, token in enumerate(tokens)]


def refusal(path: Path) -> str:
    with pytest.raises(CannotJudgeError) as caught:
        _ranks(path)
    return str(caught.value)


def test_tokens_have_the_ranks_of_their_lines(tmp_path: Path) -> None:
    tokens = [*BYTES, b"ab", b"abc", b"abcd"]
    assert _ranks(written(tmp_path, *tokens)) == {token: rank for rank, token in enumerate(tokens)}
    # empty lines are none
    lines = [b"", *lines_of(*BYTES), b"", b""]
    assert _ranks(written(tmp_path, lines=lines)) == {token: rank for rank, token in enumerate(BYTES)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: [*lines, b"YWI= 257"], "line 257: rank: expected 256, found 257"),
        (lambda lines: [*lines, b"YWI= 255"], "line 257: rank: expected 256, found 255"),
        (lambda lines: [b"", *lines, b"YWI= 3"], "line 258: rank: expected 256, found 3"),
        (lambda lines: [*lines, b"YQ== 256"], "line 257: token: expected a new one, found that of 97"),
        (lambda lines: lines[:-1], "expected every byte as a token, found none for byte 255"),
        (lambda _lines: lines_of(*BYTES[1:], b"ab"), "expected every byte as a token, found none for byte 0"),
        (lambda _lines: lines_of(*BYTES[:7], *BYTES[9:]), "expected every byte as a token, found none for byte 7"),
        (lambda lines: [*lines, b"YWI=  256"], f"{NO_ENTRY}b'YWI=  256'"),
        (lambda lines: [*lines, b"YWI 256"], f"{NO_ENTRY}b'YWI 256'"),
        (lambda lines: [*lines, b"YWI= 1234567890"], f"{NO_ENTRY}b'YWI= 1234567890'"),
        (lambda lines: [*lines, b"x" * 99], f"{NO_ENTRY}b'{'x' * 40}'"),
    ],
)
def test_a_line_that_is_out_of_place_is_named(tmp_path: Path, change: Any, message: str) -> None:
    path = written(tmp_path, lines=change(lines_of(*BYTES)))
    assert refusal(path) == f"{path}: {message}"


def test_a_file_that_cannot_be_read_or_is_too_long_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (
        refusal(tmp_path / "none") == f"{tmp_path / 'none'}: expected a tokenizer, found: no such file or directory"
    )
    path = written(tmp_path, *BYTES)
    monkeypatch.setattr(ranked_tokens, "_MOST_BYTES", path.stat().st_size - 1)
    assert refusal(path).endswith(f"found: more than {path.stat().st_size - 1} bytes")
    monkeypatch.setattr(ranked_tokens, "_MOST_BYTES", path.stat().st_size)
    assert len(_ranks(path)) == 256


def test_the_limits_are_meta_s() -> None:
    assert (ranked_tokens._MOST_CHARACTERS, ranked_tokens._LONGEST_RUN) == (400_000, 25_000)
    assert ranked_tokens._MOST_BYTES == 2**26


def as_meta_cuts(text: str, most: int, longest: int) -> list[str]:
    """Meta's own loop, character by character: a part ends before a run gets longer than the longest."""
    parts = []
    for at in range(0, len(text), most):
        piece, start, run = text[at : at + most], 0, 0
        is_space = piece[0].isspace() if piece else False
        for i, character in enumerate(piece):
            if character.isspace() != is_space:
                is_space, run = character.isspace(), 1
            else:
                run += 1
                if run > longest:
                    parts.append(piece[start:i])
                    start, run = i, 1
        parts.append(piece[start:])
    return parts


@pytest.mark.parametrize("most", [7, 10, 40])
@pytest.mark.parametrize("longest", [1, 3, 5])
def test_a_text_is_cut_where_meta_s_code_cuts_it(monkeypatch: pytest.MonkeyPatch, most: int, longest: int) -> None:
    monkeypatch.setattr(ranked_tokens, "_MOST_CHARACTERS", most)
    monkeypatch.setattr(ranked_tokens, "_LONGEST_RUN", longest)
    draw = random.Random(most * longest)
    for length in range(60):
        text = "".join(draw.choice("aab \n") for _ in range(length))
        parts = list(_parts(text))
        assert "".join(parts) == text
        assert parts == as_meta_cuts(text, most, longest)


def test_a_text_begins_with_the_first_special_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Encoding:
        def __init__(self, **given: Any) -> None:
            assert (given["name"], len(given["mergeable_ranks"]), given["special_tokens"]) == ("Llama 3", 257, {})

        def encode_ordinary(self, text: str) -> list[int]:
            return list(text.encode())

        def decode(self, ids: list[int]) -> str:
            return bytes(ids).decode()

    monkeypatch.setattr(ranked_tokens, "wanted", lambda *_: SimpleNamespace(Encoding=Encoding))
    monkeypatch.setattr(ranked_tokens, "_LONGEST_RUN", 2)
    made = RankedTokens(written(tmp_path, *BYTES, b"ab"))
    assert made.encode("abc d") == [257, *b"abc d"]
    assert made.encode(" \n") == made.encode("") == []
    assert made.decode([257, 97, 300, 98]) == "ab"
