"""generate() yields one text a step, ends where it must, and draws from the logits of a plain pass."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from helpers.models import checkpoint, config
from helpers.tokenizer_bins import Entry, byte_entries, save

import exporter
import reader_c

ENTRIES: list[Entry] = [*byte_entries(), (b" ", 0.0), (b"a", 0.0), (b"b", 0.0), (b" a", 1.0)]
POSITIONS = 70


@pytest.fixture
def model(tmp_path: Path) -> Iterator[reader_c.Model]:
    shape = config(vocab_size=len(ENTRIES), max_seq_len=POSITIONS)
    exporter.export(checkpoint(shape), tmp_path / "model.bin", format="v2", group_size=8)
    with reader_c.open(tmp_path / "model.bin") as opened:
        yield opened


@pytest.fixture
def tokenizer(tmp_path: Path) -> reader_c.Tokenizer:
    return reader_c.Tokenizer(save(tmp_path / "tokenizer.bin", ENTRIES), len(ENTRIES))


@pytest.mark.parametrize("arithmetic", ["mirror", "fast"])
@pytest.mark.parametrize("activations", ["fp32", "q8"])
@pytest.mark.parametrize("prompt", ["", "ab a", b"\xf0\x9f\x98\x80 " * 12 + b"a"])
def test_text_is_drawn_from_the_logits_of_one_token_after_the_other(
    model: reader_c.Model, tokenizer: reader_c.Tokenizer, prompt: str, arithmetic: str, activations: str
) -> None:
    how = {"arithmetic": arithmetic, "activations": activations}
    tokens, sampler = tokenizer.encode(prompt, bos=True), reader_c.Sampler(0.9, 0.8, 7)
    with model.session() as session:
        for position in range(POSITIONS):
            logits = session.forward([tokens[position]], **how)[0]  # type: ignore[arg-type]
            if position + 1 == len(tokens):
                tokens.append(sampler.sample(logits))
            if tokens[-1] == 1 and len(tokens) == position + 2:
                tokens.pop()
                break
    pieces = reader_c.generate(
        model,
        tokenizer,
        prompt,
        steps=0,
        temperature=0.9,
        top_p=0.8,
        seed=7,
        **how,  # type: ignore[arg-type]
    )
    found = list(pieces)
    assert len(found) == len(tokens) - 1
    assert b"".join(found) == tokenizer.decode(tokens, shown=arithmetic == "mirror")


@pytest.mark.parametrize("steps", [1, 2, 5, 66, POSITIONS, POSITIONS + 5])
@pytest.mark.parametrize("prompt", ["", "a b", "b" * 64])
def test_as_many_pieces_come_as_steps_or_positions(
    model: reader_c.Model, tokenizer: reader_c.Tokenizer, steps: int, prompt: str
) -> None:
    pieces = list(reader_c.generate(model, tokenizer, prompt, steps=steps, temperature=0))
    longer = list(reader_c.generate(model, tokenizer, prompt, steps=0, temperature=0))
    assert pieces == longer[: min(steps, POSITIONS)]
    assert steps >= len(longer) or len(pieces) == steps


def test_a_prompt_longer_than_the_steps_is_shown_in_part(
    model: reader_c.Model, tokenizer: reader_c.Tokenizer
) -> None:
    assert b"".join(reader_c.generate(model, tokenizer, "b" * 200, steps=9)) == b"b" * 8
    assert b"".join(reader_c.generate(model, tokenizer, "b" * 200, steps=0)) == b"b" * (POSITIONS - 1)


def test_token_1_ends_the_text_also_within_the_prompt(tmp_path: Path) -> None:
    """A text that spells the piece of token 1 becomes it, if the vocabulary can merge it."""
    entries = [*ENTRIES, (b"\n", 0.0), (b"<", 0.0), (b"s", 0.0), (b">", 0.0), (b"\n<", 1.0), (b"\n<s", 1.0)]
    entries += [(b"\n<s>", 1.0)]
    shape = config(vocab_size=len(entries), max_seq_len=20)
    exporter.export(checkpoint(shape), tmp_path / "other.bin", format="v0")
    tokenizer = reader_c.Tokenizer(save(tmp_path / "other.tok", entries), len(entries))
    assert tokenizer.encode("a\n<s>\nb", bos=True)[2] == 1
    with reader_c.open(tmp_path / "other.bin") as other:
        assert list(reader_c.generate(other, tokenizer, "a\n<s>\nb")) == [b"a"]


def test_the_seed_decides_the_text(model: reader_c.Model, tokenizer: reader_c.Tokenizer) -> None:
    def text(seed: int) -> bytes:
        return b"".join(reader_c.generate(model, tokenizer, "a", steps=40, seed=seed, top_p=1.0))

    assert text(3) == text(3)
    assert len({text(seed) for seed in range(1, 9)}) > 1


def test_options_are_checked_before_the_first_piece(
    model: reader_c.Model, tokenizer: reader_c.Tokenizer, tmp_path: Path
) -> None:
    for options, message in (
        ({"steps": -1}, f"{model.path}: steps: expected 0 or more, found -1"),
        ({"steps": True}, f"{model.path}: steps: expected 0 or more, found True"),
        ({"temperature": -1}, "sampler: temperature: expected a finite number, 0 or more, found -1"),
        ({"arithmetic": "slow"}, f"{model.path}: arithmetic: expected mirror or fast, found 'slow'"),
        ({"activations": "q4"}, f"{model.path}: activations: expected fp32 or q8, found 'q4'"),
    ):
        with pytest.raises(reader_c.ArgumentError) as refused:
            reader_c.generate(model, tokenizer, "a", **options)  # type: ignore[arg-type]
        assert str(refused.value) == message
    short = reader_c.Tokenizer(save(tmp_path / "short.bin", ENTRIES[:-1]), len(ENTRIES) - 1)
    with pytest.raises(reader_c.ArgumentError, match=f"vocab_size: expected the model's {len(ENTRIES)}, found"):
        reader_c.generate(model, short)


def test_logits_that_are_not_numbers_end_with_an_error(tmp_path: Path, tokenizer: reader_c.Tokenizer) -> None:
    shape = config(vocab_size=len(ENTRIES), max_seq_len=8)
    path = tmp_path / "damaged.bin"
    exporter.export(checkpoint(shape), path, format="v1-fp32")
    with reader_c.open(path) as model:
        (span,) = model.spans("norm.weight")
    content = bytearray(path.read_bytes())
    content[span.offset : span.offset + 4] = np.float32(np.nan).tobytes()
    path.write_bytes(content)
    with reader_c.open(path) as model, pytest.raises(reader_c.ArgumentError, match="logit at 0: expected a finite"):
        list(reader_c.generate(model, tokenizer))
