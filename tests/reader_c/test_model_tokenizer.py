"""A model's own tokenizer: read from its file, and used to generate."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from helpers import tokenizer_blocks as blocks
from helpers.arch_files import Arch, random_weights, signed, write
from helpers.tokenizer_blocks import Block

import reader_c

# more tokens than the block has, as in published models
SHAPE = replace(Arch(), vocab_size=264)
BLOCK = Block(
    flags=blocks.BEGINS,
    pretokenizer=blocks.GPT2,
    pieces=[*(bytes([byte]) for byte in range(256)), b"<s>", b"</s>", b"ab"],
    merges=[(97, 98)],
    added=[(256, blocks.SPECIAL), (257, blocks.SPECIAL)],
    bos=256,
    eos=257,
    eos_ids=[257],
    template=b"{{ messages }}",
)


def saved(path: Path, block: Block) -> Path:
    write(path, SHAPE, random_weights(SHAPE), tokenizer=block.content())
    return path


def test_a_model_has_the_tokenizer_of_its_file(tmp_path: Path) -> None:
    with reader_c.open(saved(tmp_path / "model.bin", BLOCK)) as model:
        assert model.tokenizer is not None
        assert model.tokenizer is model.tokenizer
        assert model.tokenizer_block == BLOCK.content()
        assert model.tokenizer.encode("<s>ab") == [256, 256, 258]
        assert (model.tokenizer.token_count, model.tokenizer.vocab_size) == (259, 264)
        assert model.tokenizer.chat_template == "{{ messages }}"
        assert model.tokenizer.decode([263]) == b""


def test_a_model_without_a_block_has_none(tmp_path: Path) -> None:
    write(tmp_path / "model.bin", SHAPE, random_weights(SHAPE))
    with reader_c.open(tmp_path / "model.bin") as model:
        assert model.tokenizer is None


def test_a_wrong_block_is_refused_at_its_place_in_the_file(tmp_path: Path) -> None:
    path = saved(tmp_path / "model.bin", BLOCK)
    content = path.read_bytes()
    at = content.index(BLOCK.content())
    path.write_bytes(signed(content[:at] + b"\3" + content[at + 1 :]))
    with reader_c.open(path) as model:
        assert model.names
        with pytest.raises(reader_c.InvalidFileError) as refused:
            _ = model.tokenizer
    assert str(refused.value) == f"{path}: tokenizer kind at {at}: expected at most 2, found 3"


def generated(path: Path, block: Block, prompt: str, steps: int = 20, **how: object) -> list[bytes]:
    with reader_c.open(saved(path, block)) as model:
        assert model.tokenizer is not None
        return list(reader_c.generate(model, model.tokenizer, prompt, steps=steps, temperature=1.5, **how))  # type: ignore[arg-type]


@pytest.mark.parametrize("arithmetic", ["fast", "mirror"])
def test_text_begins_with_the_prompt_and_every_byte_is_kept(tmp_path: Path, arithmetic: str) -> None:
    prompt = "<s>ab</s> \x07a"
    pieces = generated(tmp_path / "model.bin", BLOCK, prompt, arithmetic=arithmetic, seed=5)
    # special tokens are without text, and end no prompt; bos is fed and not shown
    assert b"".join(pieces).startswith(b"ab \x07a")
    assert len(pieces) <= 20
    without = replace(BLOCK, flags=0, eos_ids=[])
    pieces = generated(tmp_path / "model.bin", without, "ab a", arithmetic=arithmetic)
    assert b"".join(pieces).startswith(b"ab a")
    # the first token is shown, and counts
    assert len(pieces) == 20
    assert generated(tmp_path / "model.bin", without, "ab a", 1) == [b"ab"]


def test_text_ends_at_any_of_the_eos_ids(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    longest = len(generated(path, replace(BLOCK, eos_ids=[]), "a", steps=30))
    assert longest == 30
    assert len(generated(path, replace(BLOCK, eos_ids=range(259)), "a", steps=30)) < 3
    some = replace(BLOCK, eos_ids=range(0, 259, 4))
    lengths = {len(generated(path, some, "a", 30, seed=seed)) for seed in range(1, 9)}
    assert len(lengths) > 2
    assert min(lengths) < longest


def test_an_empty_prompt_begins_with_bos_or_what_ends_a_text(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    assert generated(path, BLOCK, "", 3)
    assert generated(path, replace(BLOCK, flags=0), "", 3) == generated(path, BLOCK, "", 3)
    assert generated(path, replace(BLOCK, flags=0, bos=-1), "", 3)
    with pytest.raises(reader_c.ArgumentError) as refused:
        generated(path, replace(BLOCK, flags=0, bos=-1, eos_ids=[]), "")
    assert str(refused.value) == f"{path}: prompt: expected a text, for want of bos and eos, found none"
