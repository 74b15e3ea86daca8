"""Files whose size does not fit their header, explained by the source."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.models import arrays, config

import exporter
import reader_c
import verify
from verify.run.header_size import explained_by, with_explained_size

# group 8 divides both widths, and no two counts are the same
MODEL = config(dim=48, hidden_dim=40, n_heads=6, n_kv_heads=3, vocab_size=29, tied=True)
UNTIED = dataclasses.replace(MODEL, tied=False)
FORMATS = ("v0", "v1", "v1-fp32", "v2")
V1_FIELDS = 8  # bytes before the counts
Edit = Callable[[bytes], bytes]


def written(path: Path, model: exporter.ModelConfig, format_name: str) -> Path:
    checkpoint = exporter.Checkpoint.from_arrays(model, arrays(model))
    group = {"group_size": 8} if format_name in ("v1", "v2") else {}
    exporter.export(checkpoint, path, format=format_name, overwrite=True, **group)  # type: ignore[arg-type]
    return path


def with_count(content: bytes, number: int, value: int) -> bytes:
    at = 4 * number + (V1_FIELDS if content.startswith(b"24ka") else 0)
    return content[:at] + value.to_bytes(4, "little", signed=True) + content[at + 4 :]


def found(tmp_path: Path, source: exporter.ModelConfig, wrong: bytes) -> str | None:
    """What follows the size that was found, for a source of this model."""
    (path := tmp_path / "wrong.bin").write_bytes(wrong)
    right = written(tmp_path / "right.bin", source, "v1-fp32")
    with pytest.raises(reader_c.InvalidFileError) as raised:
        reader_c.open(path)
    explained = with_explained_size(raised.value, path, explained_by(right))
    return explained and explained.found.removeprefix(raised.value.found).removeprefix(": ")


def content(tmp_path: Path, model: exporter.ModelConfig, format_name: str) -> bytes:
    return written(tmp_path / "content.bin", model, format_name).read_bytes()


@pytest.mark.parametrize("format_name", FORMATS)
def test_one_wrong_count_is_named(tmp_path: Path, format_name: str) -> None:
    right = content(tmp_path, MODEL, format_name)
    sentence = "this is the size with the source's {}: the header's {} is wrong"
    assert found(tmp_path, MODEL, with_count(right, 4, 6)) == sentence.format("n_kv_heads = 3", 6)
    assert found(tmp_path, MODEL, with_count(right, 1, 80)) == sentence.format("hidden_dim = 40", 80)
    both = with_count(with_count(right, 1, 80), 4, 6)
    assert found(tmp_path, MODEL, both) == (
        "this is the size with the source's hidden_dim = 40, n_kv_heads = 3: the header's 80, 6 are wrong"
    )


def test_a_classifier_that_the_header_does_not_state_is_named(tmp_path: Path) -> None:
    own = "this is the size with a classifier of its own, which the source has: the header's {}"
    v0, v2 = (content(tmp_path, UNTIED, name) for name in ("v0", "v2"))
    assert found(tmp_path, UNTIED, with_count(v0, 5, 29)) == own.format("vocab_size should be -29")
    assert found(tmp_path, UNTIED, v2[:36] + b"\1" + v2[37:]) == own.format("shared_classifier should be 0")
    tied = content(tmp_path, MODEL, "v0")
    assert found(tmp_path, MODEL, with_count(tied, 5, -29)) == (
        "this is the size with a shared classifier, which the source has: the header's vocab_size should be 29"
    )


def test_a_missing_or_additional_part_is_named(tmp_path: Path) -> None:
    tied, untied = (content(tmp_path, model, "v0") for model in (MODEL, UNTIED))
    classifier, tables = 4 * 29 * 48, 4 * MODEL.max_seq_len * MODEL.head_dim
    assert found(tmp_path, UNTIED, untied[:-classifier]) == (
        "this is the size without a classifier, but the source has its own: write output.weight"
    )
    assert found(tmp_path, MODEL, tied + bytes(classifier)) == (
        "this is the size with a classifier of its own, but the source has none: omit output.weight"
    )
    assert found(tmp_path, MODEL, tied[:-tables]) == (
        "this is the size without RoPE's tables: write freqs_cos and freqs_sin behind norm.weight"
    )


@pytest.mark.parametrize("format_name", FORMATS)
def test_a_file_that_was_cut_or_has_another_source_is_not_explained(tmp_path: Path, format_name: str) -> None:
    right = content(tmp_path, MODEL, format_name)
    assert found(tmp_path, MODEL, right[:-1]) is None
    other = config(dim=64, hidden_dim=72, n_heads=8, n_kv_heads=2, vocab_size=31)
    assert found(tmp_path, other, with_count(right, 4, 6)) is None


def test_a_source_that_cannot_be_opened_leaves_the_reader_s_error(tmp_path: Path) -> None:
    path = written(tmp_path / "cut.bin", MODEL, "v0")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(reader_c.InvalidFileError, match=r"found \d+ \(no magic at byte 0, so read as v0\)$"):
        verify.verify(tmp_path / "none.pt", path)


def test_a_verdict_s_error_says_so(tmp_path: Path) -> None:
    right = written(tmp_path / "right.bin", MODEL, "v0")
    (path := tmp_path / "wrong.bin").write_bytes(with_count(right.read_bytes(), 4, 6))
    with pytest.raises(reader_c.InvalidFileError, match=r"source's n_kv_heads = 3: the header's 6 is wrong$"):
        verify.verify(right, path)
