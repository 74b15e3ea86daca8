"""The parser of v3's head: what the writer planned comes back, and any other byte is named by its field.

tests/reader_c/test_v3_parse.py has a broken file for every rule, for this parser and C's.
"""

from __future__ import annotations

import pytest
from blake3 import blake3
from helpers.models import config
from hypothesis import given
from hypothesis import strategies as st

import exporter
from exporter.config import tensor_shapes
from exporter.formats import v3
from exporter.formats.v3_parse import Parser, V3Error, check_digest
from verify.testing import configs


def head_of(model: exporter.ModelConfig, metadata: dict[str, str], alignment: int = 64) -> tuple[v3.Plan, bytes]:
    stored = {
        name: v3.Stored("q8_0", shape[-1]) if len(shape) == 2 else v3.Stored("fp16")
        for name, shape in tensor_shapes(model).items()
    }
    plan = v3.plan(model, stored, metadata, alignment)
    return plan, v3.encode_head(plan, [bytes([number % 256]) * 32 for number in range(len(stored))])


@given(
    configs(biases=True, head_sizes=True, scalings=True, activations=True, numbers=True),
    st.dictionaries(st.text("abc.-_09", min_size=1, max_size=9), st.text(max_size=9), max_size=3),
    st.sampled_from([64, 1024]),
)
def test_what_was_encoded_is_what_is_parsed(
    model: exporter.ModelConfig, metadata: dict[str, str], alignment: int
) -> None:
    plan, head = head_of(model, metadata, alignment)
    found = Parser("a file", head, plan.size).parse()
    assert found.plan == plan
    assert found.metadata == metadata
    assert found.digests == tuple(bytes([number % 256]) * 32 for number in range(len(plan.entries)))


def test_every_changed_byte_is_refused() -> None:
    plan, head = head_of(config(n_layers=1), {"note": "x"})
    for at in range(0, len(head), 7):
        changed = bytearray(head)
        changed[at] ^= 0x40
        with pytest.raises(V3Error):
            Parser("a file", bytes(changed), plan.size).parse()


def resigned(head: bytes, at: int, content: bytes) -> bytes:
    """The head with other bytes, and a digest of the head that fits."""
    changed = bytearray(head)
    changed[at : at + len(content)] = content
    return bytes(changed[:-32]) + blake3(bytes(changed[:-32])).digest()


def test_a_wrong_field_is_named_with_its_offset_and_both_values() -> None:
    plan, head = head_of(config(), {})
    for at, content, field, offset, message in (
        (200, b"\1", "header padding", 200, "expected 0, found 1"),
        (360, b"\1", "architecture padding", 360, "expected 0, found 1"),
        (516 + 4, b"\1", "layer table padding", 516 + 4, "expected 0, found 1"),
        (576, b"x", "tensor name", 576, "expected 'tok_embeddings.weight', found 'xok_embeddings.weight'"),
        (576 + 192 + 112, b"\1", "offset", 576 + 192 + 112, None),
    ):
        with pytest.raises(V3Error) as caught:
            Parser("a file", resigned(head, at, content), plan.size).parse()
        assert (caught.value.field, caught.value.offset) == (field, offset)
        if message:
            assert str(caught.value) == f"a file: {field} at {offset}: {message}"


@pytest.mark.parametrize("size", [0, 511])
def test_a_file_shorter_than_its_header_is_refused(size: int) -> None:
    with pytest.raises(V3Error) as caught:
        Parser("a file", b"", size).parse()
    assert str(caught.value) == f"a file: file size: expected at least 512, found {size}"
    assert caught.value.offset is None


def test_a_digest_is_compared_and_named() -> None:
    check_digest("a file", "norm.weight", b"content", blake3(b"content").digest(), 500)
    with pytest.raises(V3Error) as caught:
        check_digest("a file", "norm.weight", b"content", bytes(32), 500)
    assert str(caught.value) == (
        f"a file: norm.weight digest at 500: expected {blake3(b'content').hexdigest()}, as the bytes have it, "
        f"found {'00' * 32}"
    )
