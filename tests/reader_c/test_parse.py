"""The parser: every rule has its own refusal, and no damaged file is ever taken for a healthy one."""

from __future__ import annotations

import errno
import os
import struct
from pathlib import Path

import pytest
from helpers.counted import Counted
from helpers.models import LEGACY_FORMATS, toy_file

import reader_c

HEADER_FIELDS = ("dim", "hidden_dim", "n_layers", "n_heads", "n_kv_heads", "vocab_size", "max_seq_len")


def patched(path: Path, offset: int, replacement: bytes) -> Path:
    content = bytearray(path.read_bytes())
    content[offset : offset + len(replacement)] = replacement
    damaged = path.with_name(f"damaged-{path.name}")
    damaged.write_bytes(content)
    return damaged


def refusal(path: Path) -> reader_c.InvalidFileError:
    with pytest.raises(reader_c.InvalidFileError) as caught:
        reader_c.open(path)
    return caught.value


def field_offset(format_name: str, field: str) -> int:
    return (0 if format_name == "v0" else 8) + 4 * HEADER_FIELDS.index(field)


@pytest.mark.parametrize("format_name", LEGACY_FORMATS)
@pytest.mark.parametrize("field", HEADER_FIELDS)
@pytest.mark.parametrize("value", [0, -1, -(2**31)])
def test_counts_must_be_positive(tmp_path: Path, format_name: str, field: str, value: int) -> None:
    at = field_offset(format_name, field)
    path = patched(toy_file(tmp_path, format_name), at, struct.pack("<i", value))
    error = refusal(path)
    if (format_name, field, value) == ("v0", "vocab_size", -1):
        # legal there: one token, and a classifier of its own
        assert error.field == "file size"
        return
    assert (error.field, error.offset, error.found.split(" ")[0]) == (field, at, str(value))
    assert error.expected == (
        "at least -2147483647" if (field, value) == ("vocab_size", -(2**31)) and format_name == "v0" else "at least 1"
    )


@pytest.mark.parametrize("format_name", LEGACY_FORMATS)
@pytest.mark.parametrize(
    ("field", "value", "named", "where", "expected"),
    [
        ("n_heads", 7, "n_heads", "n_heads", "a divisor of 48"),
        ("n_heads", 16, "head size (dim / n_heads)", "dim", "a multiple of 2"),
        ("n_kv_heads", 4, "n_kv_heads", "n_kv_heads", "a divisor of 6"),
        ("n_kv_heads", 12, "n_kv_heads", "n_kv_heads", "a divisor of 6"),
    ],
)
def test_heads_must_divide(
    tmp_path: Path, format_name: str, field: str, value: int, named: str, where: str, expected: str
) -> None:
    path = patched(toy_file(tmp_path, format_name), field_offset(format_name, field), struct.pack("<i", value))
    error = refusal(path)
    at = field_offset(format_name, where)
    assert (error.field, error.offset, error.expected) == (named, at, expected)


@pytest.mark.parametrize("format_name", LEGACY_FORMATS)
@pytest.mark.parametrize("fields", [("dim",), ("vocab_size", "dim"), ("n_layers", "hidden_dim"), HEADER_FIELDS])
def test_sizes_beyond_32_and_64_bits_are_told_from_the_files_own(
    tmp_path: Path, format_name: str, fields: tuple[str, ...]
) -> None:
    """Products that wrap in 32-bit, and in 64-bit arithmetic too, must not come out as the true size."""
    path = toy_file(tmp_path, format_name, n_heads=1, n_kv_heads=1)
    huge = 2**31 - 128  # divisible by the group size, and even
    for field in fields:
        path = patched(path, field_offset(format_name, field), struct.pack("<i", huge if field[0] != "n" else 2**30))
    error = refusal(path)
    assert error.field in {"file size", "n_heads", "n_kv_heads", "group_size"}


def test_a_product_that_wraps_to_the_true_size_in_64_bits_is_refused(tmp_path: Path) -> None:
    """4 * vocab * dim = 2^64 with vocab = 2^31 - ...: only a checked product sees it."""
    header = struct.pack("<7i", 2**30, 2**30, 2**30, 1, 1, 2**30, 1)
    path = tmp_path / "wrap.bin"
    path.write_bytes(header)
    error = refusal(path)
    assert (error.field, error.expected) == ("file size", f"at least {2**63 - 1}")


@pytest.mark.parametrize("format_name", LEGACY_FORMATS)
def test_every_truncation_is_refused(tmp_path: Path, format_name: str, counted: Counted) -> None:
    path = toy_file(tmp_path, format_name, dim=8, hidden_dim=8, n_heads=2, n_kv_heads=1, vocab_size=3, max_seq_len=4)
    content = path.read_bytes()
    cut = tmp_path / "cut.bin"
    cut.write_bytes(content)
    for size in range(len(content) - 1, -1, -1):
        os.truncate(cut, size)
        error = refusal(cut)
        assert error.field == "file size"
        assert error.found.startswith(str(size))
        header = 28 if format_name == "v0" or size < 28 else 256
        assert error.expected == (f"exactly {len(content)}" if size >= header else f"at least {header}")
    counted("files of v0 to v2, cut off after each byte", len(content), "refused with the size expected")


@pytest.mark.parametrize("format_name", LEGACY_FORMATS)
@pytest.mark.parametrize("extra", [1, 3, 4, 256, 4096])
def test_trailing_bytes_are_refused(tmp_path: Path, format_name: str, extra: int) -> None:
    path = toy_file(tmp_path, format_name)
    size = path.stat().st_size
    with path.open("ab") as file:
        file.write(bytes(extra))
    error = refusal(path)
    assert (error.field, error.expected, error.found) == (
        "file size",
        f"exactly {size}",
        f"{size + extra}" + (" (no magic at byte 0, so read as v0)" if format_name == "v0" else ""),
    )


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("format_name", LEGACY_FORMATS)
def test_every_bit_flip_in_the_header_is_refused_or_reported(
    tmp_path: Path, format_name: str, tied: bool, counted: Counted
) -> None:
    path = toy_file(tmp_path, format_name, tied=tied)
    content = path.read_bytes()
    with reader_c.open(path) as model:
        healthy = (model.format, model.config)
    reported = []
    bits = 8 * (28 if format_name == "v0" else 256)
    for bit in range(bits):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        try:
            with reader_c.open(path) as model:
                assert (model.format, model.config) != healthy
                assert model.file_size == len(content)
                reported.append(model.config.max_seq_len)
        except reader_c.InvalidFileError:
            continue
    # only the versioned formats' max_seq_len moves no byte of the file: 31 of its bits leave it positive
    assert len(reported) == (0 if format_name == "v0" else 31)
    assert sorted(reported) == sorted(33 ^ 1 << bit for bit in range(31))[: len(reported)]
    counted("bits of headers of v0 to v2, flipped", bits, "refused, or told as another max_seq_len")


@pytest.mark.parametrize("format_name", LEGACY_FORMATS)
def test_what_a_format_cannot_say_is_what_its_first_readers_assume(tmp_path: Path, format_name: str) -> None:
    with reader_c.open(toy_file(tmp_path, format_name)) as model:
        assert (model.config.norm_eps, model.config.rope_theta) == (1e-5, 10000.0)


@pytest.mark.parametrize(("value", "expected"), [(0, "at least 1"), (4, "at most 3"), (-1, "at least 1")])
def test_unknown_versions_are_refused(tmp_path: Path, value: int, expected: str) -> None:
    error = refusal(patched(toy_file(tmp_path, "v2"), 4, struct.pack("<i", value)))
    assert (error.field, error.offset, error.expected, error.found) == ("version", 4, expected, str(value))


@pytest.mark.parametrize("value", [2, 3, 255])
def test_the_flag_is_0_or_1(tmp_path: Path, value: int) -> None:
    error = refusal(patched(toy_file(tmp_path, "v1"), 36, bytes([value])))
    assert (error.field, error.offset, error.expected, error.found) == (
        "shared_classifier",
        36,
        "at most 1",
        str(value),
    )


@pytest.mark.parametrize(
    ("format_name", "value", "expected"),
    [
        ("v1", -8, "at least 0"),
        ("v2", -8, "at least 1"),
        ("v2", 0, "at least 1"),
        ("v1", 132105, "at most 132104"),
        ("v2", 9, "a divisor of dim = 48"),
        ("v2", 16, "a divisor of hidden_dim = 40"),
    ],
)
def test_group_sizes_must_fit_every_row(tmp_path: Path, format_name: str, value: int, expected: str) -> None:
    error = refusal(patched(toy_file(tmp_path, format_name), 37, struct.pack("<i", value)))
    assert (error.field, error.offset, error.expected, error.found) == ("group_size", 37, expected, str(value))


@pytest.mark.parametrize("at", [41, 100, 255])
def test_padding_is_zero(tmp_path: Path, at: int) -> None:
    error = refusal(patched(toy_file(tmp_path, "v1-fp32"), at, b"\x20"))
    assert (error.field, error.offset, error.expected, error.found) == ("header padding", at, "exactly 0", "32")


@pytest.mark.parametrize("written", LEGACY_FORMATS)
@pytest.mark.parametrize("claimed", ["v1", "v1-fp32", "v2"])
def test_one_versions_file_is_not_read_as_anothers(tmp_path: Path, written: str, claimed: str) -> None:
    if written == claimed:
        return
    content = toy_file(tmp_path, written).read_bytes()
    payload = content[28 if written == "v0" else 256 :]
    header = toy_file(tmp_path, claimed).read_bytes()[:256]
    path = tmp_path / "mixed.bin"
    path.write_bytes(header + payload)
    if {written, claimed} == {"v1", "v2"}:
        # same bytes in another order: only the verifier, which has the source, can tell
        with reader_c.open(path) as model:
            assert model.format == claimed
        return
    assert refusal(path).field == "file size"


@pytest.mark.parametrize(
    ("content", "remark"),
    [
        (b"GGUF" + bytes(300), "GGUF"),
        (b"PK\x03\x04" + bytes(300), "zip archive"),
        (b"ak42" + bytes(300), "big-endian"),
        (struct.pack("<Q", 100) + b'{"a":1}' + bytes(300), "safetensors"),
        (b"\x01\0\0\0" * 60, "no magic"),
    ],
)
def test_a_file_of_another_kind_is_told_for_what_it_seems(tmp_path: Path, content: bytes, remark: str) -> None:
    path = tmp_path / "other"
    path.write_bytes(content)
    assert remark in str(refusal(path))


def test_paths_that_are_no_regular_file_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path, number in (
        (tmp_path, errno.EISDIR),
        (tmp_path / "none", errno.ENOENT),
        (tmp_path / "fifo", errno.ENODEV),
    ):
        with pytest.raises(reader_c.ReaderSystemError) as caught:
            reader_c.open(path)
        assert caught.value.errno == number
        assert isinstance(caught.value, OSError)
    with pytest.raises(reader_c.ArgumentError, match="no null byte"):
        reader_c.open(f"{tmp_path}\0")


def test_paths_may_hold_spaces_and_any_letters(tmp_path: Path) -> None:
    directory = tmp_path / "wo der Bär wohnt"
    directory.mkdir()
    with reader_c.open(str(toy_file(directory, "v2"))) as model:
        assert model.format == "v2"
