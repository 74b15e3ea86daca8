"""Other people's tokenizer and sampler as judge: llama2.c's run.c against the reader, id for id and byte for byte."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from helpers import upstream_text
from helpers.models import arrays
from helpers.tokenizer_bins import Entry, byte_entries, from_sentencepiece, save, trained
from hypothesis import given
from hypothesis import strategies as st

import exporter
import reader_c
from verify.testing import configs

LETTERS = " abcdehilnorstu.,"


@pytest.fixture(scope="module")
def vocabulary() -> list[Entry]:
    return from_sentencepiece(trained(1024))


@given(st.text(LETTERS, min_size=1, max_size=120))
def test_merges_are_upstream_s(vocabulary: list[Entry], text: str) -> None:
    with tempfile.TemporaryDirectory() as directory:
        tokenizer = reader_c.Tokenizer(save(Path(directory) / "tokenizer.bin", vocabulary), len(vocabulary))
        # the dummy prefix of today's run.c is a space before the text
        assert tokenizer.encode(text) == upstream_text.encode(vocabulary, f" {text}".encode())


@st.composite
def drawn_merges(draw: st.DrawFn) -> list[Entry]:
    pieces = draw(st.lists(st.text("ab ", min_size=2, max_size=6), max_size=30, unique=True))
    scores = st.floats(-(2.0**40), 2.0**40, width=32)
    letters = [(letter, 0.0) for letter in (b"a", b"b", b" ")]
    return [*byte_entries()[:3], *letters, *((piece.encode(), draw(scores)) for piece in pieces)]


@given(drawn_merges(), st.text("ab ", min_size=1, max_size=60))
def test_merges_are_upstream_s_for_any_vocabulary(entries: list[Entry], text: str) -> None:
    with tempfile.TemporaryDirectory() as directory:
        tokenizer = reader_c.Tokenizer(save(Path(directory) / "tokenizer.bin", entries), len(entries))
        assert tokenizer.encode(text) == upstream_text.encode(entries, f" {text}".encode())


@given(
    st.integers(1, 2**64 - 1),
    st.integers(1, 400),
    st.sampled_from([0.0, 0.1, 0.8, 1.0, 1.7]),
    st.sampled_from([0.0, 1.0]),
)
def test_draws_are_upstream_s(seed: int, size: int, temperature: float, top_p: float) -> None:
    rng = np.random.default_rng(seed)
    sampler, state = reader_c.Sampler(temperature, top_p, seed), seed
    for _ in range(8):
        logits = rng.normal(0, 4, size).astype(np.float32)
        token, state = upstream_text.draw(logits, temperature, state)
        assert sampler.sample(logits) == token


@pytest.mark.parametrize("seed", range(1, 13))
def test_generated_text_is_upstream_s_byte_for_byte(seed: int, tmp_path: Path) -> None:
    """With a random model, whose tokens include those of bytes, and with prompts that are longer than the steps."""
    rng = np.random.default_rng(seed)
    entries = [*byte_entries(), *((letter.encode(), 0.0) for letter in LETTERS)]
    entries += [(b" th", 1.0), (b"he", 2.0), (b" a", 3.0)]
    config = exporter.ModelConfig(
        dim=32, hidden_dim=48, n_layers=2, n_heads=4, n_kv_heads=4, vocab_size=len(entries), max_seq_len=40, tied=True
    )
    path = tmp_path / "model.bin"
    exporter.export(exporter.Checkpoint.from_arrays(config, arrays(config, seed)), path, format="v0")
    tokenizer = reader_c.Tokenizer(save(tmp_path / "tokenizer.bin", entries), len(entries))
    prompt, steps = ("", "the hat", "a \u00e9\U0001f600 the")[seed % 3], int(rng.integers(1, 41))
    temperature = (0.0, 0.7, 1.0, 1.5)[seed % 4]
    tokens = tokenizer.encode(prompt, bos=True)
    theirs = upstream_text.generate(path, tokens, steps, temperature, seed)
    printed = tokenizer.decode(theirs, previous=tokens[0], shown=True)
    with reader_c.open(path) as model:
        # its RoPE comes from the file's tables, which for so few positions have the bits of the computed one
        ours = reader_c.generate(
            model,
            tokenizer,
            prompt,
            steps=steps,
            temperature=temperature,
            top_p=1.0,
            seed=seed,
            arithmetic="mirror",
        )
        assert b"".join(ours) == printed


@given(configs(grouped_queries=False), st.integers(1, 2**32))
def test_the_same_tokens_are_drawn_from_mirror_s_logits(config: exporter.ModelConfig, seed: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "model.bin"
        exporter.export(exporter.Checkpoint.from_arrays(config, arrays(config, seed)), path, format="v0")
        start = [0]
        theirs = upstream_text.generate(path, start, config.max_seq_len, 0.9, seed)
        sampler, ours, token = reader_c.Sampler(0.9, 1.0, seed), [], 0
        with reader_c.open(path) as model, model.session() as session:
            for _ in range(config.max_seq_len):
                token = sampler.sample(session.forward([token], arithmetic="mirror", rope="file")[0])
                if token == 1:
                    break
                ours.append(token)
        assert ours == theirs
