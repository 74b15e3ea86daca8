"""Perplexity: every token but the first is scored once, by the float64 softmax of a pass over what precedes it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from helpers.tokenizer_bins import from_sentencepiece, save

import exporter
import reader_c
import verify.demo
from verify.demo import CHECKPOINT, HELD_OUT_TEXT
from verify.errors import CannotJudgeError
from verify.text import perplexity
from verify.text.perplexity import _interval, _windows

SENTENCEPIECE = Path(verify.demo.__file__).parent / "tokenizer.model"


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled model, with its tokenizer as llama2.c writes it beside it."""
    import sentencepiece

    out = tmp_path_factory.mktemp("model") / "model.bin"
    exporter.export(exporter.open_checkpoint(CHECKPOINT), out, format="v0")
    save(out.with_name("tokenizer.bin"), from_sentencepiece(sentencepiece.SentencePieceProcessor(str(SENTENCEPIECE))))
    return out


def some_text(tmp_path: Path, characters: int) -> Path:
    text = tmp_path / "some.txt"
    text.write_text(HELD_OUT_TEXT.read_text()[:characters])
    return text


@pytest.mark.parametrize("tokens", [2, 3, 7, 8, 9, 23, 100])
@pytest.mark.parametrize("length", [2, 3, 7, 8])
def test_windows_score_every_token_but_the_first_once(tokens: int, length: int) -> None:
    windows = list(_windows(tokens, length))
    assert [at for w in windows for at in range(w.scored, w.end)] == list(range(1, tokens))
    assert all(w.end - w.first <= length and w.first < w.scored < w.end for w in windows)
    assert all(w.scored - w.first >= length // 2 for w in windows[1:])
    assert all(w.end == following.scored for w, following in pairwise(windows))


def test_nats_are_those_of_one_pass_where_one_window_holds_the_text(file: Path, tmp_path: Path) -> None:
    text = some_text(tmp_path, 400)
    found = perplexity(file, text)
    with reader_c.open(file) as model:
        tokenizer = reader_c.Tokenizer(file.with_name("tokenizer.bin"), model.config.vocab_size)
        ids = tokenizer.encode(text.read_bytes(), bos=True)
        assert 100 < len(ids) <= model.config.max_seq_len
        logits = model.forward(ids)[:-1].astype(np.float64)
    nats = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(logits)), ids[1:]]
    assert found.nats_per_token == pytest.approx(nats.mean(), rel=1e-12)
    assert found.perplexity == pytest.approx(np.exp(nats.mean()), rel=1e-12)
    assert found.bits_per_byte == pytest.approx(nats.sum() / np.log(2) / text.stat().st_size, rel=1e-12)
    assert (found.tokens, found.scored, found.windows) == (len(ids), len(ids) - 1, 1)
    assert found.nats_per_token_ci is None
    assert found.perplexity_ci is None


def test_a_long_text_is_scored_in_windows_that_see_at_least_half_of_one(file: Path, tmp_path: Path) -> None:
    text = some_text(tmp_path, 2000)
    found = perplexity(file, text, length=64)
    with reader_c.open(file) as model:
        ids = reader_c.Tokenizer(file.with_name("tokenizer.bin"), 512).encode(text.read_bytes(), bos=True)
        sums, sizes, scored = [], [], 1
        for end in (*range(64, len(ids), 32), len(ids)):
            first = max(0, end - 64)
            rows = model.forward(ids[first:end])[scored - 1 - first : -1].astype(np.float64)
            chosen = rows[np.arange(len(rows)), np.array(ids)[scored:end]]
            sums.append(float((np.log(np.exp(rows).sum(axis=1)) - chosen).sum()))
            sizes.append(len(rows))
            scored = end
    assert found.windows == len(sums)
    assert found.scored == sum(sizes) == len(ids) - 1
    assert found.nats_per_token == pytest.approx(sum(sums) / sum(sizes), rel=1e-12)
    low, high = found.nats_per_token_ci or (0, 0)
    assert low < found.nats_per_token < high
    assert found.perplexity_ci == (pytest.approx(np.exp(low)), pytest.approx(np.exp(high)))


def test_the_interval_holds_the_mean_as_often_as_it_says() -> None:
    """Windows whose tokens depend on each other: an interval over tokens would be far too narrow."""
    rng, held, trials = np.random.default_rng(0), 0, 2000
    for _ in range(trials):
        windows = [np.full(16, 2.0) + rng.normal() + rng.normal(0, 0.1, 16) for _ in range(12)]
        low, high = _interval(windows) or (0, 0)
        held += low <= 2.0 <= high
    assert 0.94 <= held / trials <= 0.96


def test_the_source_s_own_tokenizer_can_encode_the_text(file: Path, tmp_path: Path) -> None:
    """SentencePiece begins each line with token 1, which stands for the line's end."""
    text = tmp_path / "lines.txt"
    text.write_text(HELD_OUT_TEXT.read_text())
    found = perplexity(file, text, SENTENCEPIECE)
    assert found.tokenizer == str(SENTENCEPIECE)
    assert found.bytes == text.stat().st_size
    assert found.perplexity < 20


def test_bytes_are_those_of_the_scored_tokens(file: Path, tmp_path: Path) -> None:
    """A tokenizer that begins a text with no token of its own leaves the first bytes unscored."""
    from helpers.tokenizers import trained

    trained(None, size=400).save(str(tmp_path / "tokenizer.json"))
    text = tmp_path / "text"
    text.write_text("In the beginning")
    found = perplexity(file, text, tmp_path / "tokenizer.json")
    assert len("In the beginning") - 3 <= found.bytes < len("In the beginning")


def test_progress_goes_from_the_beginning_to_the_end(file: Path, tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    found = perplexity(file, some_text(tmp_path, 800), length=64, progress=lambda *step: seen.append(step))
    assert seen[0] == ("text", 0, found.tokens)
    assert seen[-1] == ("text", found.tokens, found.tokens)
    assert len(seen) == 2 * found.windows


def test_int8_activations_and_mirror_are_options(file: Path, tmp_path: Path) -> None:
    exporter.export(exporter.open_checkpoint(CHECKPOINT), tmp_path / "v2.bin", format="v2")
    text, tokenizer = some_text(tmp_path, 300), file.with_name("tokenizer.bin")
    plain = perplexity(tmp_path / "v2.bin", text, tokenizer)
    other = perplexity(tmp_path / "v2.bin", text, tokenizer, activations="q8", arithmetic="mirror")
    assert (other.activations, other.arithmetic) == ("q8", "mirror")
    assert 0 < abs(other.nats_per_token - plain.nats_per_token) < 0.05


def test_what_cannot_be_scored_is_refused(file: Path, tmp_path: Path) -> None:
    text, tokenizer = some_text(tmp_path, 300), file.with_name("tokenizer.bin")
    alone = tmp_path / "alone" / "model.bin"
    alone.parent.mkdir()
    alone.write_bytes(file.read_bytes())
    (tmp_path / "empty").touch()
    cases: list[tuple[Callable[[], object], str]] = [
        (
            lambda: perplexity(alone, text),
            f"{alone.parent}: expected a tokenizer beside model.bin, found none: give one with --tokenizer FILE",
        ),
        (
            lambda: perplexity(file, tmp_path / "empty", tokenizer),
            f"{tmp_path / 'empty'}: expected text of at least 2 tokens, found 1",
        ),
        (
            lambda: perplexity(file, tmp_path / "none", tokenizer),
            f"{tmp_path / 'none'}: expected a text, found no such file or directory",
        ),
        (lambda: perplexity(file, text, length=1), "length: expected 2 to the model's max_seq_len of 256, found 1"),
        (
            lambda: perplexity(file, text, length=257),
            "length: expected 2 to the model's max_seq_len of 256, found 257",
        ),
    ]
    for call, message in cases:
        with pytest.raises(CannotJudgeError) as refused:
            call()
        assert str(refused.value) == message


def test_logits_that_are_not_numbers_are_refused(file: Path, tmp_path: Path) -> None:
    with reader_c.open(file) as model:
        (span,) = model.spans("norm.weight")
    content = bytearray(file.read_bytes())
    content[span.offset : span.offset + 4] = np.float32(np.inf).tobytes()
    damaged = tmp_path / "damaged.bin"
    damaged.write_bytes(content)
    with pytest.raises(CannotJudgeError) as refused:
        perplexity(damaged, some_text(tmp_path, 300), file.with_name("tokenizer.bin"))
    assert str(refused.value) == f"{damaged}: logits: expected finite numbers, found others: the file is damaged"


def test_a_file_s_own_tokenizer_encodes_the_text(file: Path, tmp_path: Path) -> None:
    """It comes before any that stands beside the file, and gives the ids of the tokenizer that it was made of."""
    import shutil

    from helpers.tokenizers import trained

    source, out = tmp_path / "source", tmp_path / "model.bin"
    source.mkdir()
    shutil.copy(CHECKPOINT, source / "checkpoint.pt")
    trained(None, size=400).save(str(source / "tokenizer.json"))
    exporter.export(exporter.open_checkpoint(source / "checkpoint.pt"), out, format="v3")
    shutil.copy(file.with_name("tokenizer.bin"), tmp_path / "tokenizer.bin")
    text = some_text(tmp_path, 2000)
    own, beside_it = perplexity(out, text), perplexity(out, text, source / "tokenizer.json")
    assert own.tokenizer == str(out)
    assert (own.tokens, own.nats_per_token, own.bytes) == (
        beside_it.tokens,
        beside_it.nats_per_token,
        beside_it.bytes,
    )
    assert perplexity(out, text, tmp_path / "tokenizer.bin").tokens != own.tokens
