"""The rules of a source's tokenizer: what its files say, which ids a file may have instead, what no format holds."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.tokenizer_bins import trained
from helpers.tokenizer_families import TEMPLATE, source

from verify.errors import CannotJudgeError
from verify.tokenizers.ranks import merges_of, rules_of_ranks
from verify.tokenizers.rules import NONE, NotHeldError
from verify.tokenizers.sentencepiece_model import rules_of_sentencepiece
from verify.tokenizers.source_tokenizer import open_source_tokenizer


def changed(path: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    said = json.loads(path.read_text())
    change(said)
    path.write_text(json.dumps(said))
    return path


def test_the_files_beside_a_tokenizer_name_its_ids_and_its_template(tmp_path: Path) -> None:
    opened = open_source_tokenizer(source("llama3", tmp_path))
    rules = opened.expected.rules
    assert (rules.bos, rules.eos, rules.unk, rules.ends) == (800, 802, NONE, (802,))
    assert (rules.add_bos, rules.add_eos, rules.template) == (True, False, TEMPLATE)
    assert (opened.begin_text, opened.end_text) == ("<|endoftext|>", "<|im_end|>")
    # a file may leave an eos out that encoding never appends, but not a bos that it puts before a text
    assert (opened.expected.bos, opened.expected.eos) == (frozenset(), {802, NONE})


def test_the_end_ids_of_generation_are_needed_and_those_of_other_files_allowed(tmp_path: Path) -> None:
    path = source("gpt2", tmp_path)
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": [801, 800]}')
    expected = open_source_tokenizer(path).expected
    assert (expected.rules.ends, expected.ends) == ((800, 801), {800, 801, 802})
    (tmp_path / "generation_config.json").unlink()
    (tmp_path / "config.json").write_text('{"eos_token_id": 801}')
    assert open_source_tokenizer(path).expected.rules.ends == (801,)


def test_of_several_templates_the_default_one_counts(tmp_path: Path) -> None:
    path = source("gpt2", tmp_path)
    (tmp_path / "chat_template.jinja").unlink()
    templates = [{"name": "tool_use", "template": "no"}, {"name": "default", "template": "yes"}]
    changed(tmp_path / "tokenizer_config.json", lambda said: said.update(chat_template=templates))
    assert open_source_tokenizer(path).expected.rules.template == "yes"


REFUSED: dict[str, Callable[[dict[str, Any]], object]] = {
    "a model of the type 'Unigram'": lambda s: s.update(
        model={"type": "Unigram", "unk_id": None, "vocab": [["a", 0.0]]}
    ),
    "dropout 0.5": lambda s: s["model"].update(dropout=0.5),
    "a normalizer Lowercase": lambda s: s.update(normalizer={"type": "Lowercase"}),
    "the regular expression 'x'": lambda s: s.update(
        pre_tokenizer={
            "type": "Sequence",
            "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": "x"}, "behavior": "Isolated", "invert": False},
                {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False},
            ],
        }
    ),
    "the pre-tokenizers Whitespace, ByteLevel": lambda s: s.update(
        pre_tokenizer={"type": "Sequence", "pretokenizers": [{"type": "Whitespace"}, s["pre_tokenizer"]]}
    ),
}


@pytest.mark.parametrize(("what", "change"), REFUSED.items(), ids=list(REFUSED))
def test_what_no_format_holds_is_named(tmp_path: Path, what: str, change: Callable[[dict[str, Any]], object]) -> None:
    path = changed(source("gpt2", tmp_path), change)
    with pytest.raises(NotHeldError, match=f"^{what}"):
        open_source_tokenizer(path)


def test_a_unigram_model_of_sentencepiece_is_named(tmp_path: Path) -> None:
    import io

    import sentencepiece

    from verify.demo import HELD_OUT_TEXT

    model = io.BytesIO()
    lines = iter(HELD_OUT_TEXT.read_text().splitlines())
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=lines, model_writer=model, model_type="unigram", vocab_size=300, minloglevel=2
    )
    path = tmp_path / "tokenizer.model"
    path.write_bytes(model.getvalue())
    with pytest.raises(NotHeldError, match=r"^a SentencePiece model of the type unigram$"):
        open_source_tokenizer(path)


def test_a_model_that_is_cut_is_no_source(tmp_path: Path) -> None:
    path = source("sentencepiece", tmp_path)
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(CannotJudgeError, match=r"expected a SentencePiece model, found none that loads"):
        open_source_tokenizer(path)


def test_pieces_and_scores_are_those_that_sentencepiece_reads() -> None:
    processor = trained(512)
    found = rules_of_sentencepiece(processor.serialized_model_proto(), 1, 0, 2).rules
    ids = range(processor.vocab_size())
    assert found.pieces == tuple(processor.id_to_piece(n).encode() for n in ids)
    assert found.scores == tuple(processor.get_score(n) for n in ids)
    assert not found.added


def test_ranks_give_the_merges_that_trained_them(tmp_path: Path) -> None:
    lines = source("ranks", tmp_path).read_bytes().splitlines()
    ranks = {base64.b64decode(line.split()[0]): n for n, line in enumerate(lines)}
    made = [ranks[left + right] for left, right in ((_key(ranks, a), _key(ranks, b)) for a, b in merges_of(ranks))]
    assert made == [rank for token, rank in ranks.items() if len(token) > 1]
    rules = rules_of_ranks(ranks)
    assert rules.rules.pieces[800] == b"<|begin_of_text|>"
    assert rules.rules.pieces[804:810] == tuple(
        f"<|{name}|>".encode()
        for name in (
            "reserved_special_token_2",
            "reserved_special_token_3",
            "start_header_id",
            "end_header_id",
            "reserved_special_token_4",
            "eot_id",
        )
    )
    assert rules.pieces[804] == {b"<|finetune_right_pad_id|>"}
    assert rules.pieces[805] == {b"<|step_id|>", b"<|reserved_special_token_2|>"}


def _key(ranks: dict[bytes, int], rank: int) -> bytes:
    return list(ranks)[rank]
