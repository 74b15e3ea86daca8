"""Rank files of Llama 3 and Qwen, which the number of their ranks tells apart."""

from __future__ import annotations

import base64
import itertools
import json
from pathlib import Path

import pytest

from exporter.errors import CheckpointError
from exporter.tokenizers.read import read_tokenizer

PAIRS = (bytes(pair) for pair in itertools.product(range(256), repeat=2))
TRIPLES = (bytes([first, second, 7]) for first, second in itertools.product(range(256), repeat=2))
FOURS = (bytes([first, second, 7, 7]) for first, second in itertools.product(range(256), repeat=2))
PIECES = [bytes([byte]) for byte in range(256)] + list(
    itertools.islice(itertools.chain(PAIRS, TRIPLES, FOURS), 151_387)
)


def save(path: Path, pieces: list[bytes]) -> Path:
    path.write_bytes(b"".join(base64.b64encode(piece) + b" %d\n" % rank for rank, piece in enumerate(pieces)))
    return path


@pytest.mark.slow
def test_llama_3_has_its_rules_and_the_special_tokens_that_all_its_versions_share(tmp_path: Path) -> None:
    model = read_tokenizer(save(tmp_path / "tokenizer.model", PIECES[:128_000]))
    assert (model.kind, model.pattern, model.nfc, model.whole_words) == ("bytes", "llama3", False, True)
    assert (model.bos, model.eos, model.eos_ids, model.begins_with_bos) == (
        128_000,
        128_001,
        (128_001, 128_009),
        True,
    )
    assert len(model.pieces) == 128_256
    assert {token.id: model.pieces[token.id] for token in model.added} == {
        128_000: b"<|begin_of_text|>",
        128_001: b"<|end_of_text|>",
        128_002: b"<|reserved_special_token_0|>",
        128_003: b"<|reserved_special_token_1|>",
        128_006: b"<|start_header_id|>",
        128_007: b"<|end_header_id|>",
        128_009: b"<|eot_id|>",
    }
    assert model.pieces[128_004] == b""
    # a triple is made of the pair and a byte, or of a byte and the pair, whichever pair comes first in the list
    assert len(model.merges) == 128_000 - 256


@pytest.mark.slow
def test_qwen_has_its_rules_and_generation_config_its_ends(tmp_path: Path) -> None:
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [151_645, 151_643]}))
    model = read_tokenizer(save(tmp_path / "qwen.tiktoken", PIECES))
    assert (model.kind, model.pattern, model.nfc, model.whole_words) == ("bytes", "qwen2", True, True)
    assert (model.bos, model.eos, model.eos_ids, model.begins_with_bos) == (None, 151_643, (151_643, 151_645), False)
    assert model.pieces[151_643:151_647] == (b"<|endoftext|>", b"<|im_start|>", b"<|im_end|>", b"<|extra_0|>")
    assert len(model.pieces) == 151_851
    assert len(model.added) == 208


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"YQ== 1\n", "line 1: rank: expected 0, found 1"),
        (b"YQ== 0\nYg== 0\n", "line 2: rank: expected 1, found 0"),
        (b"YQ== 0\nYQ== 1\n", "line 2: expected a new piece, found that of 0"),
        (b"YQ== 0\nYQ= 1\n", "line 2: expected a piece in base64 and its rank, found b'YQ= 1'"),
        (b"YQ== 0\n\x00\n", "line 2: expected a piece in base64 and its rank, found b'\\x00'"),
        (b"YQ== 0\n", "expected every byte as a piece, found none for byte 0x00"),
        (
            b"YQ== 0\n" + base64.b64encode(b"x" * 11_000) + b" 1\n",
            "line 2: expected short pieces, found one of 11000 bytes",
        ),
    ],
)
def test_damaged_files_are_refused_at_their_place(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "tokenizer.model"
    path.write_bytes(content)
    with pytest.raises(CheckpointError) as refused:
        read_tokenizer(path)
    assert str(refused.value) == f"{path}: {message}"


def test_other_numbers_of_ranks_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "tokenizer.model", PIECES[:300])
    with pytest.raises(CheckpointError) as refused:
        read_tokenizer(path)
    assert str(refused.value) == (
        f"{path}: ranks: expected 128000 (Llama 3) or 151643 (Qwen), found 300: give the model's tokenizer.json"
    )


def lines(*sizes: int) -> bytes:
    """Return ranked pieces of these sizes."""
    return b"".join(base64.b64encode(b"x" * size) + b" %d\n" % rank for rank, size in enumerate(sizes))


LONG = b"!" * 60


@pytest.mark.parametrize(
    ("content", "message"),
    [
        # blank lines count as lines and have no rank
        (b"YQ== 0\n\nYg== 7\n", "line 3: rank: expected 1, found 7"),
        (b"YQ== 0\n" + LONG + b"\n", f"line 2: expected a piece in base64 and its rank, found {LONG[:40]!r}"),
        # 2,800 and 9,600 squared, and 1 and 10,000: 10^8 together, and one more
        (lines(2800, 9600), "expected every byte as a piece, found none for byte 0x00"),
        (lines(1, 10_000), "line 2: expected short pieces, found one of 10000 bytes"),
        (
            b"".join(base64.b64encode(bytes([byte])) + b" %d\n" % byte for byte in range(255)),
            "expected every byte as a piece, found none for byte 0xFF",
        ),
        # what is read to tell the formats apart ends here
        (b"A" * 4092 + b" 0\r\n", "expected every byte as a piece, found none for byte 0x00"),
        (b"A" * 4096 + b" 0\r\n", "expected a tokenizer, found none of a known format: give its tokenizer.json"),
    ],
)
def test_the_limits_of_a_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "tokenizer.model"
    path.write_bytes(content)
    with pytest.raises(CheckpointError) as refused:
        read_tokenizer(path)
    assert str(refused.value) == f"{path}: {message}"
