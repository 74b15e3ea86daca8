"""Each format of tokenizer gives the ids of the library that made it, and a wrong file ends in one line."""

from __future__ import annotations

import base64
import json
import random
import sys
from pathlib import Path

import pytest
from helpers.tokenizers import HARD_TEXT, LLAMA3, save_byte_pairs, save_ranks, trained
from tokenizers import Tokenizer

from verify.demo import CHECKPOINT, HELD_OUT_TEXT
from verify.errors import CannotJudgeError
from verify.evidence import ranked_tokens
from verify.evidence.tokenizers import decode, encode
from verify.sources import open_source

BYTES = b"".join(base64.b64encode(bytes([byte])) + b" %d\n" % byte for byte in range(256))


def ids_of(text: str, tokenizer: Path, vocab_size: int = 1 << 20) -> list[int]:
    path = tokenizer.parent / "text to encode"
    path.write_bytes(text.encode())
    return [int(token) for token in encode(path, tokenizer, vocab_size)]


@pytest.fixture(scope="module")
def llama3() -> Tokenizer:
    return trained(LLAMA3)


@pytest.fixture(scope="module")
def gpt2() -> Tokenizer:
    return trained(None)


@pytest.mark.parametrize("name", ["tokenizer.model", "any name"])
def test_llama3s_tokenizer_gives_the_librarys_ids_after_begin_of_text(
    llama3: Tokenizer, tmp_path: Path, name: str
) -> None:
    path = save_ranks(llama3, tmp_path / name)
    for text in (HELD_OUT_TEXT.read_text(), HARD_TEXT):
        ids = ids_of(text, path)
        assert ids == [800, *llama3.encode(text).ids]
        assert decode(path, ids) == text
    assert ids_of(" \n", path) == []


def test_llama3s_tokenizer_agrees_with_transformers_conversion(llama3: Tokenizer, tmp_path: Path) -> None:
    from transformers.convert_slow_tokenizer import TikTokenConverter

    path = save_ranks(llama3, tmp_path / "tokenizer.model")
    judge = TikTokenConverter(str(path)).converted()
    alphabet = "abc  'st\n\r\t12é\u0301日.,!?<|>A\u00a0"
    drawn = random.Random(5)
    for _ in range(300):
        text = "x" + "".join(drawn.choices(alphabet, k=drawn.randint(1, 60)))
        assert ids_of(text, path)[1:] == judge.encode(text).ids, text


def test_a_long_text_is_cut_where_metas_code_cuts_it(
    llama3: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranked_tokens, "_MOST_CHARACTERS", 40)
    monkeypatch.setattr(ranked_tokens, "_LONGEST_RUN", 7)
    path = save_ranks(llama3, tmp_path / "tokenizer.model")
    drawn = random.Random(6)
    for _ in range(200):
        text = "".join(drawn.choice("ab \n") * drawn.randint(1, 20) for _ in range(drawn.randint(1, 12)))
        parts = cut_as_meta(text, 40, 7)
        expected = [token for part in parts for token in llama3.encode(part).ids] if text.strip() else None
        assert ids_of(text, path) == ([] if expected is None else [800, *expected])


def cut_as_meta(text: str, characters: int, run: int) -> list[str]:
    """A character at a time, as Tokenizer._split_whitespaces_or_nonwhitespaces counts."""
    parts: list[str] = []
    for at in range(0, len(text), characters):
        parts.append("")
        count = 0
        for character in text[at : at + characters]:
            same = parts[-1] != "" and parts[-1][-1].isspace() == character.isspace()
            count = count + 1 if same else 1
            if count > run:
                parts.append("")
                count = 1
            parts[-1] += character
    return parts


@pytest.mark.parametrize("name", ["GPT2Tokenizer", "GPT2TokenizerFast"])
def test_byte_pairs_of_gpt2s_class_give_the_librarys_ids(gpt2: Tokenizer, tmp_path: Path, name: str) -> None:
    path = save_byte_pairs(gpt2, tmp_path, {"tokenizer_class": name})
    for text in (HELD_OUT_TEXT.read_text(), HARD_TEXT):
        ids = ids_of(text, path)
        assert ids == gpt2.encode(text).ids
        assert decode(path, ids) == text


@pytest.mark.parametrize("config", [{"tokenizer_class": "Qwen2Tokenizer"}, {}, None], ids=str)
def test_byte_pairs_of_qwen2_are_cut_into_words_by_its_own_rule(
    tmp_path: Path, config: dict[str, str] | None
) -> None:
    from tokenizers import normalizers

    judge = trained(LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}"))
    judge.normalizer = normalizers.NFC()
    path = save_byte_pairs(judge, tmp_path, config)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "qwen2"}))
    for text in (HELD_OUT_TEXT.read_text(), HARD_TEXT):
        assert ids_of(text, path) == judge.encode(text).ids


def test_byte_pairs_know_the_added_tokens_and_what_begins_a_text(gpt2: Tokenizer, tmp_path: Path) -> None:
    added = {"800": {"content": "<|im_start|>", "special": True, "normalized": False}}
    config = {"tokenizer_class": "GPT2Tokenizer", "add_bos_token": True, "bos_token": "<|im_start|>"}
    path = save_byte_pairs(gpt2, tmp_path, {**config, "added_tokens_decoder": added})
    # another tokenizer beside it is another tokenizer
    (tmp_path / "tokenizer.json").write_text("{}")
    a, b = (gpt2.encode(text).ids for text in ("In the", "beginning"))
    ids = ids_of("In the<|im_start|>beginning", path)
    assert ids == [800, *a, 800, *b]
    assert decode(path, ids) == "In thebeginning"


@pytest.mark.parametrize(
    ("config", "model_type", "found"),
    [
        ({"tokenizer_class": "LlamaTokenizer"}, "qwen2", "LlamaTokenizer"),
        ({"tokenizer_class": ["GPT2Tokenizer"]}, "llama", r"\['GPT2Tokenizer'\]"),
        ({}, "llama", "none"),
        (None, None, "none"),
    ],
)
def test_byte_pairs_of_an_unknown_class_are_refused_by_name(
    gpt2: Tokenizer, tmp_path: Path, config: dict[str, str] | None, model_type: str | None, found: str
) -> None:
    path = save_byte_pairs(gpt2, tmp_path, config)
    if model_type:
        (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
    message = (
        rf"tokenizer_config.json: tokenizer_class: expected GPT2Tokenizer or Qwen2Tokenizer .*, found {found}: give"
    )
    with pytest.raises(CannotJudgeError, match=message):
        ids_of("text", path)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"vocab.json": b"{"}, r"expected a vocab.json that fits its merges.txt, found none that loads"),
        ({"vocab.json": b'{"a": "b"}'}, r"expected a vocab.json that fits its merges.txt, found none that loads"),
        ({"vocab.json": b"\xff\xfe"}, r"expected a vocab.json that fits its merges.txt, found none that loads"),
        ({"vocab.json": b'{"a": 0}', "merges.txt": b"a b\n"}, r"found none that loads"),
        ({"merges.txt": b"a\n"}, r"expected a vocab.json that fits its merges.txt, found none that loads"),
        ({"tokenizer_config.json": b"[]"}, r"tokenizer_config.json: expected a JSON object, found: a list"),
    ],
    ids=str,
)
def test_wrong_byte_pairs_end_in_one_line(
    gpt2: Tokenizer, tmp_path: Path, files: dict[str, bytes], message: str
) -> None:
    path = save_byte_pairs(gpt2, tmp_path, {"tokenizer_class": "GPT2Tokenizer"})
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(CannotJudgeError, match=message) as error:
        ids_of("a text", path)
    assert len(str(error.value).splitlines()) == 1


def test_byte_pairs_without_merges_are_refused_and_merges_lead_to_vocab_json(gpt2: Tokenizer, tmp_path: Path) -> None:
    path = save_byte_pairs(gpt2, tmp_path, {"tokenizer_class": "GPT2Tokenizer"})
    with pytest.raises(
        CannotJudgeError, match=r"merges.txt: expected a tokenizer, .*: give the vocab.json beside it"
    ):
        ids_of("text", tmp_path / "merges.txt")
    (tmp_path / "merges.txt").unlink()
    with pytest.raises(CannotJudgeError, match=r"merges.txt: expected a part of the tokenizer, found: no such file"):
        ids_of("text", path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (BYTES + b"YWI= 257\n", r"line 257: rank: expected 256, found 257"),
        (BYTES + b"YWI= 255\n", r"line 257: rank: expected 256, found 255"),
        (BYTES + b"YQ== 256\n", r"line 257: token: expected a new one, found that of 97"),
        (BYTES + b"YW! 256\n", r"line 257: expected a token in base64 and its rank, found b'YW! 256'"),
        (BYTES + b"YWI 256\n", r"line 257: expected a token in base64 and its rank, found b'YWI 256'"),
        (BYTES + b"YWI= -1\n", r"line 257: expected a token in base64 and its rank"),
        (BYTES + b"YWI= 1" + b"0" * 5000, r"line 257: expected a token in base64 and its rank"),
        (BYTES + b"\xff\xfe\n", r"line 257: expected a token in base64 and its rank, found b'\\xff\\xfe'"),
        (BYTES + b"YWI=\n", r"line 257: expected a token in base64 and its rank"),
        (BYTES.removesuffix(b"/w== 255\n"), r"expected every byte as a token, found none for byte 255"),
        (b"!!! 0\n", r"line 1: expected a token in base64 and its rank, found b'!!! 0'"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
            r"expected a tokenizer, found a pointer of Git LFS: run git lfs pull",
        ),
        (b"not a tokenizer", r"expected a SentencePiece model, found none that loads"),
        (b"", r"expected a SentencePiece model, found none that loads"),
    ],
)
def test_a_wrong_tokenizer_model_ends_in_one_line(
    tmp_path: Path, content: bytes, message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "tokenizer.model"
    path.write_bytes(content)
    with pytest.raises(CannotJudgeError, match=rf"tokenizer\.model: {message}") as error:
        ids_of("a text", path)
    assert len(str(error.value).splitlines()) == 1
    assert len(str(error.value)) < 500
    assert capfd.readouterr() == ("", "")


def test_a_huge_tokenizer_model_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.model"
    path.write_bytes(BYTES)
    with path.open("r+b") as file:
        file.truncate(1 << 36)
    with pytest.raises(
        CannotJudgeError, match=r"tokenizer.model: expected a tokenizer, found: more than 67108864 bytes"
    ):
        ids_of("text", path)


def test_special_tokens_beyond_the_model_are_refused_by_number(llama3: Tokenizer, tmp_path: Path) -> None:
    path = save_ranks(llama3, tmp_path / "tokenizer.model")
    with pytest.raises(
        CannotJudgeError,
        match=r"token: expected ids below the model's vocab_size of 800, found 800 in .*: tokenizer and model do not",
    ):
        ids_of("text", path, 800)


def test_without_tiktoken_its_format_asks_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "tokenizer.model"
    path.write_bytes(BYTES)
    monkeypatch.setitem(sys.modules, "tiktoken", None)
    with pytest.raises(
        CannotJudgeError, match=r"^tiktoken: required for Llama 3's tokenizer.model and could not be "
    ):
        ids_of("text", path)


def test_a_byte_order_mark_before_a_text_is_dropped(llama3: Tokenizer, gpt2: Tokenizer, tmp_path: Path) -> None:
    tokenizers = (
        open_source(CHECKPOINT).tokenizer_path,
        save_ranks(llama3, tmp_path / "tokenizer.model"),
        save_byte_pairs(gpt2, tmp_path, {"tokenizer_class": "GPT2Tokenizer"}),
    )
    for tokenizer in tokenizers:
        ids = []
        for mark in ("", "\ufeff", "\ufeff\ufeff"):
            text = tmp_path / "text.txt"
            text.write_text(f"{mark}In the beginning", encoding="utf-8")
            ids.append(encode(text, tokenizer, 1 << 20).tolist())
        # one mark alone is the text's encoding; a second one is text
        assert ids[0] == ids[1] != ids[2]
