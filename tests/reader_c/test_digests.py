"""The digests of a v3 file, computed over the bytes that the specification names."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from blake3 import blake3
from helpers.models import toy_file
from helpers.v3_files import healthy

import reader_c
from reader_c.digests import check_head, check_tensor, read_metadata


@pytest.fixture
def head(tmp_path: Path) -> bytearray:
    path = toy_file(tmp_path, "v3")
    with reader_c.open(path) as model:
        return bytearray(path.read_bytes()[: model.head_size])


def tables_end(head: bytearray) -> int:
    """Of two layers: their table, and an entry for each tensor."""
    (tensors,) = struct.unpack_from("<I", head, 152)
    return 512 + 64 + int(tensors) * 192


def test_a_head_as_written_is_right(head: bytearray) -> None:
    check_head("f.bin", memoryview(head), tables_end(head))


def test_any_change_breaks_the_heads_digest(head: bytearray) -> None:
    for at in (0, 130, 300, len(head) - 40, len(head) - 1):
        changed = bytearray(head)
        changed[at] ^= 1
        with pytest.raises(reader_c.InvalidFileError) as caught:
            check_head("f.bin", memoryview(changed), tables_end(head))
        assert (caught.value.field, caught.value.offset) == ("head digest", len(head) - 32)


def test_the_models_digest_is_checked_too(head: bytearray) -> None:
    head[160] ^= 1
    head[-32:] = blake3(bytes(head[:-32])).digest()
    with pytest.raises(reader_c.InvalidFileError) as caught:
        check_head("f.bin", memoryview(head), tables_end(head))
    assert (caught.value.field, caught.value.offset) == ("model digest", 160)


def test_a_tensor_that_differs_is_named_with_both_digests() -> None:
    right = blake3(b"content").hexdigest()
    check_tensor("f.bin", "norm.weight", memoryview(b"content"), right, 500)
    with pytest.raises(reader_c.InvalidFileError) as caught:
        check_tensor("f.bin", "norm.weight", memoryview(b"content"), "00" * 32, 500)
    assert str(caught.value) == (
        f"f.bin: norm.weight: digest at 500: expected {right}, as the bytes have it, found {'00' * 32}"
    )


def test_metadata_are_read_in_order(tmp_path: Path) -> None:
    path = tmp_path / "out.bin"
    written = {"a": "", "b.c": "é", "note": "x" * 300}
    healthy(path, metadata=written)
    with reader_c.open(path) as model:
        assert list(model.metadata.items()) == list(written.items())
    assert read_metadata(memoryview(b""), 0) == {}
