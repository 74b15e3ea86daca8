"""The exporter's tokenizer block in the C reader: the ids of the library that the source belongs to."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
from helpers.tokenizer_sources import (
    TOKENS,
    byte_level_json,
    drawn_text,
    llama2_json,
    save_json,
    save_sentencepiece,
)
from helpers.tokenizers import HARD_TEXT, LLAMA3, save_byte_pairs, trained
from tokenizers import Tokenizer

import reader_c
from exporter.tokenizers.block import write_block
from exporter.tokenizers.llama2c import write_llama2c
from exporter.tokenizers.qwen3c import write_qwen3c
from exporter.tokenizers.read import read_tokenizer
from verify.checks.result import CheckResult
from verify.checks.tokenizer import WrittenTokenizer, check_tokenizer
from verify.system.optional_imports import quiet_transformers
from verify.tokenizers.encoders import BlockReader, PlainReader

TEXTS = 2000
Encode = Callable[[str], list[int]]


def written(path: Path) -> reader_c.Tokenizer:
    model = read_tokenizer(path)
    return reader_c.Tokenizer.from_block(write_block(model), len(model.pieces))


def checked(path: Path) -> CheckResult:
    """Return what the verifier says of the exporter's block."""
    block = write_block(read_tokenizer(path))
    return check_tokenizer(
        WrittenTokenizer("v3", block, TOKENS, None, lambda: BlockReader(block, TOKENS)), path, "quick"
    ).verdict


def compare(tokenizer: reader_c.Tokenizer, judge: Encode, seed: int) -> None:
    draw = random.Random(seed)
    special = ["<|begin|>", "<|end|>", "<|turn|>", " <|turn|> "]
    for number in range(TEXTS):
        text = drawn_text(draw)
        if number % 3 == 0:
            at = draw.randrange(len(HARD_TEXT))
            text += draw.choice(special) + HARD_TEXT[at : at + 12] + drawn_text(draw, 6)
        text = text.replace("\0", "")
        assert tokenizer.encode(text, bos=False, eos=False) == judge(text), text


def of_json(path: Path) -> Encode:
    judge = Tokenizer.from_file(str(path))
    return lambda text: list(judge.encode(text, add_special_tokens=False).ids)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("gpt2", {}),
        ("llama3", {"model": {"ignore_merges": True}}),
        ("qwen2", {"normalizer": {"type": "NFC"}}),
        ("digits", {}),
        ("prefix", {}),
    ],
)
def test_byte_level_files_have_the_library_s_ids(tmp_path: Path, name: str, changes: dict[str, Any]) -> None:
    pattern = {"llama3": LLAMA3, "qwen2": LLAMA3.replace("{1,3}", "")}.get(name)
    file = byte_level_json(trained(pattern, 500))
    file["model"].update(changes.pop("model", {}))
    file.update(changes)
    if name == "prefix":
        file["pre_tokenizer"]["add_prefix_space"] = True
    if name == "digits":
        steps = [{"type": "Digits", "individual_digits": True}, file["pre_tokenizer"]]
        file["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": steps}
    path = save_json(tmp_path / "tokenizer.json", file)
    compare(written(path), of_json(path), 1)


@pytest.mark.parametrize("gemma", [False, True])
def test_files_over_characters_have_the_library_s_ids(tmp_path: Path, gemma: bool) -> None:
    file = llama2_json()
    if gemma:
        file["normalizer"] = file["normalizer"]["normalizers"][1]
        file["decoder"]["decoders"].pop()
    path = save_json(tmp_path / "tokenizer.json", file)
    compare(written(path), of_json(path), 2)


@pytest.mark.parametrize("prefix", [True, False])
@pytest.mark.parametrize("removes_spaces", [True, False])
def test_sentencepiece_models_have_the_library_s_ids(tmp_path: Path, prefix: bool, removes_spaces: bool) -> None:
    options = {"add_dummy_prefix": prefix, "remove_extra_whitespaces": removes_spaces}
    path = save_sentencepiece(tmp_path / "tokenizer.model", **options)
    judge = sentencepiece.SentencePieceProcessor(model_file=str(path))
    compare(written(path), judge.encode, 3)
    verdict = checked(path)
    assert verdict.status == "pass", verdict.detail
    assert "extra spaces" not in verdict.detail


def test_tokenizer_bin_is_compared_without_the_spaces_that_only_sentencepiece_removes(tmp_path: Path) -> None:
    path = save_sentencepiece(tmp_path / "tokenizer.model", remove_extra_whitespaces=True)
    out = tmp_path / "tokenizer.bin"
    content = write_llama2c(read_tokenizer(path))
    out.write_bytes(content)
    plain = WrittenTokenizer("llama2c", content, TOKENS, str(out), lambda: PlainReader(out, TOKENS))
    verdict = check_tokenizer(plain, path, "quick").verdict
    assert verdict.status == "pass", verdict.detail
    assert "texts with extra spaces, which the source's library removes, were not compared" in verdict.detail


@pytest.mark.parametrize("cut", [False, True])
def test_qwen3_c_differs_from_the_library_only_where_that_cuts_a_text_into_words(tmp_path: Path, cut: bool) -> None:
    file = byte_level_json(trained(None, 500))
    file["pre_tokenizer"]["use_regex"] = cut
    ends = {"bos_token": "<|begin|>", "eos_token": "<|end|>"}
    path = save_json(tmp_path / "tokenizer.json", file, ends)
    content = write_qwen3c(read_tokenizer(path))
    verdict = check_tokenizer(WrittenTokenizer("qwen3c", content, 503, str(path)), path, "quick").verdict
    assert verdict.status == "pass", verdict.detail
    known = r"qwen3.c, which cuts no text into words and normalizes none, encodes (\d+) of 2000 drawn texts otherwise"
    found = re.search(f"{known} than tokenizers$", verdict.detail)
    assert found is not None, verdict.detail
    assert (int(found[1]) > 0) == cut, verdict.detail


@pytest.mark.slow
@pytest.mark.parametrize("name", ["GPT2Tokenizer", "Qwen2Tokenizer"])
def test_vocab_json_has_the_ids_of_its_class(tmp_path: Path, name: str) -> None:
    path = save_byte_pairs(trained(LLAMA3, 400), tmp_path, {"tokenizer_class": name})
    with quiet_transformers() as transformers:
        made = getattr(transformers, name).from_pretrained(tmp_path, local_files_only=True)
    judge = made.backend_tokenizer
    vocabulary = 400
    tokenizer = written(path)

    def ids(text: str) -> list[int]:
        found = list(judge.encode(text, add_special_tokens=False).ids)
        assert all(token < vocabulary for token in found)
        return found

    compare(tokenizer, ids, 4)


def test_what_begins_a_text_is_in_the_block(tmp_path: Path) -> None:
    path = save_json(tmp_path / "tokenizer.json", llama2_json(), {"bos_token": "<s>", "eos_token": "</s>"})
    tokenizer = written(path)
    assert (tokenizer.bos, tokenizer.eos_ids) == (1, (2,))
