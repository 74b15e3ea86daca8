"""The libraries that judge, and the C reader that they judge: the ids of a text with and without special ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.rule_blocks import block_of
from helpers.tokenizer_bins import content, from_sentencepiece, trained
from helpers.tokenizer_families import source

from verify.errors import CannotJudgeError
from verify.tokenizers.encoders import BlockReader, PlainReader
from verify.tokenizers.libraries import FastLibrary, RanksLibrary, SentencePieceLibrary
from verify.tokenizers.source_tokenizer import open_source_tokenizer

TEXTS = ["In the beginning", " God", "<|im_end|>", ""]


def test_a_tokenizer_json_encodes_whole_texts_whatever_it_says_of_length(tmp_path: Path) -> None:
    path = source("llama3", tmp_path)
    plain = FastLibrary.of_json(path).encode(TEXTS, special=False)
    said = json.loads(path.read_text())
    said["truncation"] = {"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0}
    said["padding"] = {
        "strategy": {"Fixed": 99},
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": 0,
        "pad_type_id": 0,
        "pad_token": "a",
    }
    path.write_text(json.dumps(said))
    library = FastLibrary.of_json(path)
    assert (library.name, library.finds_added) == ("tokenizers", True)
    assert library.encode(TEXTS, special=False) == plain
    assert library.encode(TEXTS, special=True) == [[800, *ids] for ids in plain]
    assert [len(ids) > 2 for ids in plain] == [True, False, False, False]
    # special tokens are text, too
    assert library.decode(plain) == TEXTS
    assert library.decode([[800, 802]]) == ["<|endoftext|><|im_end|>"]
    assert (library.id_of("<|im_end|>"), library.id_of("no such token")) == (802, None)
    assert json.loads(library.json())["model"] == said["model"]


def test_vocab_json_with_merges_is_opened_as_transformers_opens_it(tmp_path: Path) -> None:
    library = FastLibrary.of_byte_pairs(source("byte-pairs", tmp_path))
    ids = library.encode(TEXTS[:2], special=True)
    assert library.decode(ids) == TEXTS[:2]


@pytest.mark.parametrize(("begins", "ends"), [(False, False), (True, False), (False, True), (True, True)])
def test_sentencepiece_puts_what_it_is_asked_to_around_a_text(tmp_path: Path, begins: bool, ends: bool) -> None:
    library = SentencePieceLibrary(source("sentencepiece", tmp_path), begins=begins, ends=ends)
    assert (library.name, library.finds_added, library.ids()) == ("sentencepiece", False, (1, 0, 2))
    plain = [list(trained(512).encode(text)) for text in TEXTS[:2]]
    assert library.encode(TEXTS[:2], special=False) == plain
    assert library.encode(TEXTS[:2], special=True) == [[1] * begins + ids + [2] * ends for ids in plain]
    assert library.decode(plain) == ["In the beginning", "God"]


def test_ranks_begin_with_the_id_behind_the_last(tmp_path: Path) -> None:
    library = RanksLibrary(source("ranks", tmp_path))
    assert (library.name, library.finds_added) == ("tiktoken", False)
    plain = library.encode(TEXTS[:2], special=False)
    assert library.encode(TEXTS[:2], special=True) == [[len(library.ranks), *ids] for ids in plain]
    assert library.decode(plain) == TEXTS[:2]


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer.model"])
def test_a_file_that_no_library_loads_is_no_source(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"{}")
    with pytest.raises(CannotJudgeError, match=f"^{path}: expected a .*, found none that loads"):
        if name == "tokenizer.json":
            FastLibrary.of_json(path)
        else:
            SentencePieceLibrary(path, begins=True, ends=False)


def test_the_reader_encodes_by_a_tokenizer_bin(tmp_path: Path) -> None:
    path, processor = tmp_path / "tokenizer.bin", trained(512)
    path.write_bytes(content(from_sentencepiece(processor)))
    reader = PlainReader(path, 512)
    plain = list(processor.encode(TEXTS[0]))
    assert reader.encode(TEXTS[0], special=False) == plain
    assert reader.encode(TEXTS[0], special=True) == [1, *plain]
    # behind bos, the space that begins a text is none of it
    assert reader.decode(plain) == TEXTS[0].encode()
    with pytest.raises(ValueError, match="byte of the text at 0: expected at least 1, found 0"):
        reader.encode("\0", special=False)


def test_the_reader_encodes_by_a_block(tmp_path: Path) -> None:
    path = source("llama3", tmp_path)
    rules = open_source_tokenizer(path).expected.rules
    reader, library = BlockReader(block_of(rules), len(rules.pieces)), FastLibrary.of_json(path)
    for special in (False, True):
        assert [reader.encode(text, special=special) for text in TEXTS] == library.encode(TEXTS, special=special)
    [ids] = library.encode(TEXTS[:1], special=False)
    assert reader.decode(ids) == TEXTS[0].encode()
    with pytest.raises(ValueError, match="surrogates not allowed"):
        reader.encode("\ud800", special=False)
